"""`tunewise predict` with a reward model: the reward of each answer in a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunewise.chat.messages import from_text, to_text
from tunewise.data.prepare import load_answers
from tunewise.data.settings import DataConfig
from tunewise.types import Schema, Split

if TYPE_CHECKING:
    from tunewise.engine.text_model import TextModel


def reward_lines(
    model: TextModel, config: DataConfig, schema: Schema, data: Path, batch_size: int
) -> tuple[int, Iterator[list[Any]]]:
    """How many rows there are, and the lines of the table: head, then each row with its reward, or of a pair with both.

    Args:
        config, schema: those that the model was trained with.

    Raises:
        DataError: a row has no prompt or no answer.
    """
    split = load_answers(config, str(data.resolve()), data.resolve().parent, schema)
    return len(split), _lines(model, split, batch_size)


def _lines(model: TextModel, split: Split, batch_size: int) -> Iterator[list[Any]]:
    answers = len(split.texts[0]) - 1
    if answers == 2:
        yield ["prompt", "chosen", "rejected", "reward(chosen)", "reward(rejected)"]
        pairs = [(row[0], answer) for row in split.texts for answer in row[1:]]
        rewards = model.scores(pairs, batch_size).reshape(-1, 2)
        yield from ([*row, *map(float, both)] for row, both in zip(split.texts, rewards, strict=True))
        return
    yield ["conversation", "reward"] if answers == 0 else ["prompt", "answer", "reward"]
    judged = [_parted(row[0]) if answers == 0 else row for row in split.texts]
    rewards = model.scores(judged, batch_size)
    yield from ([*row, float(reward)] for row, reward in zip(split.texts, rewards, strict=True))


def _parted(row: str) -> tuple[str, str]:
    """A conversation as prompt and answer."""
    prompt, answer = from_text(row).parted
    return to_text(prompt), to_text(answer)
