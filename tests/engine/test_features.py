"""Embeddings by hand, and the solver that fits heads on them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from training_bench import Recorder, Setup
from transformers import AutoModel, AutoTokenizer, T5EncoderModel

from tunewise.commit import Cache
from tunewise.engine import features
from tunewise.engine.events import Planned, Started
from tunewise.engine.feature_head import FeatureHead
from tunewise.engine.features import Embedder, fit_features
from tunewise.engine.kept import Context
from tunewise.engine.strengths import Judged
from tunewise.errors import Interrupted, MethodError
from tunewise.estimation.embedding import embedding_flops
from tunewise.models.load import load_net
from tunewise.types import DataBundle, Split

TEXTS = [("my refund is late",), ("thanks",), ("the courier is great and the box is very late today",)]


def by_hand(folder: Path, texts: list[str], pooling: str) -> np.ndarray:
    """Each text on its own, without padding."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    if model.config.is_encoder_decoder:
        model = T5EncoderModel.from_pretrained(folder).eval()
    with_types = model.config.model_type == "bert"
    vectors = []
    for text in texts:
        batch = tokenizer(text, return_tensors="pt", return_token_type_ids=with_types)
        with torch.no_grad():
            hidden_TD = model(**batch).last_hidden_state[0]
        vectors.append({"mean": hidden_TD.mean(0), "first": hidden_TD[0], "last": hidden_TD[-1]}[pooling])
    return torch.stack(vectors).numpy()


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
@pytest.mark.parametrize("family", ["bert", "distilbert", "gpt2"])
def test_pooling(family: str, pooling: str, training: Callable[..., Setup]) -> None:
    net = training("features", family=family).net
    ours = Embedder(net, pooling, normalize=False, batch_size=2)(TEXTS)
    np.testing.assert_allclose(ours, by_hand(net.located.path, [text for (text,) in TEXTS], pooling), atol=2e-6)


@pytest.mark.parametrize(
    ("family", "pooling"),
    [
        ("bert", "mean"),
        ("distilbert", "mean"),
        ("t5", "mean"),
        ("roberta", "mean"),
        ("modernbert", "mean"),
        ("gpt2", "last"),
        ("llama", "last"),
    ],
)
def test_default_pooling_and_length_1(family: str, pooling: str, training: Callable[..., Setup]) -> None:
    net = training("features", family=family).net
    wanted = by_hand(net.located.path, [text for (text,) in TEXTS], pooling)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(Embedder(net)(TEXTS), wanted, atol=2e-6)


def test_pairs(training: Callable[..., Setup]) -> None:
    net = training("features").net
    pairs = [("my refund", "great"), ("a box", "the parcel is late"), ("love", "love")]
    first, second = (Embedder(net)([(text,) for text in column]) for column in zip(*pairs, strict=True))
    wanted = np.concatenate([first, second, abs(first - second), first * second], axis=1)
    np.testing.assert_allclose(Embedder(net)(pairs), wanted, atol=2e-6)


def test_flops_are_those_that_torch_counts(training: Callable[..., Setup]) -> None:
    setup = training("features")
    # Written out in matrix products: torch does not count the fused attention of a CPU.
    net = load_net(setup.net.located, setup.job.data.schema, attention="eager")
    embed = Embedder(net, batch_size=2)
    embed(TEXTS)
    with FlopCounterMode(display=False) as counter:
        Embedder(net, batch_size=2)(TEXTS)
    assert embed.flops == pytest.approx(counter.get_total_flops(), rel=1e-6)


def test_cut_texts_are_counted(training: Callable[..., Setup]) -> None:
    recorder = Recorder()
    setup = training("features", max_length=6, observers=[recorder])
    splits, tokenizer = setup.job.data.splits, setup.net.tokenizer
    lengths = [len(tokenizer(*texts).input_ids) for name in ("train", "validation") for texts in splits[name].texts]
    cut, lost = sum(length > 6 for length in lengths), sum(max(0, length - 6) for length in lengths)
    setup.train()
    assert setup.job.observers.warnings == [
        f"{cut} texts are longer than 6 tokens and were cut; {lost} tokens at their ends are lost"
    ]


def test_the_strength_that_validation_judges_best_is_taken(
    training: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = training("features")
    monkeypatch.setattr("tunewise.engine.features.strengths_to_try", lambda kind, features_NF: (1.0, 10.0, 100.0))
    told = iter((0.3, 0.1, 0.2))

    def judge(logits_NC: np.ndarray) -> Judged:
        return Judged(0.5, np.full(5, 0.5), next(told))

    options = {"classifier": "auto", "strength": None}
    fit = fit_features(Embedder(setup.net), setup.job.data, setup.job.objective, options, 0, judge)
    assert (fit.classifier, fit.strength, list(fit.tried)) == ("logistic", 10.0, [1.0, 10.0, 100.0])
    told = iter((0.3,))
    options["strength"] = 10.0
    given = fit_features(Embedder(setup.net), setup.job.data, setup.job.objective, options, 0, judge)
    assert list(given.tried) == [10.0]
    np.testing.assert_array_equal(given.head.layers[0][0], fit.head.layers[0][0])


def test_logistic_regression_is_not_for_numbers(
    training: Callable[..., Setup], toy_data: Callable[..., DataBundle]
) -> None:
    setup = training("features", data=toy_data("regression"), options={"classifier": "logistic"})
    with pytest.raises(MethodError, match="logistic regression is for classes; the task is regression"):
        setup.train()


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_features_end_to_end(task: str, training: Callable[..., Setup], toy_data: Callable[..., DataBundle]) -> None:
    recorder = Recorder()
    setup = training("features", data=toy_data(task), observers=[recorder])
    before = setup.weights
    trained = setup.train()
    assert all(torch.equal(before[name], after) for name, after in setup.weights.items())
    encoder = sum(parameter.numel() for parameter in setup.net.model.base_model.parameters())
    assert trained.total_parameters == encoder + trained.head.size
    assert trained.trainable_parameters == trained.head.size > 0
    assert trained.forward_flops + trained.elsewhere_flops > 0 and trained.backward_flops == 0 and trained.seconds > 0
    assert [event.trainable_parameters for event in recorder.of(Planned)] == [trained.head.size]
    assert len(recorder.of(Started)) == 1
    solved = trained.plans[0]["solved"]
    sign = 1 if setup.job.evaluator.greater_is_better(setup.job.metric) else -1
    tried, chosen = [float(strength) for strength in solved["tried"]], solved["strength"]
    assert solved["losses"].keys() == solved["tried"].keys() and chosen in tried
    worth = {key: (sign * solved["tried"][key], -solved["losses"][key]) for key in solved["tried"]}
    mine = worth[str(chosen)]
    assert not any(each[0] > mine[0] and each[1] > mine[1] for each in worth.values())
    assert solved["at_edge"] == (chosen in (min(tried), max(tried)))


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"objective": {"label_smoothing": 0.1}}, "label smoothing does"),
        ({"objective": {"focal_gamma": 2.0}}, "focal loss does"),
        ({"balanced_batches": True}, "balanced batches do"),
    ],
)
def test_what_does_not_apply_is_told(settings: dict[str, Any], what: str, training: Callable[..., Setup]) -> None:
    setup = training("features", **settings)
    setup.train()
    assert setup.job.observers.warnings == [f"{what} not apply to a closed solver"]


def test_stop_is_heard(training: Callable[..., Setup]) -> None:
    setup = training("features")
    setup.job.stop.requested = True
    with pytest.raises(Interrupted):
        setup.train()


def test_class_weights_reach_the_solver(training: Callable[..., Setup], toy_data: Callable[..., DataBundle]) -> None:
    def mean_score(**objective: Any) -> float:
        trained = training("features", options={"strength": 0.1}, objective=objective).train()
        split: Split = toy_data().splits["test"]
        return float(np.exp(trained.outputs(split.texts, 16, lambda: None))[:, 0].mean())

    assert mean_score(class_weights={"refund": 20.0}) > mean_score() * 1.5


def test_some_of_many_texts_have_the_vectors_of_the_pass_over_all(training: Callable[..., Setup]) -> None:
    """Bit for bit, in their own order, texts that are not among them too; only what is theirs counts as cut."""
    net = training("features").net
    many = [*TEXTS, ("a parcel",), ("the refund",), ("late " * 90,)]
    whole = Embedder(net, batch_size=2)(many)
    some = Embedder(net, batch_size=2)
    np.testing.assert_array_equal(some([many[4], many[0], many[4]], among=many), whole[[4, 0, 4]])
    assert some.cut == 0 and not len(some.cut_rows)
    made = Embedder(net, batch_size=2)([("made by hand",), many[1]], among=many)
    np.testing.assert_array_equal(made[1], whole[1])
    np.testing.assert_allclose(made[0], Embedder(net)([("made by hand",)])[0], atol=2e-6)


def test_some_of_many_pairs(training: Callable[..., Setup]) -> None:
    net = training("features").net
    pairs = [("my refund", "is late"), ("thanks", "a lot"), ("the box", "is here")]
    whole = Embedder(net)(pairs)
    np.testing.assert_array_equal(Embedder(net)([pairs[2], pairs[0]], among=pairs), whole[[2, 0]])


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("cached", [False, True])
def test_many_rows_are_embedded_part_by_part(
    rows: int, cached: bool, training: Callable[..., Setup], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same vectors; they lie in a file, where they are large, and of no more rows are they in memory."""
    net = training("features").net
    many = [*TEXTS, ("a parcel",), ("the refund",)]
    wanted = Embedder(net)(many)
    monkeypatch.setattr(features, "ROWS_OF_A_PART", rows)
    monkeypatch.setattr("tunewise.commit.arrays.LARGE", 1)
    store = Cache(tmp_path, 10**8 if cached else 0)
    context = Context(store, nullcontext, "fp32", torch.device("cpu"), "rows.csv") if cached else None
    embed = Embedder(net, context=context)
    found = embed(many)
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    assert isinstance(found, np.memmap) == (rows < len(many))


@pytest.mark.parametrize("classifier", ["logistic", "ridge", "mlp"])
def test_a_solver_reads_vectors_that_lie_in_a_file(
    classifier: str, training: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same head as of vectors in memory."""

    def head() -> list[np.ndarray]:
        trained = training("features", options={"classifier": classifier}).train()
        return [part for layer in trained.head.layers for part in layer]

    wanted = head()
    monkeypatch.setattr(features, "ROWS_OF_A_PART", 16)
    monkeypatch.setattr("tunewise.commit.arrays.LARGE", 1)
    for found, expected in zip(head(), wanted, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_head_answers_for_some_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """No copy of all features in float64."""
    generator = np.random.default_rng(0)
    sizes = [(5, 4), (4,), (4, 3), (3,)]
    inner, inner_bias, outer, outer_bias = (generator.normal(size=size).astype(np.float32) for size in sizes)
    head, features_NF = FeatureHead(((inner, inner_bias), (outer, outer_bias))), generator.normal(size=(23, 5))
    wanted = np.maximum(features_NF @ inner + inner_bias, 0) @ outer + outer_bias
    for at_once in (1, 5, 23, 100):
        monkeypatch.setattr("tunewise.engine.feature_head.ROWS_AT_ONCE", at_once)
        np.testing.assert_allclose(head.logits(features_NF), wanted, atol=1e-6)
    assert head.logits(features_NF[:0]).shape == (0, 3)


@pytest.mark.parametrize("rows", [8192, 16])
def test_flops_are_known_before_embedding(
    rows: int, training: Callable[..., Setup], toy_data: Callable[..., DataBundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same batches, which are smaller on a CPU."""
    monkeypatch.setattr(features, "ROWS_OF_A_PART", rows)
    net, texts = training("features").net, 8 * list(toy_data().splits["train"].texts)
    embed = Embedder(net)
    embed(texts)
    assert embedding_flops(net, [texts]) == embed.flops
