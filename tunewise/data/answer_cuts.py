"""Prompt and answer that are longer than the model reads: what is kept of them.

The prompt loses its beginning (not the tokens that open every text), until the whole fits or only half of the room is
left to it; what is still too long loses the end of the answer. Plain text loses its end.
"""

from __future__ import annotations

from collections.abc import Sequence

from tunewise.data.answer_tokens import AnswerTokens


def kept_prompt(given: int, answer: int, room: int) -> int:
    """How many tokens of a prompt are kept: all that the answer leaves room for, at least half of the room."""
    return min(given, max(room - answer, room // 2))


def cut_prompt(ids: Sequence[int], keep: int, opening: int) -> list[int]:
    """The last tokens of a prompt, behind those that open it."""
    if len(ids) <= keep:
        return list(ids)
    first = list(ids[: min(opening, keep)])
    return [*first, *ids[len(ids) - (keep - len(first)) :]] if keep > len(first) else first


def cut_row(row: AnswerTokens, room: int, opening: int, longest_answer: int | None = None) -> AnswerTokens:
    """A row that fits.

    Args:
        opening: how many tokens open the row, and are kept.
        longest_answer: what the prompt has to leave room for: of a pair, the longer answer. None: this row's own.
    """
    rest = len(row.ids) - row.given
    keep = kept_prompt(row.given, rest if longest_answer is None else longest_answer, room)
    if keep == row.given and len(row.ids) <= room:
        return row
    prompt = cut_prompt(row.ids[: row.given], keep, opening)
    stop = row.given + room - len(prompt)
    return AnswerTokens([*prompt, *row.ids[row.given : stop]], [*[0] * len(prompt), *row.learnt[row.given : stop]])
