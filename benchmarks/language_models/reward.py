"""A reward that both sides take as it is: the share of an answer's words whose number is even."""

from __future__ import annotations

from typing import Any


def even(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
    """Of each completion, of words such as `w17`; 0 where there is none."""
    numbers = [[int(word[1:]) for word in text.split() if word[1:].isdigit()] for text in completions]
    return [sum(number % 2 == 0 for number in row) / max(1, len(row)) for row in numbers]
