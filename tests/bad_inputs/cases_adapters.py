"""Bad adapters, in a run folder that was changed by hand; with and without a manifest that says so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from case import Arguments, Case, Desk, error
from cases_models import change, tensors

RESTORE = "restore the folder from a copy, or use an older one"
AGAIN = "train the model again, or restore the folder"


def predicting_with(spoil: Callable[[Path], object], sealed: bool = False) -> Callable[[Desk], Arguments]:
    """`tunewise predict` with a copy of a run, after this was done to its model folder; `sealed` makes a new manifest
    for it, as a program that knows the format could."""

    def make(desk: Desk) -> Arguments:
        run = Path(shutil.copytree(desk.finished_run(), desk.folder / "run"))
        spoil(run / "model")
        if sealed:
            seal_again(run / "model")
        return ["predict", str(run), "--text", "the good message"]

    return make


def seal_again(folder: Path) -> None:
    from tunewise.commit import commit_folder, read_manifest

    about = read_manifest(folder)["about"]
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}

    def write(staging: Path) -> None:
        for name, content in files.items():
            (staging / name).write_bytes(content)

    shutil.rmtree(folder)
    commit_folder(folder, write, about)


def on_other_weights(folder: Path) -> None:
    """The base model that the run stands on, with other values in one bias."""
    base = folder.parent.parent / "base"
    about = json.loads((folder / "tunewise.json").read_text())["base"]
    shutil.copytree(about["path"], base)
    tensors("model.safetensors", lambda whole: {**whole, "pooler.dense.bias": whole["pooler.dense.bias"] + 1})(base)
    change("tunewise.json", base={**about, "path": str(base)})(folder)


def on_no_model(folder: Path) -> None:
    about = json.loads((folder / "tunewise.json").read_text())["base"]
    gone = str(folder.parent.parent / "gone")
    change("tunewise.json", base={**about, "path": gone, "name": gone})(folder)
    change("adapter_config.json", base_model_name_or_path=gone)(folder)


QUERY = "bert.encoder.layer.0.attention.self.query"
LAST = "base_model.model.bert.encoder.layer.3.attention.output.dense.lora_A.weight"
DOWN = f"base_model.model.{QUERY}.lora_A.weight"


def renamed(held: dict[str, Any]) -> dict[str, Any]:
    """Weights for a block that the base model does not have."""
    return {name.replace("layer.3.", "layer.9."): value for name, value in held.items()}


def without_head(held: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in held.items() if "classifier" not in name}


def without_one(held: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in held.items() if name != DOWN.replace("lora_A", "lora_B")}


def lora(rank: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def changed(held: dict[str, Any]) -> dict[str, Any]:
        import numpy

        return {
            name: numpy.resize(value, (rank, value.shape[1])) if ".lora_A." in name else value
            for name, value in held.items()
        }

    return changed


ADAPTER = "{folder}/run/model/adapter_model.safetensors"
ADAPTER_CONFIG = "{folder}/run/model/adapter_config.json"

CASES: tuple[Case, ...] = (
    Case(
        "adapter of another base model",
        "the base has other weights",
        predicting_with(on_other_weights, sealed=True),
        error(
            "the base model is not the one this model was made from: its config or weights changed",
            "{folder}/base",
            "put the original '{model}' back",
        ),
    ),
    Case(
        "adapter of another base model",
        "the base is gone",
        predicting_with(on_no_model, sealed=True),
        error(
            "this model stands on a base model, '{folder}/gone', which cannot be had: there is no model folder "
            "'{folder}/gone'",
            "{folder}/gone",
            "put it back at {folder}/gone; name a folder that exists, or the id of a model on the hub",
        ),
    ),
    Case(
        "adapter of another base model",
        "another adapter was put in its place",
        predicting_with(change("adapter_config.json", base_model_name_or_path="somebody/else")),
        error("adapter_config.json is not what was written (sha256 differs)", ADAPTER_CONFIG, RESTORE),
        exit_code=1,
    ),
    Case(
        "adapter of another base model",
        "another adapter, with a manifest",
        predicting_with(change("adapter_config.json", base_model_name_or_path="somebody/else"), sealed=True),
        error(
            "the adapter was made for the base model 'somebody/else', and this folder is about '{model}'",
            ADAPTER_CONFIG,
            AGAIN,
        ),
    ),
    Case(
        "rank or target mismatch",
        "weights changed by hand",
        predicting_with(tensors("adapter_model.safetensors", lora(3))),
        error("adapter_model.safetensors is not what was written (sha256 differs)", ADAPTER, RESTORE),
        exit_code=1,
    ),
    Case(
        "rank or target mismatch",
        "another rank",
        predicting_with(change("adapter_config.json", r=4), sealed=True),
        error(
            "the adapter's weights are not those of its configuration: adapter_config.json says rank 4, and "
            f"{DOWN.replace('self.query', 'output.dense')} has shape [2, 32]",
            ADAPTER,
            AGAIN,
        ),
    ),
    Case(
        "rank or target mismatch",
        "a layer that the configuration does not name",
        predicting_with(change("adapter_config.json", target_modules=["key", "value", "dense"]), sealed=True),
        error(
            f"the adapter's weights are not those of its configuration: they hold a '{QUERY}', which "
            "adapter_config.json does not name",
            ADAPTER,
            AGAIN,
        ),
    ),
    Case(
        "rank or target mismatch",
        "a layer that the base model does not have",
        predicting_with(tensors("adapter_model.safetensors", renamed), sealed=True),
        error(
            f"the adapter does not fit the model: adapter_model.safetensors lacks: {LAST} and 11 more",
            ADAPTER,
            AGAIN,
        ),
        reads_weights="which layers the base model has is known once it is built",
    ),
    Case(
        "rank or target mismatch",
        "a layer that has no weights",
        predicting_with(
            change("adapter_config.json", target_modules=["query", "key", "value", "dense", "gate"]), sealed=True
        ),
        error("the adapter's weights are not those of its configuration: they hold no 'gate'", ADAPTER, AGAIN),
    ),
    Case(
        "rank or target mismatch",
        "half of a layer is missing",
        predicting_with(tensors("adapter_model.safetensors", without_one), sealed=True),
        error(
            "the adapter does not fit the model: adapter_model.safetensors lacks: " + DOWN.replace("lora_A", "lora_B"),
            ADAPTER,
            AGAIN,
        ),
        reads_weights="which halves a layer has is known to peft, once it is built",
    ),
    Case(
        "rank or target mismatch",
        "the output layer is missing",
        predicting_with(tensors("adapter_model.safetensors", without_head), sealed=True),
        error(
            "the adapter does not fit the model: adapter_model.safetensors lacks 'base_model.model.classifier.weight'",
            ADAPTER,
            AGAIN,
        ),
        reads_weights="which output layers the base model has is known once it is built",
    ),
)
