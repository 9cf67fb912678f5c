"""The texts inside a conversation: what its messages say, and what they give to tools."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tunewise.chat.messages import Message, from_text, to_text
from tunewise.data.message_cells import parsed

SAID = ("content", "reasoning_content", "thinking")

Change = Callable[[str], str]


def with_texts(row: str, change: Change) -> str:
    """The string of a conversation (`chat.messages.to_text`) with every text changed: contents of messages, and strings
    in the arguments of calls. Roles, names of tools and their descriptions stay."""
    conversation = from_text(row)
    messages = tuple(_changed(message, change) for message in conversation.messages)
    return to_text(replace(conversation, messages=messages))


def _changed(message: Message, change: Change) -> Message:
    said = {key: change(message[key]) for key in SAID if isinstance(message.get(key), str)}
    calls = message.get("tool_calls")
    return {**message, **said, **({"tool_calls": [_call(call, change) for call in calls]} if calls else {})}


def _call(call: dict[str, Any], change: Change) -> dict[str, Any]:
    if isinstance(call.get("function"), dict):
        return {**call, "function": _call(call["function"], change)}
    return {**call, "arguments": _inside(call["arguments"], change)} if "arguments" in call else call


def _inside(held: Any, change: Change) -> Any:
    """Arguments may be JSON text."""
    if isinstance(held, str):
        found = parsed(held)
        return change(held) if found is held else json.dumps(_inside(found, change), ensure_ascii=False)
    if isinstance(held, dict):
        return {key: _inside(value, change) for key, value in held.items()}
    return [_inside(value, change) for value in held] if isinstance(held, list) else held
