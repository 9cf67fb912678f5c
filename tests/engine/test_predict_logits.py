from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from training_bench import Setup

from tunewise.data.tokenise import tokenise
from tunewise.engine.evaluation import evaluate
from tunewise.errors import Interrupted
from tunewise.evaluate import predict
from tunewise.evaluate.predict import predict_logits
from tunewise.evaluate.scores import to_scores
from tunewise.types import DataBundle

TEXTS = [("great",), ("my refund is late and the courier is not here",), ("",), ("thanks a lot",), ("box",)]


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_order_and_values_are_those_of_single_rows(
    family: str, batch_size: int, training: Callable[..., Setup]
) -> None:
    net = training(family=family).net
    net.model.train()
    ours = predict_logits(net.model, tokenise(TEXTS, net.tokenizer, 64), batch_size)
    assert ours.dtype == np.float32
    assert all(module.training for module in net.model.modules())
    net.model.eval()
    for row, text in zip(ours, TEXTS, strict=True):
        batch = tokenise([text], net.tokenizer, 64).batch([0])
        with torch.no_grad():
            single = net.model(**batch).logits[0].numpy()
        np.testing.assert_allclose(row, single, atol=2e-6)


def test_no_rows(training: Callable[..., Setup]) -> None:
    net = training().net
    assert predict_logits(net.model, tokenise([], net.tokenizer, 64), 8).shape == (0, 3)


def test_memory_is_given_back_every_few_batches(
    training: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch
) -> None:
    net, batches, after = training().net, [], []
    net.model.register_forward_hook(lambda *_: batches.append(1))
    monkeypatch.setattr(predict, "BATCHES_BETWEEN", 2)
    monkeypatch.setattr(predict, "give_freed_memory_back", lambda: after.append(len(batches)))
    predict_logits(net.model, tokenise(TEXTS, net.tokenizer, 64), 1)
    assert len(batches) == 3 and after == [2]


def test_modes_come_back_after_a_stop(training: Callable[..., Setup]) -> None:
    net = training().net
    net.model.train()
    net.model.bert.encoder.layer[0].eval()

    def stop() -> None:
        raise Interrupted("now")

    with pytest.raises(Interrupted):
        predict_logits(net.model, tokenise(TEXTS, net.tokenizer, 64), 2, stop=stop)
    assert net.model.training and not net.model.bert.encoder.layer[0].training


def test_nothing_made_in_prediction_is_kept_from_training(training: Callable[..., Setup]) -> None:
    """A tensor that a model caches in a forward pass serves the next training step."""
    net = training().net
    cache: list[torch.Tensor] = []
    net.model.bert.embeddings.LayerNorm.register_forward_pre_hook(
        lambda module, args: (args[0] + cache[0],) if cache else cache.append(torch.zeros(32))
    )
    predict_logits(net.model, tokenise(TEXTS, net.tokenizer, 64), 8)
    assert not cache[0].is_inference()
    net.model(**tokenise(TEXTS, net.tokenizer, 64).batch(range(3))).logits.sum().backward()


def test_scores() -> None:
    logits = np.array([[1.0, -2.0, 800.0], [-900.0, 3.0, 2.5]])
    np.testing.assert_allclose(to_scores("classification", logits), softmax(logits, axis=1), rtol=1e-12)
    np.testing.assert_allclose(to_scores("multilabel", logits), expit(logits), rtol=1e-12, atol=1e-300)
    assert to_scores("regression", np.array([[1.5], [2.0]], dtype=np.float32)).tolist() == [1.5, 2.0]
    assert to_scores("classification", logits.astype(np.float32)).dtype == np.float64


def test_evaluation_chooses_the_threshold_on_validation_alone(
    training: Callable[..., Setup], toy_data: Callable[..., DataBundle]
) -> None:
    data = toy_data("multilabel")
    setup = training("head", data=data, evaluate={"threshold": "f1_macro", "resamples": 100}, epochs=1)
    trained = setup.train()
    results = evaluate(trained, data, setup.job.evaluator, lambda: None)
    said = results.predictions["validation"]
    best = setup.job.evaluator.score_one("f1_macro", said)
    for threshold in np.linspace(0.3, 0.7, 41):
        decided = type(said)(said.scores, (said.scores >= threshold).astype(np.int64), said.targets, said.rows)
        assert setup.job.evaluator.score_one("f1_macro", decided) <= best + 1e-12
    test = results.predictions["test"]
    np.testing.assert_array_equal(test.decisions, (test.scores >= results.threshold).astype(np.int64))
    np.testing.assert_array_equal(test.targets, data.splits["test"].targets)
    assert results.predict_ms_per_example > 0
    assert set(results.scores) == {"test"} and results.confusion == {}
    assert results.scores["test"]["f1_macro"].value == setup.job.evaluator.score_one("f1_macro", test)


@pytest.mark.parametrize("method", ["head", "features"])
def test_what_is_cut_in_a_test_set_is_told(method: str, training: Callable[..., Setup]) -> None:
    setup = training(method, epochs=1, evaluate={"resamples": 100}, max_length=7)
    lengths = [len(setup.net.tokenizer(text).input_ids) for (text,) in setup.job.data.splits["test"].texts]
    told: list[str] = []
    evaluate(setup.train(), setup.job.data, setup.job.evaluator, lambda: None, told.append)
    cut, lost = sum(length > 7 for length in lengths), sum(max(0, length - 7) for length in lengths)
    what = "of 18 rows" if method == "head" else "texts"
    assert told == [f"{cut} {what} of test are longer than 7 tokens and were cut; {lost} tokens at their ends are lost"]


def test_confusion_has_true_classes_in_rows(training: Callable[..., Setup]) -> None:
    setup = training("head", epochs=1, evaluate={"resamples": 100})
    results = evaluate(setup.train(), setup.job.data, setup.job.evaluator, lambda: None)
    assert set(results.confusion) == {"validation", "test"}
    assert [sum(row) for row in results.confusion["test"]] == np.bincount(
        setup.job.data.splits["test"].targets
    ).tolist()
