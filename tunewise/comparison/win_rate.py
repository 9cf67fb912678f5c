"""Which of two runs writes what a reward model prefers: the share of test prompts at which the first one wins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tunewise.errors import RecipeError, StoreError
from tunewise.evaluate.intervals import interval, resamples
from tunewise.objectives.reward_settings import RewardSource
from tunewise.tracking.predictions import read_predictions
from tunewise.tracking.record import read_record
from tunewise.types import Predictions, Score

Judge = Callable[[list[str], list[str]], np.ndarray]
RESAMPLES = 1000


@dataclass(frozen=True)
class WinRate:
    """`rows` prompts of the test set were answered by both; `ties` of them with equal rewards, which count half.
    `first` and `second` are mean rewards."""

    test: str
    rows: int
    ties: int
    win_rate: Score
    first: Score
    second: Score

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def win_rate(
    first: Path, second: Path, reward: RewardSource, *, folder: Path = Path("."), test: str | None = None
) -> WinRate:
    """Judges what two finished runs wrote for the same test rows.

    Args:
        reward: a reward model, a regression or a classifier with the label that is wanted.
        folder: what its path starts from.
        test: the test set; None for the first.

    Raises:
        StoreError: a run has not finished, has no such test set, or has written nothing.
        RecipeError: they have no prompts in common, or the reward is a function.
        ModelError: the reward model cannot be loaded.
    """
    if reward.model is None:
        raise RecipeError("runs are judged by a model", where="reward", fix="name a run folder with a reward model")
    records = [read_record(run) for run in (first, second)]
    name = test or next(iter(records[0].scores), None)
    said = [_written(run, record.scores, name) for run, record in zip((first, second), records, strict=True)]
    chat = records[0].data.schema.get("form") == "chat"
    return compare_texts(str(name), said[0], said[1], _judge(reward, folder, chat))


def compare_texts(test: str, first: Predictions, second: Predictions, judge: Judge) -> WinRate:
    """The same of predictions.

    Args:
        judge: prompts and answers to rewards (n,).
    """
    both = _common(first, second)
    if not both:
        raise RecipeError(
            "the two runs have answered no prompt in common",
            fix="train both on the same data, with the same evaluate.generation.rows and seed",
        )
    prompts = [first.prompts[place] for place, _ in both]
    rewards_2n = np.stack(
        [judge(prompts, [said.generated[pair[which]] for pair in both]) for which, said in enumerate((first, second))]
    )
    wins_n = (rewards_2n[0] > rewards_2n[1]) + 0.5 * (rewards_2n[0] == rewards_2n[1])
    weights_Rn = np.concatenate(list(resamples(len(both), RESAMPLES, np.random.default_rng(0)))) / len(both)
    win, ours, theirs = (_score(values_n, weights_Rn) for values_n in (wins_n, *rewards_2n))
    return WinRate(test, len(both), int((wins_n == 0.5).sum()), win, ours, theirs)


def _common(first: Predictions, second: Predictions) -> list[tuple[int, int]]:
    """Places, in each, of the rows that both have continued from the same prompt."""
    places = {(row, second.prompts[place]): place for place, row in _answered(second)}
    return [
        (place, places[row, first.prompts[place]])
        for place, row in _answered(first)
        if (row, first.prompts[place]) in places
    ]


def _answered(said: Predictions) -> list[tuple[int, int]]:
    return [(place, int(row)) for place, row in enumerate(said.rows) if said.generated[place] is not None]


def _score(values_n: np.ndarray, weights_Rn: np.ndarray) -> Score:
    return Score(float(values_n.mean()), *interval(weights_Rn @ values_n, 0.95))


def _written(run: Path, scores: Any, test: str | None) -> Predictions:
    if test is None or test not in scores:
        raise StoreError(
            f"the run has no results on {'a test set' if test is None else repr(test)}",
            where=str(run),
            fix=f"name one of: {', '.join(scores)}" if scores else "let it finish: tunewise train --resume",
        )
    said = read_predictions(run, test)
    if not said.prompts:
        raise StoreError(
            "the run has written no texts", where=str(run), fix="train a language model with evaluate.generation"
        )
    return said


def _judge(reward: RewardSource, folder: Path, chat: bool) -> Judge:
    import torch

    from tunewise.engine.rewards import Rewards
    from tunewise.models.memory import PassSize

    rewards = Rewards([reward], {}, folder, torch.device("cpu"), 32, PassSize(), chat=chat)
    return lambda prompts, texts: rewards(prompts, texts, {})
