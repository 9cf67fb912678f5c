"""Messages of a conversation, as a row's string holds them: a JSON list of objects with `role` and `content`; where
tools may be called, an object with `messages` and `tools`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]

ASSISTANT, USER, SYSTEM, TOOL = "assistant", "user", "system", "tool"


@dataclass(frozen=True)
class Conversation:
    """Messages in order, and the tools that the assistant may call (JSON schemas, as chat templates take them)."""

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()

    @property
    def prompt(self) -> tuple[Message, ...]:
        """All messages before the last answer; all of them, where none of the assistant's closes the conversation."""
        return self.messages[:-1] if self.messages and self.messages[-1]["role"] == ASSISTANT else self.messages

    @property
    def reference(self) -> str:
        """The text of the last answer; empty where none closes the conversation."""
        return text_of(self.messages[-1]) if len(self.prompt) < len(self.messages) else ""

    @property
    def parted(self) -> tuple[Conversation, Conversation]:
        """What comes before the last answer, with the tools, and the last answer alone."""
        given = len(self.prompt)
        return Conversation(self.messages[:given], self.tools), Conversation(self.messages[given:])


def to_text(conversation: Conversation) -> str:
    """The string of a row."""
    messages = list(conversation.messages)
    held = {"messages": messages, "tools": list(conversation.tools)} if conversation.tools else messages
    return json.dumps(held, ensure_ascii=False)


def from_text(text: str) -> Conversation:
    """What `to_text` made a string of."""
    held = json.loads(text)
    if isinstance(held, dict):
        return Conversation(tuple(held["messages"]), tuple(held["tools"]))
    return Conversation(tuple(held))


def text_of(message: Message) -> str:
    """What a message says: its content, and the calls of tools as JSON, a line each."""
    calls = [json.dumps(call.get("function", call), ensure_ascii=False) for call in message.get("tool_calls") or ()]
    return "\n".join(part for part in (message.get("content") or "", *calls) if part)


def joined_text(messages: Sequence[Message]) -> str:
    """Everything that is said, a line break between messages."""
    return "\n".join(text_of(message) for message in messages)
