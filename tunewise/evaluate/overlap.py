"""How much of what a model wrote stands word by word in the texts it was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

WORDS = 8
"""A run of so many words that stands in both is copied, or a set phrase."""

Run = tuple[str, ...]


def overlap(texts: Sequence[str], references: Sequence[str], training: Iterable[str]) -> dict[str, float | int | None]:
    """Runs of 8 words (between white space, lower case) of what was written that stand in a training text.

    Args:
        texts: what the model wrote.
        references: what stands there in the data: how much training and test texts share in any case.
        training: the training texts.

    Returns:
        words: 8. share: of the runs of all texts, None without any. reference_share: of those of the references.
        longest: most words on end, in one text, of which every run stands in a training text; 0 where none does.
    """
    ours, theirs = ([_runs(text) for text in column] for column in (texts, references))
    known = _found({run for column in (ours, theirs) for runs in column for run in runs}, training)
    return {
        "words": WORDS,
        "share": _share(ours, known),
        "reference_share": _share(theirs, known),
        "longest": max((_longest(runs, known) for runs in ours), default=0),
    }


def _found(wanted: set[Run], training: Iterable[str]) -> set[Run]:
    """Those of the runs that stand in a training text. Keeps nothing of the training texts but these."""
    if not wanted:
        return set()
    firsts = {run[0] for run in wanted}
    found = set()
    for text in training:
        words = text.lower().split()
        for place in range(len(words) - WORDS + 1):
            if words[place] in firsts:
                run = tuple(words[place : place + WORDS])
                if run in wanted:
                    found.add(run)
    return found


def _runs(text: str) -> list[Run]:
    words = text.lower().split()
    return [tuple(words[place : place + WORDS]) for place in range(len(words) - WORDS + 1)]


def _share(texts: Sequence[Sequence[Run]], known: set[Run]) -> float | None:
    total = sum(map(len, texts))
    return sum(run in known for runs in texts for run in runs) / total if total else None


def _longest(runs: Sequence[Run], known: set[Run]) -> int:
    """Words of the longest stretch of runs that are all known."""
    longest = current = 0
    for run in runs:
        current = current + 1 if run in known else 0
        longest = max(longest, current)
    return longest + WORDS - 1 if longest else 0
