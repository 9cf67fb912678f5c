"""Metrics of language models, against sacreBLEU, rouge-score, scikit-learn and plain arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tunewise.errors import RecipeError
from tunewise.evaluate import texts
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.settings import EvaluateConfig
from tunewise.types import ROW_NUMBERS, Predictions, Schema

WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    "Sat,",
    "ran.",
    "on",
    "house's",
    "été",
    "naïve",
    "3.5",
    "42",
    "red-blue",
    "Straße",
    "?",
]


def evaluator(task="generation", **options) -> Evaluator:
    return Evaluator(Schema(task, ("text",), "", (), "completion"), EvaluateConfig(**options), Path("."))


def some_texts(count: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """What was written and what stands there: references with words changed, left out and put in; one pair empty."""
    rng = np.random.default_rng(seed)
    said, wanted = [], []
    for _ in range(count):
        words = rng.choice(WORDS, size=rng.integers(1, 20)).tolist()
        wanted.append(" ".join(words))
        said.append(" ".join(word for word in words if rng.random() > 0.2) + str(rng.choice(["", " cat", " the dog"])))
    return [*said, ""], [*wanted, "not empty"]


def predicted(said, wanted, numbers=None) -> Predictions:
    rows = len(said)
    scores = np.ones((rows, 3)) if numbers is None else numbers
    return Predictions(scores, scores, np.zeros(rows, np.float32), np.arange(1, rows + 1), tuple(said), tuple(wanted))


def repeated(values, weights):
    return [value for value, times in zip(values, weights.astype(int), strict=True) for _ in range(times)]


@pytest.mark.parametrize("tokenizer", ["13a", "char"])
def test_bleu_and_chrf_of_any_resample_are_those_of_sacrebleu(tokenizer):
    from sacrebleu.metrics import BLEU, CHRF

    said, wanted = some_texts(30)
    rng = np.random.default_rng(1)
    weights = np.vstack([np.ones(31), rng.multinomial(31, np.ones(31) / 31, size=4)])
    judge, predictions = evaluator(bleu_tokenizer=tokenizer), predicted(said, wanted)
    found = {name: judge.values(name, predictions, weights) for name in ("bleu", "chrf")}
    for place, row in enumerate(weights):
        ours, theirs = repeated(said, row), repeated(wanted, row)
        assert found["bleu"][place] == pytest.approx(BLEU(tokenize=tokenizer).corpus_score(ours, [theirs]).score)
        assert found["chrf"][place] == pytest.approx(CHRF().corpus_score(ours, [theirs]).score)
    assert found["bleu"][0] > 1
    assert f"tok:{tokenizer}" in texts.signatures(tokenizer)["bleu"] and "nc:6" in texts.signatures("13a")["chrf"]


def test_rouge_is_that_of_rouge_score_on_ascii():
    from rouge_score.rouge_scorer import RougeScorer

    said, wanted = ([text.encode("ascii", "ignore").decode() for text in column] for column in some_texts(40, seed=2))
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)
    judge, predictions = evaluator(), predicted(said, wanted)
    for kind in ("rouge1", "rouge2", "rougeL"):
        expected = [scorer.score(theirs, ours)[kind].fmeasure for ours, theirs in zip(said, wanted, strict=True)]
        assert judge.score_one(kind, predictions) == pytest.approx(np.mean(expected))
        assert np.mean(expected) > 0.1


def test_rouge_knows_letters_beyond_ascii():
    assert texts.rouge_f1("1", "Straße naïve", "straße NAÏVE") == 1.0
    assert texts.rouge_f1("L", "a b c d", "b x d a") == pytest.approx(2 * 2 / 8)


def test_matches_and_variety_are_counted():
    said = ["Forty  two", "no no", "ﬁne"]
    predictions = predicted(said, ["forty two\n", "yes", "fine"])
    judge = evaluator()
    assert judge.score_one("exact_match", predictions) == pytest.approx(2 / 3)
    assert judge.score_one("distinct_1", predictions) == pytest.approx(4 / 5)
    assert judge.score_one("distinct_2", predictions) == 1.0
    assert judge.score_one("words_written", predictions) == pytest.approx(5 / 3)
    scores = judge.score_with_intervals(predictions)
    assert scores["exact_match"].low <= 2 / 3 <= scores["exact_match"].high
    assert np.isnan(scores["distinct_1"].low)  # resamples repeat rows: they would say less variety than there is


def test_rows_that_were_not_continued_have_no_say():
    said, wanted = some_texts(10, seed=3)
    whole = predicted(said, wanted)
    part = predicted([*said, None, None], [*wanted, None, None])
    judge = evaluator()
    for name in ("bleu", "chrf", "rougeL", "exact_match", "distinct_2"):
        assert judge.score_one(name, part) == pytest.approx(judge.score_one(name, whole))
    weights = np.ones((2, len(said) + 2))
    weights[1, -2:] = 7
    assert len(set(judge.values("rouge1", part, weights))) == 1


def test_without_texts_there_are_no_metrics_of_texts(monkeypatch):
    numbers = predicted([], [], np.ones((0, 3)))
    numbers = Predictions(np.full((4, 3), 2.0), np.full((4, 3), 2.0), np.zeros(4), np.arange(1, 5))
    assert set(evaluator().score(numbers)) == {"perplexity", "next_token_accuracy"}
    assert evaluator(generation=None).names == ["perplexity", "next_token_accuracy"]
    with pytest.raises(RecipeError, match=r"evaluate\.generation is null"):
        evaluator(generation=None).check_metric("bleu")
    with pytest.raises(RecipeError, match="after each epoch"):
        evaluator().check_choice("bleu")
    evaluator().check_metric("bleu")
    monkeypatch.setattr(texts.importlib.util, "find_spec", lambda name: None)
    judge = evaluator()
    assert judge.missing == {"bleu": "sacrebleu", "chrf": "sacrebleu"} and "rouge1" in judge.names
    with pytest.raises(RecipeError) as error:
        judge.check_metric("chrf")
    assert "tunewise[language]" in error.value.fix
    assert "bleu" not in texts.signatures("13a")


def test_metrics_of_preferences_and_rewards():
    rng = np.random.default_rng(4)
    pairs = rng.normal(size=(20, 3)).round(1)
    pairs[0, 0] = pairs[0, 1]
    said = Predictions(pairs, pairs, np.zeros(20), np.arange(1, 21))
    judge = evaluator("preference")
    margins = pairs[:, 0] - pairs[:, 1]
    wanted = np.mean([1.0 if margin > 0 else 0.5 if margin == 0 else 0.0 for margin in margins])
    assert judge.score(said) == pytest.approx(
        {"preference_accuracy": wanted, "reward_margin": margins.mean(), "loss": pairs[:, 2].mean()}
    )
    single, good = pairs[:, [0, 2]], (rng.random(20) < 0.5).astype(np.float32)
    said = Predictions(single, single, good, np.arange(1, 21))
    assert evaluator("unpaired_preference").score(said) == pytest.approx(
        {"reward_auc": roc_auc_score(good, single[:, 0]), "loss": single[:, 1].mean()}
    )
    rollouts = np.abs(pairs)
    said = Predictions(rollouts, rollouts, np.zeros(20), np.arange(1, 21))
    assert evaluator("prompts").score(said) == pytest.approx(
        {
            "reward": rollouts[:, 0].mean(),
            "kl": rollouts[:, 1].mean(),
            "kl_per_token": rollouts[:, 1].sum() / rollouts[:, 2].sum(),
            "tokens_written": rollouts[:, 2].mean(),
        }
    )


def test_every_language_task_has_a_default_metric_it_computes():
    from tunewise.evaluate.metrics import default_metric

    for task in ROW_NUMBERS:
        evaluator(task).check_choice(default_metric(task))
