"""Parts of texts -> token ids, with the tokens of answers marked exactly.

A text is cut into tokens as a whole. Where the tokens of what stands before a part are not the first tokens of the
whole (a token would reach over the border, or a space belongs to another one), each part is cut by itself, so that no
token is half an answer. Either way a prompt has the tokens that it has alone, which is what the model is given when it
writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise
from typing import Any

from tunewise.chat.templates import Part
from tunewise.errors import ModelError

AT_ONCE = 1_000
"""Rows that are cut into tokens together."""


@dataclass(frozen=True)
class AnswerTokens:
    """The tokens of a row; `learnt`: 1 where one is of an answer, else 0."""

    ids: list[int]
    learnt: list[int]

    @cached_property
    def given(self) -> int:
        """How many stand before the first of an answer."""
        return self.learnt.index(1) if 1 in self.learnt else len(self.learnt)


@dataclass(frozen=True)
class Specials:
    """The ids that a tokeniser puts before and behind a text, and the one that ends it."""

    opening: tuple[int, ...]
    closing: tuple[int, ...]
    end: int

    @classmethod
    def of(cls, tokenizer: Any) -> Specials:
        """
        Raises:
            ModelError: the tokeniser has no end of text.
        """
        if tokenizer.eos_token_id is None:
            raise ModelError(
                "the tokeniser has no end of text (eos), so that a model could not learn to stop",
                where=str(getattr(tokenizer, "name_or_path", "")) or "the tokeniser",
                fix="set eos_token in its tokenizer_config.json, or take a model that writes text",
            )
        found = tokenizer("a", return_special_tokens_mask=True)
        ids, marks = found["input_ids"], found["special_tokens_mask"]
        first = marks.index(0) if 0 in marks else len(ids)
        last = len(marks) - (marks[::-1].index(0) if 0 in marks else 0)
        return cls(tuple(ids[:first]), tuple(ids[last:]), tokenizer.eos_token_id)


def plain_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of texts, without special ones around them; what stands in a text as the name of a special token is
    that token, as chat templates need it."""
    if not texts:
        return []
    return tokenizer(list(texts), add_special_tokens=False, truncation=False, verbose=False)["input_ids"]


def answer_tokens(
    tokenizer: Any, rows: Sequence[Sequence[Part]], opening: Sequence[int] = (), ending: Sequence[Sequence[int]] = ()
) -> Iterator[AnswerTokens]:
    """The tokens of each row.

    Args:
        opening: ids that open every row; not of an answer.
        ending: ids behind each row, of the answer.
    """
    for start in range(0, len(rows), AT_ONCE):
        some = [_merged(row) for row in rows[start : start + AT_ONCE]]
        wholes = plain_ids(tokenizer, ["".join(part.text for part in row) for row in some])
        beginnings = [_beginnings(row) for row in some]
        flat = iter(plain_ids(tokenizer, [text for row in beginnings for text in row]))
        for place, (row, whole, texts) in enumerate(zip(some, wholes, beginnings, strict=True)):
            before = [next(flat) for _ in texts]
            pieces = _cut_whole(whole, before) or plain_ids(tokenizer, [part.text for part in row])
            ids, learnt = list(opening), [0] * len(opening)
            for part, piece in zip(row, pieces, strict=True):
                ids += piece
                learnt += [int(part.answer)] * len(piece)
            end = list(ending[start + place]) if ending else []
            yield AnswerTokens([*ids, *end], [*learnt, *[1] * len(end)])


def _merged(parts: Sequence[Part]) -> list[Part]:
    """Neighbours of one kind as one; no empty ones, but the first of an answer without a prompt."""
    held = [part for part in parts if part.text]
    runs = groupby(held, key=lambda part: part.answer)
    return [Part("".join(part.text for part in run), answer) for answer, run in runs] or [Part("", True)]


def _beginnings(row: Sequence[Part]) -> list[str]:
    """The text before each part but the first."""
    texts, so_far = [], ""
    for part in row[:-1]:
        so_far += part.text
        texts.append(so_far)
    return texts


def _cut_whole(whole: list[int], before: Sequence[list[int]]) -> list[list[int]] | None:
    """The whole's tokens, cut where those of each beginning end; None where one is not the beginning of the whole."""
    if any(whole[: len(ids)] != ids for ids in before):
        return None
    places = [0, *(len(ids) for ids in before), len(whole)]
    return [whole[start:stop] for start, stop in pairwise(places)]
