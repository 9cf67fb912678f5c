"""Every model folder gives what the training gave, by tunewise and by the libraries it is made for."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from training_bench import Setup
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tunewise.commit import commit_folder, verify
from tunewise.engine.evaluation import evaluate
from tunewise.engine.handover import TENSORS, handover_kind, save_model
from tunewise.engine.model_meta import META
from tunewise.engine.text_model import TextModel, load
from tunewise.engine.train import Trained
from tunewise.errors import CorruptError, MethodError, ModelError, StoreError
from tunewise.evaluate.scores import to_scores
from tunewise.methods import METHODS
from tunewise.types import CARD, DataBundle, Plan

TEXT_METHODS = [
    name for name, method in METHODS.items() if "text" in method.modalities and all(map(find_spec, method.packages))
]
NOTHING = {"threshold": None, "positive": None}


def handed_over(
    setup: Setup, merge: bool = False, decision: dict[str, Any] = NOTHING
) -> tuple[Trained, np.ndarray, Path, int]:
    """(trained, its outputs on the test split, model folder, bytes saved)."""
    trained = setup.train()
    logits_NC = trained.outputs(setup.job.data.splits["test"].texts, 7, lambda: None)
    folder = setup.folder / "model"
    kind = handover_kind(setup.method.handover, merge)
    size = save_model(trained, kind, folder, setup.job.data.schema, decision, lambda size: f"# Card\n{size} bytes\n")
    return trained, logits_NC, folder, size


def scores_of(folder: Path, setup: Setup) -> np.ndarray:
    return load(folder).scores(setup.job.data.splits["test"].texts, batch_size=5)


def logits_by_transformers(model: torch.nn.Module, folder: Path, setup: Setup) -> np.ndarray:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    columns = [list(column) for column in zip(*setup.job.data.splits["test"].texts, strict=True)]
    batch = tokenizer(*columns, padding=True, return_tensors="pt")
    with torch.no_grad():
        return model.eval()(**batch).logits.numpy()


@pytest.mark.parametrize("method", TEXT_METHODS)
@pytest.mark.parametrize(
    ("family", "task", "pairs"),
    [("bert", "classification", False), ("gpt2", "regression", False), ("distilbert", "multilabel", True)],
)
def test_loaded_is_trained(
    method: str,
    family: str,
    task: str,
    pairs: bool,
    training: Callable[..., Setup],
    toy_data: Callable[..., DataBundle],
) -> None:
    if (method, family) == ("oft", "gpt2"):
        pytest.skip("refused: peft's OFT does not take its transposed layers")
    setup = training(method, family=family, data=toy_data(task, pairs=pairs), epochs=1)
    trained, logits_NC, folder, size = handed_over(setup)
    scale = max(1.0, float(np.abs(logits_NC).max()))  # values near 0 are rounded as large ones are
    np.testing.assert_allclose(scores_of(folder, setup), to_scores(task, logits_NC), rtol=1e-5, atol=1e-6 * scale)
    assert size == sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    about = verify(folder)["about"]
    assert about == {"kind": METHODS[method].handover}
    stored = {name: value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()}
    # VeRA's shared matrices save it from depending on a random generator; PiSSA's adapter holds its start too.
    weights = sum(value.nbytes for name, value in stored.items() if not name.startswith("base_model.vera_"))
    if about["kind"] != "transformers":
        assert weights <= 4 * trained.trainable_parameters * (2 if method == "pissa" else 1.01)  # only what was trained


@pytest.mark.parametrize("family", ["t5", "llama", "modernbert"])
@pytest.mark.parametrize(
    ("method", "options"),
    [("adapter", {"placement": "parallel"}), ("inserted_blocks", {}), ("ladder", {}), ("mlp_head", {"unfreeze": 1})],
)
def test_what_was_added_to_other_families_comes_back(
    method: str, options: dict[str, Any], family: str, training: Callable[..., Setup]
) -> None:
    setup = training(method, family=family, options=options, max_steps=3)
    _, logits_NC, folder, _ = handed_over(setup)
    np.testing.assert_allclose(scores_of(folder, setup), to_scores("classification", logits_NC), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "family"),
    [
        ("full", "bert"),
        ("head", "bert"),
        ("gradual", "bert"),
        ("scratch", "bert"),
        ("full", "gpt2"),
        ("last_k", "distilbert"),
    ],
)
def test_transformers_loads_it_by_itself(method: str, family: str, training: Callable[..., Setup]) -> None:
    setup = training(method, family=family, epochs=1)
    _, logits_NC, folder, _ = handed_over(setup)
    model, report = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    np.testing.assert_allclose(logits_by_transformers(model, folder, setup), logits_NC, atol=2e-6)
    assert [model.config.id2label[number] for number in range(3)] == list(setup.job.data.schema.labels)
    assert model.config.label2id["delivery"] == 1
    assert model.config.problem_type == "single_label_classification"


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_peft_loads_it_by_itself(family: str, training: Callable[..., Setup]) -> None:
    from peft import PeftModel

    setup = training("lora", family=family, epochs=1)
    _, logits_NC, folder, _ = handed_over(setup)
    torch.manual_seed(99)  # another random head, which the adapter's own must replace
    base = AutoModelForSequenceClassification.from_pretrained(
        setup.net.located.path, num_labels=3, pad_token_id=setup.net.tokenizer.pad_token_id
    )
    model = PeftModel.from_pretrained(base, folder)
    np.testing.assert_allclose(logits_by_transformers(model, folder, setup), logits_NC, atol=2e-6)
    assert model.peft_config["default"].base_model_name_or_path == str(setup.net.located.path)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_merged_is_unmerged(family: str, training: Callable[..., Setup]) -> None:
    setup = training("lora", family=family, options={"merge": True, "learning_rate": 5e-3}, epochs=2)
    _, logits_NC, folder, _ = handed_over(setup, merge=True)
    assert not list(folder.glob("adapter*"))
    model, report = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    np.testing.assert_allclose(logits_by_transformers(model, folder, setup), logits_NC, atol=1e-5)
    np.testing.assert_allclose(scores_of(folder, setup), to_scores("classification", logits_NC), atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize("method", ["full", "lora", "adapter"])
def test_regression_is_in_the_unit_of_the_target(
    method: str, family: str, training: Callable[..., Setup], toy_data: Callable[..., DataBundle]
) -> None:
    setup = training(method, family=family, data=toy_data("regression"), epochs=4, keep_best=False)
    trained, _, folder, _ = handed_over(setup)
    split, train = setup.job.data.splits["validation"], setup.job.data.splits["train"]
    values = load(folder).scores(split.texts)
    targets = train.targets.astype(np.float64)
    # A decoder's output layer has no bias to carry a mean.
    scale = targets.std() if family == "bert" else np.sqrt((targets**2).mean())
    loss = np.mean((values - split.targets) ** 2) / scale**2
    assert trained.curve[-1]["validation_loss"] == pytest.approx(loss, rel=1e-4)
    assert 10 < values.mean() < 25  # the targets are 10, 15, 20, 25


def test_threshold_is_stored_and_used(training: Callable[..., Setup], toy_data: Callable[..., DataBundle]) -> None:
    setup = training("full", data=toy_data("multilabel"), evaluate={"threshold": "f1_macro", "resamples": 100})
    trained = setup.train()
    results = evaluate(trained, setup.job.data, setup.job.evaluator, lambda: None)
    folder = setup.folder / "model"
    decision = {"threshold": results.threshold, "positive": None}
    save_model(trained, "transformers", folder, setup.job.data.schema, decision, lambda size: "card")
    model = load(folder)
    scores = model.scores(setup.job.data.splits["test"].texts)
    np.testing.assert_array_equal(model.decisions(scores), results.predictions["test"].decisions)
    shifted = TextModel(folder)
    shifted._threshold = 0.0
    assert shifted.decisions(scores).all()


@pytest.fixture
def adapter_folder(training: Callable[..., Setup]) -> tuple[Setup, Path]:
    setup = training("adapter", epochs=1)
    return setup, handed_over(setup)[2]


def resealed(folder: Path, change: Callable[[Path], None]) -> Path:
    """The folder with a change, committed anew: what a forger would do."""
    import shutil

    target = folder.with_name("forged")

    def write(staging: Path) -> None:
        for file in folder.iterdir():
            if file.name != "manifest.json":
                shutil.copy(file, staging / file.name)
        change(staging)

    commit_folder(target, write, {"kind": "tunewise"})
    return target


def with_meta(**changes: Any) -> Callable[[Path], None]:
    def change(staging: Path) -> None:
        meta = json.loads((staging / META).read_text())
        (staging / META).write_text(json.dumps({**meta, **changes}))

    return change


@pytest.mark.parametrize(
    "build", ["os:system", "builtins:eval", "subprocess:run", "tunewise.methods.adapter.os:system"]
)
def test_a_plan_cannot_call_anything(build: str, adapter_folder: tuple[Setup, Path]) -> None:
    meta = json.loads((adapter_folder[1] / META).read_text())
    plan = meta["plan"]
    plan["inserts"][0] |= {"build": build, "options": {}}
    with pytest.raises(MethodError, match="is not a function of a method"):
        load(resealed(adapter_folder[1], with_meta(plan=plan)))


def test_a_newer_format_is_refused(adapter_folder: tuple[Setup, Path]) -> None:
    with pytest.raises(StoreError, match=r"newer tunewise \(format 99, this one reads 6\)"):
        load(resealed(adapter_folder[1], with_meta(format=99)))


def test_tensors_that_do_not_fit_are_refused(adapter_folder: tuple[Setup, Path]) -> None:
    stored = load_file(adapter_folder[1] / TENSORS)
    for wrong in ({**stored, "bert.nothing.weight": torch.ones(2)}, {**stored, "classifier.bias": torch.ones(1)}):
        forged = resealed(adapter_folder[1], lambda staging, wrong=wrong: save_file(wrong, staging / TENSORS))
        with pytest.raises(
            CorruptError, match=r"holds a tensor that the model has not: (bert.nothing|classifier.bias)"
        ):
            load(forged)
        import shutil

        shutil.rmtree(forged)


def test_the_card_may_be_edited_and_nothing_else(adapter_folder: tuple[Setup, Path]) -> None:
    setup, folder = adapter_folder
    before = scores_of(folder, setup)
    (folder / CARD).write_text("# My own words\n")
    np.testing.assert_array_equal(scores_of(folder, setup), before)
    (folder / CARD).unlink()
    np.testing.assert_array_equal(scores_of(folder, setup), before)
    for name in (TENSORS, META, "tokenizer.json"):
        whole = (folder / name).read_bytes()
        for place in (len(whole) // 3, len(whole) - 3):
            flipped = bytearray(whole)
            flipped[place] ^= 4
            (folder / name).write_bytes(flipped)
            with pytest.raises(CorruptError, match=name):
                load(folder)
        (folder / name).write_bytes(whole)
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(CorruptError, match="a file that was not saved with the rest"):
        load(folder)


@pytest.mark.parametrize("method", ["lora", "adapter", "features"])
def test_a_missing_or_other_base_model(
    method: str, training: Callable[..., Setup], tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    import shutil

    setup = training(method, epochs=1)
    base = tmp_path / "base"
    shutil.copytree(setup.net.located.path, base)
    setup.net.located = type(setup.net.located)(
        str(base), base, setup.net.located.config, setup.net.located.fingerprint
    )
    folder = handed_over(setup)[2]
    load(folder)
    shutil.rmtree(base)
    with pytest.raises(ModelError, match="stands on a base model") as caught:
        load(folder)
    assert str(base) in str(caught.value) and f"put it back at {base}" in caught.value.fix
    shutil.copytree(tiny_model("bert", 4), base)
    with pytest.raises(ModelError, match="the base model is not the one this model was made from"):
        load(folder)


def test_an_adapter_without_weights_never_becomes_a_pickle(training: Callable[..., Setup]) -> None:
    folder = handed_over(training("lora", epochs=1))[2]
    forged = resealed(
        folder, lambda staging: (staging / "adapter_model.safetensors").rename(staging / "adapter_model.bin")
    )
    with pytest.raises(ModelError, match="the adapter has no weights"):
        load(forged)


def test_a_plan_comes_back_whole(training: Callable[..., Setup]) -> None:
    for method in TEXT_METHODS:
        plan: Plan = training(method, epochs=1).train().plan
        again = Plan.from_dict(json.loads(json.dumps(plan.as_dict())))
        assert json.dumps(again.as_dict()) == json.dumps(plan.as_dict())
        assert again.rules == plan.rules and again.until == plan.until
