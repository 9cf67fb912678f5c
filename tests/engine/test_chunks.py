"""Texts that are too long, read in windows: the mean of what transformers alone gives for each, in training, prediction
and whatever is kept."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_handover import handed_over, resealed, with_meta
from test_out_of_memory import Tight, difference
from torch.nn import functional
from training_bench import Recorder, Setup
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from tunewise.commit import default_cache
from tunewise.config.reading import WINDOW_PLACES, Chunks
from tunewise.data.windows import window_starts
from tunewise.engine.encode import encode
from tunewise.engine.evaluation import evaluate
from tunewise.engine.events import Step, Warned
from tunewise.engine.model_meta import META
from tunewise.engine.settings import TrainConfig
from tunewise.engine.text_model import load
from tunewise.errors import CorruptError, OutOfMemoryError, RecipeError, TunewiseWarning
from tunewise.evaluate.scores import to_scores
from tunewise.types import DataBundle

LIMIT = 10
MORE = "the order was with a box and it is very"


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEWISE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def long(toy_data: Callable[..., DataBundle]) -> Callable[..., DataBundle]:
    """Rows of 1 to 4 windows, whose telling words come at the end."""

    def make(**sizes: Any) -> DataBundle:
        data = toy_data(**sizes)
        splits = {}
        for name, split in data.splits.items():
            texts = [(f"{MORE} " * (row % 3) + first, *rest) for row, (first, *rest) in enumerate(split.texts)]
            splits[name] = replace(split, texts=tuple(texts))
        return replace(data, splits=splits, fingerprint=f"long-{data.fingerprint}")

    return make


def windows_by_hand(text: str, tokenizer: Any, stride: int = 0, most: int = 8) -> list[list[int]]:
    """Token ids of the windows of a text, special tokens in each."""
    ids = tokenizer(text).input_ids
    own = tokenizer(text, add_special_tokens=False).input_ids
    before = next((place for place in range(len(ids)) if ids[place : place + len(own)] == own), 0)
    after = len(ids) - before - len(own)
    room = LIMIT - before - after
    if len(own) <= room:
        return [ids]
    starts = window_starts(len(own), room, Chunks(stride, most))
    return [ids[:before] + own[start : start + room] + ids[len(ids) - after :] for start in starts]


def logits_by_hand(folder: Path, texts: list[str], pooling: str, **how: int) -> np.ndarray:
    """By transformers alone, window by window."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    found = []
    with torch.no_grad():
        for text in texts:
            windows = windows_by_hand(text, tokenizer, **how)
            logits_KC = torch.cat([model(input_ids=torch.tensor([window])).logits for window in windows])
            found.append(logits_KC.mean(0) if pooling == "mean" else logits_KC.max(0).values)
    return torch.stack(found).numpy()


@pytest.mark.parametrize(
    ("family", "how"),
    [
        ("bert", {}),
        ("bert", {"chunk_pooling": "max", "chunk_stride": 3}),
        ("roberta", {"max_chunks": 2}),
        ("gpt2", {"chunk_stride": 2}),
        ("t5", {}),
    ],
)
def test_outputs_are_the_mean_of_those_of_the_windows(
    family: str, how: dict[str, Any], training: Callable[..., Setup], long: Callable[..., DataBundle]
) -> None:
    setup = training("full", family=family, data=long(), cut="chunks", max_length=LIMIT, epochs=1, **how)
    _, logits_NC, folder, _ = handed_over(setup)
    texts = [text for (text,) in setup.job.data.splits["test"].texts]
    by_hand = {"stride": how.get("chunk_stride", 0), "most": how.get("max_chunks", 8)}
    wanted = logits_by_hand(folder, texts, how.get("chunk_pooling", "mean"), **by_hand)
    np.testing.assert_allclose(logits_NC, wanted, atol=3e-6)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert {1, 2} <= {len(windows_by_hand(text, tokenizer, **by_hand)) for text in texts}


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_the_gradient_goes_through_all_windows(
    pooling: str, training: Callable[..., Setup], long: Callable[..., DataBundle]
) -> None:
    setup = training("full", data=long(), cut="chunks", max_length=LIMIT, dropout=0.0, chunk_pooling=pooling)
    net, split = setup.net, setup.job.data.splits["train"]
    tokens, rows = encode(split.texts, net), np.array([5, 0, 2, 1])
    targets = torch.as_tensor(split.targets[rows])
    batch = tokens.batch(rows)
    assert batch[WINDOW_PLACES].shape[1] > 2
    functional.cross_entropy(net.model(**batch).logits, targets).backward()
    found = {name: parameter.grad.clone() for name, parameter in net.model.named_parameters()}
    net.model.zero_grad()
    outputs = []
    for row in rows:
        windows = windows_by_hand(split.texts[row][0], net.tokenizer)
        logits_KC = torch.cat([net.model(input_ids=torch.tensor([window])).logits for window in windows])
        outputs.append(logits_KC.mean(0) if pooling == "mean" else logits_KC.max(0).values)
    functional.cross_entropy(torch.stack(outputs), targets).backward()
    for name, parameter in net.model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.parametrize("method", ["full", "last_k", "features"])
def test_where_all_texts_fit_nothing_changes_by_a_bit(
    method: str, training: Callable[..., Setup], toy_data: Callable[..., DataBundle]
) -> None:
    digests, length = set(), {} if method == "features" else {"epochs": 2}
    for at, more in (("a", {"cut": "head"}), ("b", {"cut": "chunks", "chunk_stride": 3})):
        setup = training(method, data=toy_data(), at=at, dropout=0.1, max_length=40, cache=False, **length, **more)
        trained = setup.train()
        logits_NC = trained.outputs(setup.job.data.splits["test"].texts, 7, lambda: None)
        digests.add((setup.digest, logits_NC.tobytes(), trained.forward_flops, trained.backward_flops))
    assert len(digests) == 1


@pytest.mark.slow
def test_what_stands_anywhere_is_learned(training: Callable[..., Setup], long: Callable[..., DataBundle]) -> None:
    data = long(train=120)
    before = f"{MORE} {MORE}"
    splits = {
        name: replace(split, texts=tuple((f"{before} {text.split('very ')[-1]}",) for (text,) in split.texts))
        for name, split in data.splits.items()
    }
    found = {}
    for cut in ("head", "chunks"):
        setup = training("full", data=replace(data, splits=splits), at=cut, cut=cut, max_length=LIMIT, epochs=10)
        found[cut] = max(point["metric"] for point in setup.train().curve)
    assert found["head"] == pytest.approx(1 / 6) and found["chunks"] > 0.8


METHODS_THAT_CHANGE_THE_MODEL = [
    ("full", "bert", False, {}),
    ("full", "t5", True, {}),
    ("lora", "bert", True, {}),
    ("adapter", "distilbert", False, {}),
    ("ladder", "bert", False, {}),
    ("prefix_tuning", "gpt2", False, {"tokens": 3}),
    ("prompt_tuning", "bert", False, {"tokens": 4}),
    ("p_tuning", "gpt2", False, {"tokens": 4}),
    ("mlp_head", "roberta", True, {}),
    ("features", "bert", True, {}),
    ("features", "gpt2", False, {}),
]


@pytest.mark.parametrize(("method", "family", "pairs", "options"), METHODS_THAT_CHANGE_THE_MODEL)
def test_the_model_handed_over_reads_as_it_was_trained(
    method: str,
    family: str,
    pairs: bool,
    options: dict[str, Any],
    training: Callable[..., Setup],
    long: Callable[..., DataBundle],
) -> None:
    length = {} if method == "features" else {"epochs": 1}
    more = {"cut": "chunks", "chunk_stride": 1, "chunk_pooling": "max", "max_length": 14 if pairs else LIMIT}
    setup = training(method, family=family, data=long(pairs=pairs), options=options, **more, **length)
    _, logits_NC, folder, _ = handed_over(setup)
    texts, scores = setup.job.data.splits["test"].texts, to_scores("classification", logits_NC)
    np.testing.assert_allclose(quiet(load(folder).scores, texts, 5), scores, rtol=1e-5, atol=1e-6)
    alone = np.concatenate([quiet(load(folder).scores, [text], 5) for text in texts[:6]])
    np.testing.assert_allclose(alone, scores[:6], rtol=1e-4, atol=1e-5)  # whatever stands beside it
    meta = json.loads((folder / META).read_text())
    assert meta["kept"] == {"stride": 1, "most": 8, "pooling": "max"} and meta["format"] == 3
    mean = with_meta(kept={"stride": 1, "most": 8, "pooling": "mean"}, kind=meta["kind"])
    other = quiet(load(resealed(folder, mean)).scores, texts, 5)
    assert np.abs(other - scores).max() > 1e-6


def quiet(call: Callable[..., np.ndarray], *arguments: Any) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TunewiseWarning)
        return call(*arguments)


def test_features_are_the_mean_of_the_vectors_of_the_windows(
    training: Callable[..., Setup], long: Callable[..., DataBundle]
) -> None:
    from tunewise.engine.features import Embedder

    setup = training("features", data=long(), cut="chunks", max_length=LIMIT)
    texts = setup.job.data.splits["test"].texts
    embed = Embedder(setup.net, batch_size=4)
    found = embed(texts)
    model = AutoModel.from_pretrained(setup.net.located.path).eval()
    for (text,), vector in zip(texts, found, strict=True):
        vectors = []
        for window in windows_by_hand(text, setup.net.tokenizer):
            with torch.no_grad():
                vectors.append(functional.normalize(model(torch.tensor([window])).last_hidden_state.mean(1), dim=-1))
        wanted = functional.normalize(torch.cat(vectors).mean(0, keepdim=True), dim=-1)[0]
        np.testing.assert_allclose(vector, wanted.numpy(), atol=2e-6)
    assert embed.losses.chunked == sum(len(windows_by_hand(text, setup.net.tokenizer)) > 1 for (text,) in texts) > 3


@pytest.mark.parametrize("method", ["head", "last_k"])
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_the_cache_keeps_what_the_prefix_gives_for_windows(
    family: str, method: str, training: Callable[..., Setup], long: Callable[..., DataBundle]
) -> None:
    options = {"k": 1} if method == "last_k" else {}
    settings = {"cut": "chunks", "max_length": LIMIT, "epochs": 3, "dropout": 0.0, "keep_best": False}
    runs = []
    for at, cache in (("without", False), ("made", True), ("read", True)):
        recorder = Recorder()
        setup = training(
            method, family=family, data=long(), options=options, at=at, cache=cache, observers=[recorder], **settings
        )
        trained = setup.train()
        runs.append((setup.weights, [event.loss for event in recorder.of(Step)], trained))
        logits_NC = trained.outputs(setup.job.data.splits["test"].texts, 7, lambda: None)
        assert np.isfinite(logits_NC).all()
    (plain, losses, without), (weights, made_losses, made), (again, read_losses, read) = runs
    np.testing.assert_allclose(made_losses, losses, rtol=1e-4)
    assert difference(plain, weights) < 1e-4
    assert made_losses == read_losses and all(again[name].equal(weights[name]) for name in weights)
    assert made.forward_flops < without.forward_flops and read.elsewhere_flops > 0
    kept = {entry.about["rows"] for entry in default_cache().entries() if entry.about["kind"] == "prefix"}
    tokens = encode(setup.job.data.splits["train"].texts, setup.net)
    assert len(tokens.ids) in kept and len(tokens.ids) > len(tokens)


def test_steps_count_what_their_windows_cost(training: Callable[..., Setup], long: Callable[..., DataBundle]) -> None:
    """Against the forward passes of the windows alone."""
    recorder = Recorder()
    setup = training(
        "full", data=long(), cut="chunks", max_length=LIMIT, epochs=1, dropout=0.0, observers=[recorder], batch_size=4
    )
    widths: list[tuple[int, int]] = []
    setup.net.model.base_model.register_forward_hook(
        lambda module, args, output: widths.append(tuple(output[0].shape[:2])) if module.training else None
    )
    trained = setup.train()
    tokens = encode(setup.job.data.splits["train"].texts, setup.net)
    assert sum(rows for rows, _ in widths) == len(tokens.ids)
    per_token, square, width = 0, 0, setup.net.model.config
    for tensor in setup.net.map.tensors:
        if ".layer." in tensor.name and len(tensor.shape) == 2:
            per_token += 2 * tensor.shape[0] * tensor.shape[1]
    square = 4 * width.hidden_size * width.num_hidden_layers
    head = sum(2 * t.shape[0] * t.shape[1] for t in setup.net.map.head if len(t.shape) == 2)
    wanted = sum(rows * (head + tokens_ * (per_token + tokens_ * square)) for rows, tokens_ in widths)
    assert trained.forward_flops == pytest.approx(wanted, rel=1e-9)
    assert sum(event.tokens for event in recorder.of(Step)) == len(tokens.ids.flat)


@pytest.mark.parametrize("settings", [{"batch_size": 8}, {"batch_tokens": 160}, {"batch_size": 2, "accumulate": 4}])
def test_halved_batches_keep_the_windows_of_a_row_together(
    settings: dict[str, Any], training: Callable[..., Setup], long: Callable[..., DataBundle]
) -> None:
    found = []
    for at, most in (("ample", 1000), ("tight", 6)):
        recorder = Recorder()
        setup = training(
            "full",
            data=long(),
            at=at,
            observers=[recorder],
            **{"cut": "chunks", "max_length": LIMIT, "dropout": 0.0, "epochs": 1, **settings},
        )
        tight = Tight(most).into(setup)
        assert tight is setup
        setup.train()
        found.append((setup.weights, [event.loss for event in recorder.of(Step)], recorder.of(Warned)))
    (ample, losses, _), (weights, tight_losses, warned) = found
    np.testing.assert_allclose(tight_losses, losses, rtol=1e-4)
    assert difference(ample, weights) < 2e-3
    if settings != {"batch_size": 2, "accumulate": 4}:
        assert any("memory ran out" in event.message for event in warned)


def test_a_row_whose_windows_do_not_fit_says_what_would(
    training: Callable[..., Setup], long: Callable[..., DataBundle]
) -> None:
    setup = Tight(2).into(training("full", data=long(), cut="chunks", max_length=LIMIT, epochs=1))
    with pytest.raises(OutOfMemoryError, match=r"a single row of (\d+)0 tokens in \1 windows") as caught:
        setup.train()
    assert re.match(r"set train.max_chunks below \d,", caught.value.fix)


def test_what_is_told(training: Callable[..., Setup], long: Callable[..., DataBundle]) -> None:
    recorder = Recorder()
    setup = training(
        "full",
        data=long(held_out=90),
        observers=[recorder],
        **{"cut": "chunks", "max_length": LIMIT, "epochs": 1, "evaluate": {"resamples": 100}},
    )
    told: list[str] = []
    results = evaluate(setup.train(), setup.job.data, setup.job.evaluator, lambda: None, told.append, "accuracy")
    messages = [event.message for event in recorder.of(Warned)]
    assert re.fullmatch(r"\d+ of 48 rows of train are longer than 10 tokens and are read in \d+ windows", messages[0])
    windows = [len(windows_by_hand(text, setup.net.tokenizer)) for (text,) in setup.job.data.splits["test"].texts]
    several = np.array(windows) > 1
    total = sum(count for count in windows if count > 1)
    assert told[0] == f"{several.sum()} of 90 rows of test are longer than 10 tokens and are read in {total} windows"
    found = re.fullmatch(
        r"test: accuracy is (\S+) \(\S+ to \S+\) on the (\d+) rows that were read in windows, "
        r"(\S+) \(\S+ to \S+\) on the (\d+) rows that were read whole",
        told[1],
    )
    right = results.predictions["test"].decisions == results.predictions["test"].targets
    assert (int(found[2]), int(found[4])) == (several.sum(), (~several).sum())
    assert float(found[1]) == pytest.approx(right[several].mean(), abs=5e-4)
    assert float(found[3]) == pytest.approx(right[~several].mean(), abs=5e-4)


def test_a_loaded_model_warns_of_what_is_lost_alone(
    training: Callable[..., Setup], long: Callable[..., DataBundle]
) -> None:
    setup = training("full", data=long(), cut="chunks", max_chunks=3, max_length=LIMIT, epochs=1)
    _, _, folder, _ = handed_over(setup)
    model = load(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.scores([f"{MORE} {MORE}", "box"])
    with pytest.warns(TunewiseWarning, match=r"are read in 3 windows; 1 lost 6 tokens at their ends$"):
        model.scores([f"{MORE} {MORE} {MORE}"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"stride": -1, "most": 8, "pooling": "mean"},
        {"stride": 0, "most": 0, "pooling": "mean"},
        {"stride": 0, "most": 8, "pooling": "median"},
        {"stride": True, "most": 8, "pooling": "mean"},
        {"stride": 0, "most": 8},
        {},
        "chunks",
    ],
)
def test_another_description_of_windows_in_the_models_file_is_refused(
    wrong: Any, training: Callable[..., Setup]
) -> None:
    setup = training("head", max_steps=1)
    _, _, folder, _ = handed_over(setup)
    with pytest.raises(CorruptError, match="does not describe a model"):
        load(resealed(folder, with_meta(kept=wrong)))


def test_a_stride_without_room_is_refused_before_training(
    training: Callable[..., Setup], long: Callable[..., DataBundle]
) -> None:
    setup = training("full", data=long(), cut="chunks", chunk_stride=8, max_length=LIMIT)
    with pytest.raises(RecipeError, match=r"room for 8 tokens of a text; train.chunk_stride is 8") as caught:
        setup.train()
    assert caught.value.where == "train.chunk_stride"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"chunk_stride": 4}, "chunk_stride is for texts read in windows"),
        ({"cut": "tail", "max_chunks": 4}, "max_chunks is for texts read in windows"),
        ({"cut": "both", "chunk_pooling": "max"}, "chunk_pooling is for texts read in windows"),
        ({"cut": "chunks", "max_chunks": 1}, "greater than or equal to 2"),
        ({"cut": "chunks", "chunk_stride": -1}, "greater than or equal to 0"),
        ({"cut": "chunks", "chunk_stride": 16, "max_length": 16}, "chunk_stride must be less than max_length"),
        ({"cut": "chunks", "chunk_pooling": "median"}, "Input should be 'mean' or 'max'"),
        ({"cut": "middle"}, "Input should be 'head', 'tail', 'both' or 'chunks'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        TrainConfig(**given)
