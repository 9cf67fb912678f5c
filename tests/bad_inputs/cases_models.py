"""Bad models: told by names, sizes and headers, before any weights load, wherever these tell it."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from case import Arguments, Case, Desk, error

INDEX = "model.safetensors.index.json"
NAME = "encoder.layer.1.output.dense.weight"
TOGETHER = "check that config.json and weights belong together"
ON_LOADING = "transformers has to build the model to know its shapes"


def training_on(spoil: Callable[[Path], object]) -> Callable[[Desk], Arguments]:
    """`tunewise train` with a copy of the sound model, after this was done to it."""

    def make(desk: Desk) -> Arguments:
        spoil(Path(shutil.copytree(desk.model, desk.folder / "model")))
        return desk.train(model="model")

    return make


def change(name: str, **keys: Any) -> Callable[[Path], None]:
    """Changes keys of a JSON file; those with None are taken away."""

    def spoil(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        kept = {key: value for key, value in content.items() if key not in keys}
        added = {key: value for key, value in keys.items() if value is not None}
        (folder / name).write_text(json.dumps({**kept, **added}))

    return spoil


def tensors(name: str, changed: Callable[[dict[str, Any]], Mapping[str, Any]]) -> Callable[[Path], None]:
    """Writes a safetensors file anew, with other tensors."""

    def spoil(folder: Path) -> None:
        from safetensors.numpy import load_file, save_file

        whole = {key: value.copy() for key, value in load_file(folder / name).items()}
        save_file(dict(changed(whole)), folder / name, metadata={"format": "pt"})

    return spoil


def cut(count: int) -> Callable[[Path], None]:
    """The first bytes of a file with one tensor, of 132 bytes in all."""
    header = b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}'.ljust(108)

    def spoil(folder: Path) -> None:
        whole = struct.pack("<Q", len(header)) + header + bytes(16)
        (folder / "model.safetensors").write_bytes(whole[:count])

    return spoil


def sharded(*second: str) -> Callable[[Path], None]:
    """The weights in the file model-1.safetensors, and an index that names other files too."""

    def spoil(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "model-1.safetensors")
        named = dict(zip("abc", ["model-1.safetensors", *second], strict=False))
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": named}))

    return spoil


def as_link(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "elsewhere.safetensors")
    (folder / "model.safetensors").symlink_to(folder.parent / "elsewhere.safetensors")


def as_pipe(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")


def as_pointer(folder: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:53aa\nsize 90868376\n"
    (folder / "model.safetensors").write_text(pointer)


def as_adapter(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


def with_nan(weights: dict[str, Any]) -> dict[str, Any]:
    weights[NAME][3, 5] = float("nan")
    return weights


WEIGHTS_FILE = "{folder}/model/model.safetensors"

CASES: tuple[Case, ...] = (
    Case(
        "no config",
        "config.json is missing",
        training_on(lambda folder: (folder / "config.json").unlink()),
        error(
            "'{folder}/model' is not a model: it has no config.json",
            "{folder}/model",
            "name a folder saved by transformers (save_pretrained) or a hub id",
        ),
    ),
    Case(
        "no config",
        "config.json is half there",
        training_on(lambda folder: (folder / "config.json").write_text('{"model_type": "be')),
        error(
            "config.json cannot be read: Unterminated string starting at: line 1 column 16 (char 15)",
            "{folder}/model/config.json",
            "download the model again",
        ),
    ),
    Case(
        "no config",
        "config.json says nothing",
        training_on(lambda folder: (folder / "config.json").write_text("{}")),
        error(
            "config.json names no model_type",
            "{folder}/model/config.json",
            "name a folder saved by transformers (save_pretrained)",
        ),
    ),
    Case(
        "no config",
        "it is an adapter",
        training_on(as_adapter),
        error(
            "'{folder}/model' is an adapter, not a whole model",
            "{folder}/model",
            "name the base model, or merge the adapter into it first",
        ),
    ),
    Case(
        "missing shard",
        "the second of two",
        training_on(sharded("model-2.safetensors")),
        error("the weight file model-2.safetensors is missing", "{folder}/model", "download the model again"),
    ),
    Case(
        "missing shard",
        "all weights",
        training_on(lambda folder: (folder / "model.safetensors").unlink()),
        error(
            "the model folder has no weights (model.safetensors)",
            "{folder}/model",
            "name a folder saved by transformers, or download the model again",
        ),
    ),
    Case(
        "index naming an absent or outside file",
        "../",
        training_on(sharded("../elsewhere.safetensors")),
        error(
            "the index names a file outside the model folder: ../elsewhere.safetensors",
            "{folder}/model",
            "do not use this model",
        ),
    ),
    Case(
        "index naming an absent or outside file",
        "absolute",
        training_on(sharded("/etc/passwd")),
        error(
            "the index names a file outside the model folder: /etc/passwd", "{folder}/model", "do not use this model"
        ),
    ),
    Case(
        "index naming an absent or outside file",
        "absent",
        training_on(sharded("model-2.safetensors", "model-3.safetensors")),
        error("the weight file model-2.safetensors is missing", "{folder}/model", "download the model again"),
    ),
    Case(
        "index naming an absent or outside file",
        "link",
        training_on(as_link),
        error(
            "the weight file model.safetensors is a link out of the model folder",
            WEIGHTS_FILE,
            "copy the file into the folder",
        ),
    ),
    Case(
        "index naming an absent or outside file",
        "named pipe",
        training_on(as_pipe),
        error("the weight file model.safetensors is not a plain file", "{folder}/model", "download the model again"),
    ),
    Case(
        "index naming an absent or outside file",
        "no index",
        training_on(lambda folder: (sharded()(folder), (folder / INDEX).write_text("[]"))),
        error("the index of the weight files cannot be read", "{folder}/model/" + INDEX, "download the model again"),
    ),
    Case(
        "truncated safetensors",
        "the end is missing",
        training_on(cut(131)),
        error("model.safetensors should have 132 bytes and has 131", WEIGHTS_FILE, "download the model again"),
    ),
    Case(
        "truncated safetensors",
        "nothing is there",
        training_on(cut(0)),
        error(
            "model.safetensors is not a safetensors file, or it is cut off",
            WEIGHTS_FILE,
            "save the model as safetensors, or download it again",
        ),
    ),
    Case(
        "truncated safetensors",
        "within the header",
        training_on(cut(50)),
        error(
            "model.safetensors is not a safetensors file, or it is cut off",
            WEIGHTS_FILE,
            "save the model as safetensors, or download it again",
        ),
    ),
    Case(
        "shape mismatch",
        "more blocks than tensors",
        training_on(change("config.json", num_hidden_layers=10**9)),
        error(
            "config.json says 1,000,000,000 blocks, and the weights have 71 tensors",
            "{folder}/model/config.json",
            TOGETHER,
        ),
    ),
    Case(
        "shape mismatch",
        "another vocabulary",
        training_on(change("config.json", vocab_size=30522)),
        error(
            "config.json says 30,522 tokens, and no tensor of the weights has so many rows",
            "{folder}/model/config.json",
            TOGETHER,
        ),
    ),
    Case(
        "shape mismatch",
        "another width",
        training_on(change("config.json", intermediate_size=128)),
        error(
            "the weights of 12 tensors are missing or have other shapes: "
            "bert.encoder.layer.0.intermediate.dense.weight, bert.encoder.layer.0.intermediate.dense.bias, "
            "bert.encoder.layer.0.output.dense.weight",
            "{folder}/model",
            TOGETHER,
        ),
        reads_weights=ON_LOADING,
    ),
    Case(
        "shape mismatch",
        "a tensor is missing",
        training_on(tensors("model.safetensors", lambda whole: {key: whole[key] for key in whole if key != NAME})),
        error(f"the weights of 1 tensors are missing or have other shapes: bert.{NAME}", "{folder}/model", TOGETHER),
        reads_weights=ON_LOADING,
    ),
    Case(
        "NaN weights",
        "one of all",
        training_on(tensors("model.safetensors", with_nan)),
        error(
            f"the weights hold NaN or infinity in bert.{NAME}",
            WEIGHTS_FILE,
            "download the model again, or take another checkpoint",
        ),
        reads_weights="only the weights tell",
    ),
    Case(
        "Git-LFS pointer",
        "model.safetensors",
        training_on(as_pointer),
        error(
            "model.safetensors is a Git LFS pointer, not the weights",
            WEIGHTS_FILE,
            "run `git lfs pull` in that folder",
        ),
    ),
)
