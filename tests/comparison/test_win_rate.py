from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tunewise.comparison import win_rate as module
from tunewise.comparison.win_rate import compare_texts, win_rate
from tunewise.errors import RecipeError, StoreError
from tunewise.objectives.reward_settings import RewardSource
from tunewise.tracking.predictions import write_predictions
from tunewise.tracking.record import RunRecord, UsedData, write_record
from tunewise.types import Predictions, Score


def said(texts, rows=None, prompts=None) -> Predictions:
    count = len(texts)
    numbers = np.ones((count, 3))
    rows = np.arange(1, count + 1) if rows is None else np.array(rows)
    prompts = prompts or [None if text is None else f"prompt {row}: " for row, text in zip(rows, texts, strict=True)]
    references = tuple(None if text is None else "" for text in texts)
    return Predictions(numbers, numbers, np.zeros(count), rows, tuple(texts), references, tuple(prompts))


def by_length(prompts, texts):
    assert all(prompt.startswith("prompt") for prompt in prompts)
    return np.array([float(len(text)) for text in texts])


def test_wins_are_counted_row_by_row():
    first = said(["aaa", "b", "cc", None, "eeeee"])
    second = said(["e", "cc", "bbb", "a", "x"], rows=[5, 3, 2, 1, 4])  # another order; row 1 against "a"
    found = compare_texts("test", first, second, by_length)
    # row 1: 3 > 1, row 2: 1 < 3, row 3: 2 = 2, row 5: 5 > 1; row 4 was not continued by the first
    assert (found.rows, found.ties) == (4, 1)
    assert found.win_rate.value == pytest.approx((1 + 0 + 0.5 + 1) / 4)
    assert found.first.value == pytest.approx(11 / 4) and found.second.value == pytest.approx(7 / 4)
    assert found.win_rate.low <= found.win_rate.value <= found.win_rate.high
    other = compare_texts("test", second, first, by_length)
    assert other.win_rate.value == pytest.approx(1 - found.win_rate.value)


def test_the_interval_is_that_of_a_share():
    rng = np.random.default_rng(0)
    first = said(["aa" if rng.random() < 0.7 else "" for _ in range(400)])
    found = compare_texts("test", first, said(["a"] * 400), by_length)
    half = 1.96 * np.sqrt(found.win_rate.value * (1 - found.win_rate.value) / 400)
    assert found.win_rate.high - found.win_rate.value == pytest.approx(half, rel=0.2)


def test_other_prompts_are_not_compared():
    with pytest.raises(RecipeError, match="no prompt in common"):
        compare_texts("test", said(["a", "b"]), said(["a", "b"], prompts=["prompt x", "prompt y"]), by_length)


def test_runs_are_read_and_refused_where_they_wrote_nothing(tmp_path, monkeypatch):
    whole = said(["aaa", "b"])
    bare = replace(whole, generated=(), references=(), prompts=())
    for name, predictions in (("a", whole), ("b", said(["a", "bb"])), ("c", bare)):
        write_record(
            tmp_path / name,
            RunRecord("finished", "full", 0, {}, data=UsedData("", {}), scores={"test": {"loss": Score(1, 1, 1)}}),
        )
        write_predictions(tmp_path / name, {"test": predictions})
    monkeypatch.setattr(module, "_judge", lambda reward, folder, chat: by_length)
    found = win_rate(tmp_path / "a", tmp_path / "b", RewardSource(model="r"))
    assert found.rows == 2 and found.win_rate.value == 0.5
    with pytest.raises(StoreError, match="written no texts"):
        win_rate(tmp_path / "a", tmp_path / "c", RewardSource(model="r"))
    with pytest.raises(StoreError, match="'later'"):
        win_rate(tmp_path / "a", tmp_path / "b", RewardSource(model="r"), test="later")
    with pytest.raises(RecipeError, match="by a model"):
        win_rate(tmp_path / "a", tmp_path / "b", RewardSource(function="f.py:g"))


def test_a_reward_model_judges(tiny_model):
    """A classifier of transformers as the reward: against its own outputs."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from tunewise.models.locate import locate

    source = tiny_model("bert")
    folder = Path(source).parent / "bert-number"
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=1).eval()
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.save_pretrained(folder)
    assert locate(str(folder), Path(".")).family == "bert"
    judge = module._judge(RewardSource(model=str(folder)), Path("."), False)
    with torch.no_grad():
        batch = tokenizer(["help me order", "help me card"], return_tensors="pt", padding=True)
        wanted = model(**batch).logits[:, 0]
    assert judge(["help me ", "help me "], ["order", "card"]) == pytest.approx(wanted.tolist(), abs=1e-5)
