"""What is checked of a story: whether it ends happily. As a reward: `reward: endings.py:happy_ending`."""

from __future__ import annotations

HAPPY = ("happy", "smiled", "laughed", "glad")
SAD = ("sad", "cried", "alone", "angry")


def happy_ending(prompts: list[str], completions: list[str], **columns: list[str]) -> list[float]:
    """1 where the last whole sentence of a story has a happy word and no sad one, else 0."""
    return [float(_is_happy(text)) for text in completions]


def _is_happy(text: str) -> bool:
    if not text.rstrip().endswith("."):
        return False  # it was not finished
    last = text.rstrip().rstrip(".").rpartition(".")[2].lower()
    return any(word in last for word in HAPPY) and not any(word in last for word in SAD)
