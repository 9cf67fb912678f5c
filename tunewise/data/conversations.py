"""Rows of language tasks -> token ids, and which of them are to be learnt; or the prompts alone.

A decoder reads prompt and answer as one text; of an encoder with a decoder, the encoder reads the prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tunewise.chat.messages import Conversation, from_text, joined_text
from tunewise.chat.templates import Part, parts_of, prompt_text
from tunewise.data.answer_cuts import cut_prompt, cut_row
from tunewise.data.answer_tokens import AnswerTokens, Specials, answer_tokens, plain_ids
from tunewise.data.labelled import LabelledTokens
from tunewise.data.ragged import Ragged
from tunewise.errors import DataError, RecipeError, TunewiseError

if TYPE_CHECKING:
    from tunewise.types import Schema, Split

MOST_OPENING = 32
"""Tokens of a plain text that are given to a model to go on with; half of them, where a text has fewer than twice as
many."""


@dataclass(frozen=True, eq=False)
class Prompts:
    """What a model is given to continue, per row. `ids`: its tokens, int32, unpadded; of an encoder with a decoder what
    the encoder reads. `texts` is the same as text, before it is cut; `references` what stands there in the data, empty
    where nothing does. `cut_rows` are the places (from 0, int64) of prompts that lost their beginning, `lost` the
    tokens they lost."""

    ids: Ragged
    texts: tuple[str, ...]
    references: tuple[str, ...]
    lost: int = 0
    cut_rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.ids)


def encode_split(
    split: Split, schema: Schema, tokenizer: Any, max_length: int, everything: bool, encoder_decoder: bool
) -> LabelledTokens:
    """The tokens of a split of the task `generation`.

    Args:
        everything: prompts are to be learnt too.
        encoder_decoder: prompts go to the encoder; of a conversation, the last answer alone is learnt.

    Raises:
        DataError: a row cannot be written by the chat template; names it.
        RecipeError: plain text, and an encoder that would have nothing to read.
    """
    if encoder_decoder:
        prompts, answers = _prompts_and_answers(split, schema, tokenizer)
        return _with_sources(prompts, answers, schema, tokenizer, max_length)
    given = [_Given.of(split, place, schema, tokenizer) for place in range(len(split))]
    return _encode_given(given, schema, tokenizer, max_length, everything)


def encode_answers(
    split: Split, schema: Schema, tokenizer: Any, max_length: int, encoder_decoder: bool, answer: int = 1
) -> LabelledTokens:
    """The tokens of prompt and answer of each row, the answer's to be learnt; for unpaired preference.

    Args:
        answer: which of the row's strings is the answer.

    Raises:
        DataError: a row cannot be written by the chat template; names it.
    """
    if encoder_decoder:
        prompts, answers = _prompts_and_answers(split, schema, tokenizer, answer)
        return _with_sources(prompts, answers, schema, tokenizer, max_length)
    given = [_Given.of(split, place, schema, tokenizer, answer) for place in range(len(split))]
    return _encode_given(given, schema, tokenizer, max_length, everything=False)


def encode_pairs(
    split: Split, schema: Schema, tokenizer: Any, max_length: int, encoder_decoder: bool
) -> tuple[LabelledTokens, LabelledTokens]:
    """The tokens of the chosen and of the rejected answers, each behind its prompt, the answers' to be learnt. Both
    have the same prompt, token by token, cut by what the longer answer needs.

    Raises:
        DataError: a row cannot be written by the chat template; names it.
    """
    if encoder_decoder:
        chosen, rejected = (
            encode_answers(split, schema, tokenizer, max_length, encoder_decoder, answer) for answer in (1, 2)
        )
        return chosen, rejected
    found = []
    for answer in (1, 2):
        given = [_Given.of(split, place, schema, tokenizer, answer) for place in range(len(split))]
        found.append((given, list(_tokens(given, schema, tokenizer))))
    longest = [max(len(row.ids) - row.given for row in both) for both in zip(found[0][1], found[1][1], strict=True)]
    opening = Specials.of(tokenizer)
    chosen, rejected = (_labelled(rows, _cut(rows, max_length, opening, longest), tokenizer) for _, rows in found)
    return chosen, rejected


def encode_prompts(split: Split, schema: Schema, tokenizer: Any, max_length: int, encoder_decoder: bool) -> Prompts:
    """What a model is given to continue, for every language task: the prompt, with what opens an answer by the chat
    template; of a conversation all before its last answer, of plain text its first tokens. Too long ones lose their
    beginning.

    Args:
        max_length: the most tokens of a prompt: less than the model reads, where it is to write an answer behind it.

    Raises:
        DataError: a row cannot be written by the chat template; names it.
        RecipeError: plain text, and an encoder that would have nothing to read.
    """
    if schema.form == "text" and schema.task == "generation":
        return _text_prompts(split, tokenizer, max_length, encoder_decoder)
    specials, chat = Specials.of(tokenizer), schema.form == "chat"
    texts, references = _prompts_and_answers(split, schema, tokenizer, joint=not encoder_decoder)
    opening = () if chat else specials.opening
    closing = specials.closing if encoder_decoder else ()
    whole = [[*opening, *ids] for ids in plain_ids(tokenizer, texts)]
    kept = [[*cut_prompt(ids, max_length - len(closing), _opens(ids, specials)), *closing] for ids in whole]
    lost = np.array([len(all_of) + len(closing) - len(left) for all_of, left in zip(whole, kept, strict=True)])
    return Prompts(Ragged.of(kept, np.int32), tuple(texts), tuple(references), int(lost.sum()), np.flatnonzero(lost))


def _text_prompts(split: Split, tokenizer: Any, max_length: int, encoder_decoder: bool) -> Prompts:
    if encoder_decoder:
        raise _nothing_to_read()
    opening = Specials.of(tokenizer).opening
    ids, texts, references = [], [], []
    for row in plain_ids(tokenizer, [text for (text,) in split.texts]):
        many = max(1, min(MOST_OPENING, len(row) // 2, max_length - len(opening)))
        ids.append([*opening, *row[:many]])
        texts.append(tokenizer.decode(row[:many]))
        references.append(tokenizer.decode(row)[len(texts[-1]) :])
    return Prompts(Ragged.of(ids, np.int32), tuple(texts), tuple(references))


@dataclass(frozen=True)
class _Given:
    """A row in parts; `open_end`: the end of text stands behind it."""

    parts: Sequence[Part]
    open_end: bool

    @classmethod
    def of(cls, split: Split, place: int, schema: Schema, tokenizer: Any, answer: int = 1) -> _Given:
        row = split.texts[place]
        if schema.form == "text":
            return cls([Part(row[0], True)], True)
        if schema.form == "completion":
            return cls([Part(row[0] + schema.between, False), Part(row[answer], True)], True)
        try:
            return cls(*_chat_parts(row, tokenizer, answer))
        except TunewiseError as problem:
            raise _in_row(problem, split, place) from None


def _chat_parts(row: Sequence[str], tokenizer: Any, answer: int) -> tuple[list[Part], bool]:
    prompt = from_text(row[0])
    if len(row) == 1:
        return parts_of(tokenizer, prompt)
    messages = (*prompt.messages, *from_text(row[answer]).messages)
    return parts_of(tokenizer, Conversation(messages, prompt.tools), first=len(prompt.messages))


def _in_row(problem: TunewiseError, split: Split, place: int) -> DataError:
    return DataError(problem.what, where=f"{split.source}, row {int(split.rows[place])}", fix=problem.fix)


def _encode_given(
    given: Sequence[_Given], schema: Schema, tokenizer: Any, max_length: int, everything: bool
) -> LabelledTokens:
    rows = list(_tokens(given, schema, tokenizer))
    cut = _cut(rows, max_length, Specials.of(tokenizer))
    if everything:
        cut = [AnswerTokens(row.ids, [1] * len(row.ids)) for row in cut]
    return _labelled(rows, cut, tokenizer)


def _tokens(given: Sequence[_Given], schema: Schema, tokenizer: Any) -> Iterator[AnswerTokens]:
    specials = Specials.of(tokenizer)
    opening = () if schema.form == "chat" else specials.opening
    ending = [[specials.end] if row.open_end else [] for row in given]
    return answer_tokens(tokenizer, [row.parts for row in given], opening, ending)


def _opens(ids: Sequence[int], specials: Specials) -> int:
    """How many tokens of a row are those that open every text."""
    count = len(specials.opening)
    return count if tuple(ids[:count]) == specials.opening else 0


def _cut(
    rows: Sequence[AnswerTokens], room: int, specials: Specials, longest: Sequence[int] | None = None
) -> list[AnswerTokens]:
    answers = longest or [None] * len(rows)
    return [cut_row(row, room, _opens(row.ids, specials), most) for row, most in zip(rows, answers, strict=True)]


def _labelled(rows: Sequence[AnswerTokens], cut: Sequence[AnswerTokens], tokenizer: Any) -> LabelledTokens:
    """Of a decoder's rows, before and after cutting; their first token has nothing before it to be told from."""
    lost = np.array([len(row.ids) - len(left.ids) for row, left in zip(rows, cut, strict=True)], np.int64)
    learnt = [[0, *row.learnt[1:]] for row in cut]
    return LabelledTokens(
        Ragged.of([row.ids for row in cut], np.int32),
        Ragged.of(learnt, np.int8),
        tokenizer.pad_token_id,
        lost=int(lost.sum()),
        cut_rows=np.flatnonzero(lost),
        empty_rows=np.flatnonzero([not any(row) for row in learnt]),
    )


def _prompts_and_answers(
    split: Split, schema: Schema, tokenizer: Any, answer: int = 1, joint: bool = False
) -> tuple[list[str], list[str]]:
    """The text of each prompt, and of its (chosen) answer.

    Args:
        joint: with what stands between prompt and answer, where one text follows the other.
    """
    if schema.form == "text" and schema.task == "generation":
        raise _nothing_to_read()
    if schema.form != "chat":
        between = schema.between if joint else ""
        return [row[0] + between for row in split.texts], [row[answer] if len(row) > 1 else "" for row in split.texts]
    prompts, answers = [], []
    for place, row in enumerate(split.texts):
        held = from_text(row[0])
        alone = len(row) == 1 and schema.task == "generation"
        messages = held.prompt if alone else held.messages
        try:
            prompts.append(prompt_text(tokenizer, messages, held.tools))
        except TunewiseError as problem:
            raise _in_row(problem, split, place) from None
        answers.append(
            held.reference if alone else joined_text(from_text(row[answer]).messages) if len(row) > 1 else ""
        )
    return prompts, answers


def _with_sources(
    prompts: Sequence[str], answers: Sequence[str], schema: Schema, tokenizer: Any, max_length: int
) -> LabelledTokens:
    """For an encoder with a decoder: each cut to the limit by itself, the prompt at its beginning, the answer at its
    end. The decoder learns every token of the answer, and the end of text."""
    specials = Specials.of(tokenizer)
    opening = () if schema.form == "chat" else specials.opening
    read = [[*opening, *ids] for ids in plain_ids(tokenizer, prompts)]
    room = max_length - len(specials.closing)
    sources = [[*cut_prompt(ids, room, _opens(ids, specials)), *specials.closing] for ids in read]
    whole = [_ended(ids, specials.end) for ids in tokenizer(text_target=list(answers), verbose=False)["input_ids"]]
    ids = [row[:max_length] for row in whole]
    lost = np.array(
        [
            len(before) + len(specials.closing) - len(source) + len(answer) - len(left)
            for before, source, answer, left in zip(read, sources, whole, ids, strict=True)
        ],
        np.int64,
    )
    return LabelledTokens(
        Ragged.of(ids, np.int32),
        Ragged.of([[1] * len(row) for row in ids], np.int8),
        tokenizer.pad_token_id,
        sources=Ragged.of(sources, np.int32),
        lost=int(lost.sum()),
        cut_rows=np.flatnonzero(lost),
    )


def _ended(ids: list[int], end: int) -> list[int]:
    return ids if ids and ids[-1] == end else [*ids, end]


def _nothing_to_read() -> RecipeError:
    return RecipeError(
        "the rows are plain text, and the model has an encoder, which would have nothing to read",
        where="data",
        fix="name a column of prompts as data.text and one of answers as data.label, or take a model that is a decoder",
    )
