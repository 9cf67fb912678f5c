"""Cells of a table -> messages: OpenAI's keys (role, content) or ShareGPT's (from, value), the roles under the names
that are in use; and what makes a conversation unusable."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tunewise.chat.messages import ASSISTANT, SYSTEM, TOOL, USER, Message

ROLES = {
    **dict.fromkeys(("user", "human", "prompter", "customer"), USER),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "bing", "bard", "model", "function_call"), ASSISTANT),
    **dict.fromkeys(("system", "developer"), SYSTEM),
    **dict.fromkeys(("tool", "function", "observation", "function_response", "ipython"), TOOL),
}
_KEYS = (("role", "content"), ("from", "value"))
_KEPT = ("name", "tool_call_id", "reasoning_content", "thinking")


class Unusable(Exception):
    """Why a row cannot be used, in a few words that rows share."""


def holds_messages(cell: Any) -> bool:
    """Whether a cell is a message, a list of them, or JSON text of such a list."""
    if isinstance(cell, str) and cell.lstrip().startswith("[{"):
        cell = parsed(cell)
    item = cell[0] if isinstance(cell, list) and cell else cell
    return isinstance(item, dict) and any(role in item for role, _ in _KEYS)


def messages_of(cell: Any) -> list[Message]:
    """The messages of a cell.

    Raises:
        Unusable
    """
    cell = parsed(cell)
    if isinstance(cell, dict):
        cell = [cell]
    if not isinstance(cell, list) or not cell:
        raise Unusable("no messages")
    return [_message(entry) for entry in cell]


def _message(entry: Any) -> Message:
    role_key, content_key = next((keys for keys in _KEYS if isinstance(entry, dict) and keys[0] in entry), (None, None))
    if role_key is None:
        raise Unusable("a message without a role")
    said = str(entry[role_key]).strip().lower()
    if said not in ROLES:
        raise Unusable(f"unknown role '{str(entry[role_key])[:30]}'")
    message: Message = {"role": ROLES[said], "content": _content(entry.get(content_key))}
    calls = parsed(entry.get("tool_calls"))
    if said == "function_call":
        message["content"], calls = "", [_call(message["content"])]
    if calls:
        message["tool_calls"] = [_without_nothing(call) for call in calls]
    return {**message, **{key: entry[key] for key in _KEPT if entry.get(key)}}


def _call(text: str) -> dict[str, Any]:
    """ShareGPT writes a call as the JSON of its name and arguments."""
    call = parsed(text)
    if not isinstance(call, dict) or "name" not in call:
        raise Unusable("a call of a tool that is not JSON with name and arguments")
    return {"type": "function", "function": call}


def _content(held: Any) -> str:
    if held is None:
        return ""
    if isinstance(held, list):  # parts, as of OpenAI
        if any(not isinstance(part, dict) or not isinstance(part.get("text"), str) for part in held):
            raise Unusable("a message that holds more than text")
        return "".join(part["text"] for part in held)
    if not isinstance(held, str):
        raise Unusable("a message whose content is not text")
    return held


def tools_of(cell: Any) -> tuple[dict[str, Any], ...]:
    """The tools of a row, as chat templates take them.

    Raises:
        Unusable
    """
    found = parsed(cell)
    if found in (None, "", []):
        return ()
    found = found if isinstance(found, list) else [found]
    if not all(isinstance(tool, dict) for tool in found):
        raise Unusable("tools that are not JSON objects")
    return tuple(
        tool if "function" in tool else {"type": "function", "function": tool} for tool in map(_without_nothing, found)
    )


def parsed(cell: Any) -> Any:
    """JSON text as what it holds; anything else as it is."""
    if isinstance(cell, str) and cell.strip()[:1] in ("[", "{"):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    return cell


def _without_nothing(held: Any) -> Any:
    """Parquet gives every object all keys of its column, None for those that it does not have."""
    if isinstance(held, dict):
        return {key: _without_nothing(value) for key, value in held.items() if value is not None}
    return [_without_nothing(value) for value in held] if isinstance(held, list) else held


def check_order(messages: Sequence[Message]) -> None:
    """A system message may come first; then users and the assistant take turns, tools answer the assistant.

    Raises:
        Unusable
    """
    before = ""
    for place, message in enumerate(messages):
        role = message["role"]
        if role == SYSTEM and place:
            raise Unusable("roles out of order: a system message after the first")
        allowed = {"": (SYSTEM, USER), SYSTEM: (USER,), USER: (ASSISTANT,), TOOL: (TOOL, ASSISTANT)}
        follow = (USER, TOOL) if before == ASSISTANT else allowed[before]
        if role not in follow:
            raise Unusable(f"roles out of order: {role} {'first' if not before else f'after {before}'}")
        before = role


def is_empty(message: Message) -> bool:
    """Whether a message says nothing."""
    return not message["content"].strip() and not message.get("tool_calls")
