"""A table in a known layout -> rows of a language task; what cannot be used is left out and counted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tunewise.chat.messages import ASSISTANT, Conversation, Message, from_text, to_text
from tunewise.cleaning.texts import cleaned_text, text_steps
from tunewise.data.clean import Rows
from tunewise.data.cleaned import check_installed
from tunewise.data.exchanges import Exchange, exchange_of
from tunewise.data.layouts import Layout
from tunewise.data.message_cells import Unusable, check_order, holds_messages, is_empty
from tunewise.data.settings import DataConfig
from tunewise.data.table import Table, as_number, as_text, count_rows, listed, row_list
from tunewise.errors import DataError
from tunewise.types import DataStep, Form, Schema, Task

Text = tuple[str, ...]


@dataclass(frozen=True)
class LanguageRows:
    """How the rows of all sources of a recipe are read: as those of train.

    Attributes:
        clean: steps of `data.clean` that change texts.
    """

    layout: Layout
    form: Form
    clean: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: DataConfig, layout: Layout, form: Form) -> LanguageRows:
        steps = text_steps(config.clean)
        for name in steps:
            check_installed(name)
        return cls(layout, form, steps)

    def read(self, table: Table, answered: bool = True) -> tuple[Rows, list[DataStep]]:
        """The rows that can be used, and a step for each reason to leave some out.

        Args:
            answered: rows without an answer are of no use; else they stay, and what is wrong is an error.

        Raises:
            DataError: no row can be used.
        """
        bad: dict[str, list[int]] = defaultdict(list)
        texts: list[Text | None] = []
        values, changed, unanswered = [], [], []
        for index in range(len(table)):
            try:
                found = exchange_of(self.layout, table, index, self.form, answered)
                row, was_cut = self._row(found, answered)
            except Unusable as problem:
                bad[str(problem)].append(index)
                row, was_cut, found = None, False, Exchange("", ())
            texts.append(None if row is None else self._cleaned(row))
            if row is not None and texts[-1] != row:
                changed.append(index)
            unanswered += [index] if was_cut else []
            values.append(found.value)
        return self._usable(table, texts, values, bad, changed, unanswered, answered)

    def _row(self, found: Exchange, answered: bool) -> tuple[Text, bool]:
        """The strings of a row, and whether the end of a conversation was left out, as nobody answers it."""
        if self.form == "text":
            return (_said(found.prompt, "text"),), False
        if self.form == "completion":
            answers = tuple(_said(answer, "answer", answered) for answer in found.answers)
            if len(answers) == 2:
                _check_differ(*answers)
            return (_said(found.prompt, "prompt"), *answers), False
        return _chat_row(found, self.layout.task, answered)

    def _cleaned(self, row: Text) -> Text:
        if not self.clean:
            return row
        if self.form != "chat":
            return tuple(cleaned_text(text, self.clean) for text in row)
        return tuple(to_text(_cleaned(from_text(text), self.clean)) for text in row)

    def _usable(
        self,
        table: Table,
        texts: Sequence[Text | None],
        values: Sequence[float],
        bad: dict[str, list[int]],
        changed: Sequence[int],
        unanswered: Sequence[int],
        answered: bool,
    ) -> tuple[Rows, list[DataStep]]:
        told = "; ".join(f"{reason}: {row_list(rows)}" for reason, rows in bad.items())
        keep = [index for index, row in enumerate(texts) if row is not None]
        if not keep or (bad and not answered):
            raise DataError(
                f"{'no row can be used' if not keep else 'rows cannot be used'}: {told}",
                where=table.source,
                fix="are these the right columns? What rows may be is in docs/language-data.md",
            )
        steps, left = [], len(table)
        for reason, rows in bad.items():
            numbers = tuple(index + 1 for index in rows)
            told = f"{table.source}: {reason} in {row_list(rows)}; left out"
            steps.append(DataStep("unusable rows", left, left - len(rows), told, numbers))
            left -= len(rows)
        if unanswered:
            told = f"{table.source}: nobody answers the last message of {row_list(unanswered)}; the message left out"
            steps.append(DataStep("unanswered", left, left, told, tuple(index + 1 for index in unanswered)))
        if self.clean:
            names = ", ".join(f"data.clean.{name}" for name in self.clean)
            what = f"changed the text of {row_list(changed)}" if changed else "changed no text"
            told = f"{table.source}: {names} {what}"
            steps.append(DataStep("cleaned", left, left, told, tuple(index + 1 for index in changed)))
        whole = Rows(table, tuple(range(len(table))), tuple(row or () for row in texts), tuple(values))
        rows = whole.take(keep)
        if self.form == "text":
            return rows, steps
        return replace(rows, prompts=tuple(prompt_of(row, self.form) for row in rows.texts)), steps


def _said(text: Any, what: str, needed: bool = True) -> str:
    if not isinstance(text, str) or (needed and not text.strip()):
        raise Unusable(f"no {what}" if not text or isinstance(text, str) else f"a {what} that is not text")
    return text


def _check_differ(chosen: str, rejected: str) -> None:
    if chosen == rejected:
        raise Unusable("chosen and rejected are the same")


def _chat_row(found: Exchange, task: Task, answered: bool) -> tuple[Text, bool]:
    messages = list(found.prompt)
    if task == "generation" or (task == "unpaired_preference" and not found.answers):
        for answer in found.answers:
            messages += answer
        end = len(messages)
        while answered and end and messages[end - 1]["role"] != ASSISTANT:
            end -= 1
        if answered and not end:
            raise Unusable("no message of the assistant")
        check_order(messages)
        _check(messages[:end])
        if task == "generation":
            return (to_text(Conversation(tuple(messages[:end]), found.tools)),), end < len(messages)
        both = (Conversation(tuple(messages[: end - 1]), found.tools), Conversation(tuple(messages[end - 1 : end])))
        return tuple(map(to_text, both)), end < len(messages)
    if task == "prompts":
        end = len(messages) - (messages[-1]["role"] == ASSISTANT) if messages else 0
        _check(messages[:end])
        if not end:
            raise Unusable("no prompt")
        return (to_text(Conversation(tuple(messages[:end]), found.tools)),), False
    for answer in found.answers:
        if not answer or answer[-1]["role"] != ASSISTANT:
            raise Unusable("no answer")
        _check([*messages, *answer])
    rows = [Conversation(tuple(messages), found.tools), *(Conversation(tuple(answer)) for answer in found.answers)]
    texts = tuple(map(to_text, rows))
    if len(texts) == 3:
        _check_differ(texts[1], texts[2])
    return texts, False


def _check(messages: Sequence[Message]) -> None:
    check_order(messages)
    if any(is_empty(message) for message in messages if message["role"] == ASSISTANT):
        raise Unusable("an empty answer")


def _cleaned(conversation: Conversation, steps: Sequence[str]) -> Conversation:
    return replace(
        conversation,
        messages=tuple(
            {**message, "content": cleaned_text(message["content"], steps)} for message in conversation.messages
        ),
    )


def prompt_of(row: Text, form: Form) -> Text:
    """What rows have in common that stay in one split: the prompt; of a conversation all before its last answer."""
    if form != "chat":
        return row[:1]
    held = from_text(row[0])
    return (to_text(Conversation(held.prompt, held.tools)),)


def find_form(config: DataConfig, layout: Layout, table: Table) -> Form:
    """What the rows are to be: as `data.chat` says; left open, conversations where they are written as such or are
    instructions.

    Raises:
        DataError: conversations that are not to be conversations.
    """
    if layout.kind == "text":
        return "text"
    columns = [column for column in (layout.prompt, *layout.answers) if column is not None]
    written = any(holds_messages(cell) for column in columns for cell in table.columns[column][:100])
    if written and config.chat is False:
        raise DataError(
            "the rows are conversations, which only a chat template can write",
            where="data.chat",
            fix="leave it out, or name columns of text",
        )
    chat = config.chat if config.chat is not None else written or layout.kind == "instruction"
    return "chat" if chat else "completion"


def find_between(config: DataConfig, form: Form, rows: Rows) -> tuple[str, str]:
    """What stands between prompt and answer, and how that was told."""
    if form != "completion":
        return "", ""
    if config.between is not None:
        return config.between, "as data.between says, or the run that the model is from"
    spaced = sum(row[0][-1:].isspace() or any(text[:1].isspace() for text in row[1:]) for row in rows.texts)
    if spaced * 2 > len(rows):
        return "", "most prompts end, or answers begin, with a space or line break"
    return "\n", "neither do prompts end nor answers begin with a space: set data.between for another"


def language_schema(layout: Layout, form: Form, between: str) -> Schema:
    """Its text columns are what the strings of a row are called."""
    if form == "text" or layout.task == "prompts" or (form == "chat" and layout.task == "generation"):
        text: Text = (layout.prompt or "prompt",)
    elif layout.task == "preference":
        text = ("prompt", "chosen", "rejected")
    else:
        text = (layout.prompt or "prompt", *layout.answers) if layout.answers else ("prompt", "completion")
    return Schema(layout.task, text, layout.label or "", (), form, between)


def layout_step(schema: Schema, layout: Layout, rows: Rows, why: str) -> DataStep:
    """What was recognised."""
    written = {
        "text": "learnt whole",
        "completion": f"read as they are, with {schema.between!r} between prompt and answer ({why})",
        "chat": "turns of a conversation, written by the tokeniser's chat template (a plain one where it has none)",
    }
    return DataStep(
        "schema",
        len(rows),
        len(rows),
        f"{layout.task}: {layout.name}, {written[schema.form]}; read from {listed([*dict.fromkeys(layout.columns)])}",
    )


def margin_steps(table: Table, layout: Layout) -> list[DataStep]:
    """A note that pairs say by how much the chosen answer is better.

    Raises:
        DataError: one of them is no number.
    """
    cells = table.columns.get("margin")
    if layout.task != "preference" or cells is None:
        return []
    odd = [index for index, cell in enumerate(cells) if as_number(cell) is None]
    if odd:
        raise DataError(
            f"expected a number, got {as_text(cells[odd[0]])[:40]!r}",
            where=table.where(odd[0], "margin"),
            fix="give every pair its margin, or call the column otherwise",
        )
    told = f"{table.source}: 'margin' says by how much the chosen answer of {count_rows(len(table))} is better"
    return [DataStep("margin", len(table), len(table), told)]
