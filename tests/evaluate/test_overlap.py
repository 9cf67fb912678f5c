from __future__ import annotations

import numpy as np
import pytest

from tunewise.evaluate.overlap import overlap


def test_copied_runs_are_found():
    training = ["x one two three four five six seven eight nine ten y", "other words"]
    written = ["so One two  three four five six\nseven eight nine and then"]  # 9 words copied, 12 in all: 2 of 5 runs
    found = overlap(written, ["a b c d e f g h i"], training)
    assert found == {"words": 8, "share": 2 / 5, "reference_share": 0.0, "longest": 9}


def test_texts_too_short_have_no_share():
    assert overlap(["one two"], [""], ["one two"]) == {
        "words": 8,
        "share": None,
        "reference_share": None,
        "longest": 0,
    }


def test_it_is_the_plain_count():
    """Against joined strings looked up in joined strings."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(list("ab"), 30)) for _ in range(6)]
    training = [" ".join(rng.choice(list("ab"), 30)) for _ in range(9)]
    runs = [" ".join(text.split()[place : place + 8]) for text in texts for place in range(23)]
    wanted = np.mean([any(f" {run} " in f" {text} " for text in training) for run in runs])
    assert 0 < wanted < 1
    assert overlap(texts, texts[:1], training)["share"] == pytest.approx(wanted)
