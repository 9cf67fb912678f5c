"""One row of a table in a known layout -> prompt and answers, as text or as messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tunewise.chat.messages import ASSISTANT, SYSTEM, USER, Message
from tunewise.data.labels import is_missing
from tunewise.data.layouts import Layout
from tunewise.data.message_cells import Unusable, holds_messages, messages_of, parsed, tools_of
from tunewise.data.table import Table, as_text
from tunewise.types import Form

Said = str | list[Message]
_GOOD = {"1": 1.0, "1.0": 1.0, "true": 1.0, "0": 0.0, "0.0": 0.0, "false": 0.0}
_ANSWER_FOLLOWS = "\n\nAssistant:"


@dataclass(frozen=True)
class Exchange:
    """A prompt and its answers: texts, or lists of messages in the form `chat`. `value`: whether the answer is a good
    one (1 or 0)."""

    prompt: Said
    answers: tuple[Said, ...]
    tools: tuple[dict[str, Any], ...] = ()
    value: float = 0.0


def exchange_of(layout: Layout, table: Table, index: int, form: Form, answered: bool = True) -> Exchange:
    """What a row of the table says.

    Args:
        answered: a missing answer, or a missing word on whether it is good, makes the row unusable.

    Raises:
        Unusable
    """

    def cell(column: str | None) -> Any:
        return None if column is None or column not in table.columns else table.columns[column][index]

    prompt, answers = cell(layout.prompt), [cell(column) for column in layout.answers]
    if layout.task == "preference":
        prompt, answers = _shared(prompt, answers)
    value = _good(cell(layout.label), answered) if layout.label else 0.0
    if form != "chat":
        system = _plain(cell(layout.extra("system")))
        return Exchange(_instruction(layout, cell, prompt, system, form), tuple(map(_plain, answers)), value=value)
    if prompt is None and layout.kind is not None and not holds_messages(prompt):
        raise Unusable("no prompt")
    asked = _messages(_with_input(layout, cell, prompt), USER)
    system = cell(layout.extra("system"))
    before = [
        *([{"role": SYSTEM, "content": system}] if _plain(system) else []),
        *_history(cell(layout.extra("history"))),
    ]
    if before and asked[:1] and asked[0]["role"] == SYSTEM:
        before = [message for message in before if message["role"] != SYSTEM]
    said = tuple(_messages(answer, ASSISTANT) for answer in answers if answered or not is_missing(answer))
    return Exchange([*before, *asked], said, tools_of(cell(layout.extra("tools"))), value)


def _plain(held: Any) -> str:
    """A cell as text; numbers as they are written."""
    if isinstance(held, (list, dict)):
        raise Unusable("a cell that is not text")
    return as_text(held)


def _instruction(layout: Layout, cell: Any, prompt: Any, system: str, form: Form) -> str:
    if form == "text" or layout.kind != "instruction":
        return _plain(prompt)
    if _history(cell(layout.extra("history"))):
        raise Unusable("a history, which data.chat: false cannot write")
    asked = _with_input(layout, cell, prompt)
    return f"{system}\n\n{_plain(asked)}" if system.strip() else _plain(asked)


def _with_input(layout: Layout, cell: Any, prompt: Any) -> Any:
    """An instruction, an empty line, and what it is about."""
    about = cell(layout.extra("input"))
    if is_missing(about) or isinstance(prompt, (list, dict)):
        return prompt
    return f"{_plain(prompt)}\n\n{_plain(about)}"


def _history(held: Any) -> list[Message]:
    """Earlier turns, as pairs of what was asked and answered."""
    turns: list[Message] = []
    for pair in parsed(held) or ():
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise Unusable("a history that is not pairs of question and answer")
        turns += [{"role": USER, "content": pair[0]}, {"role": ASSISTANT, "content": pair[1]}]
    return turns


def _messages(held: Any, role: str) -> list[Message]:
    if held is None:
        return []
    if holds_messages(held) or isinstance(held, (list, dict)):
        return messages_of(held)
    text = _plain(held)
    if not text.strip():
        raise Unusable("no prompt" if role == USER else "no answer")
    return [{"role": role, "content": text}]


def _good(held: Any, needed: bool) -> float:
    found = _GOOD.get(as_text(held).strip().lower())
    if found is None and needed:
        raise Unusable("no label" if is_missing(held) else "a label that is neither true nor false")
    return float("nan") if found is None else found


def _common(first: Sequence, second: Sequence) -> int:
    """How many first items are the same."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(first), len(second)))


def _shared(prompt: Any, answers: list[Any]) -> tuple[Any, list[Any]]:
    """Prompt and answers of a pair, whose answers may repeat the prompt, or hold it in the place of a column."""
    if any(is_missing(answer) or answer == [] for answer in answers):
        raise Unusable("no answer")
    chosen, rejected = answers
    if holds_messages(chosen) and holds_messages(rejected):
        first, second = messages_of(chosen), messages_of(rejected)
        common = min(_common(first, second), len(first) - 1, len(second) - 1)
        if not common and prompt is None:
            raise Unusable("no prompt")
        if common:
            return first[:common], [first[common:], second[common:]]
        return prompt, [first, second]
    texts = [_plain(chosen), _plain(rejected)]
    if prompt is not None:
        repeated = isinstance(prompt, str) and prompt.strip() and all(text.startswith(prompt) for text in texts)
        return prompt, [text[len(prompt) :] for text in texts] if repeated else texts
    if texts[0] == texts[1]:
        raise Unusable("chosen and rejected are the same")
    common = texts[0][: _common(*texts)]
    if (said := common.rfind(_ANSWER_FOLLOWS)) >= 0:
        common = common[: said + len(_ANSWER_FOLLOWS)]
    elif common.endswith(" "):
        common = common[:-1]
    if not common.strip():
        raise Unusable("no prompt")
    return common, [text[len(common) :] for text in texts]
