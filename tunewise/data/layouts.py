"""What the columns of a table are to a language model: texts, prompts with answers, conversations, preferences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tunewise.data.labels import is_missing
from tunewise.data.message_cells import holds_messages
from tunewise.data.sentences import sentence_columns
from tunewise.data.settings import DataConfig
from tunewise.data.table import Table, as_text, listed
from tunewise.errors import DataError
from tunewise.types import LABEL_TASKS, LANGUAGE_TASKS, Task

CONVERSATIONS = ("messages", "conversations", "conversation")
PROMPTS = ("prompt", "question", "instruction", "query")
ANSWERS = ("completion", "response", "answer", "output")
_MARKS = {"0", "1", "true", "false"}

Kind = Literal["text", "messages", "instruction", "prompt"]


@dataclass(frozen=True)
class Layout:
    """Which columns are read as what.

    Attributes:
        name: in words, for the log.
        kind: what the prompt's column holds: plain text (no prompt at all), whole conversations, instructions with
            `input`, or prompts; None where chosen and rejected answers hold it themselves.
        prompt: the column of `kind`.
        answers: the column of answers, or those of the chosen and the rejected; none where a conversation holds them.
        label: whether an answer is a good one.
        more: `input`, `system`, `history` and `tools`, where there are such columns, under these names.
    """

    name: str
    task: Task
    kind: Kind | None
    prompt: str | None
    answers: tuple[str, ...] = ()
    label: str | None = None
    more: tuple[tuple[str, str], ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All that are read."""
        found = (self.prompt, *self.answers, self.label, *(column for _, column in self.more))
        return tuple(column for column in found if column is not None)

    def extra(self, what: str) -> str | None:
        return dict(self.more).get(what)


def find_layout(config: DataConfig, table: Table) -> Layout | None:
    """How a table's rows are read for a language model; None where they bear labels to predict.

    `data.task` decides where it is given, then `data.text` (the column of texts, prompts or conversations) and
    `data.label` (that of answers, or of true and false for unpaired preference). Else columns are known by their
    names.

    Raises:
        DataError: a task for language models, and no columns for it.
    """
    if config.task in LABEL_TASKS:
        return None
    if config.task is None and (config.text is not None or config.label is not None or sentence_columns(table)):
        return None
    by_name = {name.casefold(): name for name in reversed(table.columns)}
    found = _found(config, table, by_name)
    if found is None and config.task in LANGUAGE_TASKS:
        raise _nothing_for(config.task, table)
    return found


def _found(config: DataConfig, table: Table, by_name: dict[str, str]) -> Layout | None:
    kind, prompt = _prompt(config, table, by_name)
    named = None if config.label is None else table.find(_one(config.label, "label"))
    pair = tuple(by_name[name] for name in ("chosen", "rejected") if name in by_name)
    answer = next((by_name[name] for name in ANSWERS if name in by_name and by_name[name] != prompt), None)
    label = named if named and config.task == "unpaired_preference" else _marks_column(table, by_name)
    if named and config.task == "generation":
        answer = named
    task = config.task or _task(table, kind, answer, pair, label)
    if task is None:
        return None
    names = ("system", "history", "input") if kind == "instruction" else ("system",)
    more = tuple((name, by_name[name]) for name in (*names, "tools") if name in by_name and task != "text")
    if task == "preference":
        return Layout(_name(kind, pair), task, kind, prompt, pair, more=more) if len(pair) == 2 else None
    if kind is None:
        return None
    if task == "unpaired_preference":
        answers = () if kind == "messages" else (answer,)
        return (
            Layout(_name(kind, answers), task, kind, prompt, answers, label, more)
            if label and None not in answers
            else None
        )
    if task == "prompts":
        return Layout(_name(kind, ()), task, "prompt" if kind == "text" else kind, prompt, more=more)
    if kind == "messages":
        return Layout(_name(kind, ()), task, kind, prompt, more=more)
    if len(pair) == 2 and answer is None:
        answer = pair[0]
    if answer is not None and (kind != "text" or named):
        kind = "prompt" if kind == "text" else kind
        return Layout(_name(kind, (answer,)), task, kind, prompt, (answer,), more=more)
    return Layout("texts", task, "text", prompt) if kind == "text" or config.text is not None else None


def _task(table: Table, kind: Kind | None, answer: str | None, pair: Sequence[str], label: str | None) -> Task | None:
    """Told from the columns alone."""
    if len(pair) == 2:
        return "preference"
    if kind in ("messages", "instruction", "prompt") and label and (answer or kind == "messages"):
        return "unpaired_preference"
    if kind == "messages" or (kind in ("instruction", "prompt") and answer):
        return "generation"
    if kind == "text" and len(table.columns) == 1:
        return "generation"
    return "prompts" if kind == "prompt" and len(table.columns) == 1 else None


def _prompt(config: DataConfig, table: Table, by_name: dict[str, str]) -> tuple[Kind | None, str | None]:
    """What holds the prompts, or the texts."""
    if config.text is not None:
        name = table.find(_one(config.text, "text"))
        return (_kind_of(name, table) or "text"), name
    for name in CONVERSATIONS:
        if name in by_name and _kind_of(by_name[name], table) == "messages":
            return "messages", by_name[name]
    for name in PROMPTS:
        if name in by_name:
            return ("instruction" if name == "instruction" else "prompt"), by_name[name]
    if "text" in by_name:
        return "text", by_name["text"]
    only = list(table.columns)
    return ("text", only[0]) if len(only) == 1 and config.task == "generation" else (None, None)


def _kind_of(name: str, table: Table) -> Kind | None:
    if holds_messages(_first(table.columns[name])):
        return "messages"
    known = name.casefold()
    return "instruction" if known == "instruction" else "prompt" if known in PROMPTS else None


def _one(named: str | int | list[str | int], key: str) -> str | int:
    names = named if isinstance(named, list) else [named]
    if len(names) != 1:
        raise DataError(
            f"expected one column, got {len(names)}",
            where=f"data.{key}",
            fix="name the column of texts or prompts as data.text, that of answers as data.label",
        )
    return names[0]


def _marks_column(table: Table, by_name: dict[str, str]) -> str | None:
    """The column `label`, where it says true or false."""
    name = by_name.get("label")
    if name is None:
        return None
    some = {as_text(cell).strip().lower() for cell in table.columns[name] if not is_missing(cell)}
    return name if some and some <= _MARKS else None


def _first(cells: Sequence[Any]) -> Any:
    return next((cell for cell in cells if not is_missing(cell)), None)


def _name(kind: Kind | None, answers: Sequence[str]) -> str:
    said = {"messages": "conversations", "instruction": "instructions", "prompt": "prompts", "text": "texts"}
    behind = " and ".join(f"'{name}'" for name in answers)
    if kind is None:
        return f"pairs {behind} with the prompt in them"
    return f"{said[kind]} with answers in {behind}" if behind else said[kind]


def _nothing_for(task: str, table: Table) -> DataError:
    needed = {
        "generation": "`messages`, `conversations`, `instruction` with `output`, `prompt` with `completion` or "
        "`response`, `question` with `answer`, or `text`; or name the column as data.text, and that of answers as "
        "data.label",
        "preference": "`chosen` and `rejected`, and `prompt`, `conversations` or `messages` where these do not hold it",
        "unpaired_preference": "`prompt` and `completion` (or `messages`), and `label`, which is true or false",
        "prompts": "`prompt`, `question`, `instruction` or `messages`; or name the column as data.text",
    }
    return DataError(
        f"no columns for the task {task}; the columns are {listed(list(table.columns))}",
        where=table.source,
        fix=f"needed are columns called {needed[task]}",
    )
