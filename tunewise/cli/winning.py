"""`tunewise winrate` on the terminal."""

from __future__ import annotations

import json
from pathlib import Path

from tunewise.comparison.win_rate import win_rate
from tunewise.objectives.reward_settings import RewardSource
from tunewise.report.figures import interval, score
from tunewise.tracking.progress import plain_text
from tunewise.types import Score


def show_win_rate(first: Path, second: Path, reward: Path, label: str | None, test: str | None, as_json: bool) -> None:
    """Judges two runs and prints who wins how often."""
    found = win_rate(first, second, RewardSource(model=str(reward), wanted_class=label), test=test)
    if as_json:
        print(json.dumps(found.as_dict()))
        return
    ties = f", {found.ties} with equal rewards, which count half" if found.ties else ""
    print(f"{plain_text(found.test)}: {found.rows} prompts{ties}")
    print(f"    {plain_text(str(first))} wins {_words(found.win_rate)}")
    print(f"    reward {_words(found.first)}, of {plain_text(str(second))} {_words(found.second)}")


def _words(found: Score) -> str:
    return f"{score(found.value)} ({interval(found.low, found.high)})"
