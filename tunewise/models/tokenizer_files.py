"""Checks of a model folder's tokeniser by its files: it fits the model, stays in the folder, and brings no code."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunewise.errors import ModelError
from tunewise.models.folder_files import read_json

TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "spm.model",
)
CONFIG = "tokenizer_config.json"
# transformers takes any class of its own by this name, also one that would open other files.
_TOKENIZER_CLASS = re.compile(r"(?!Auto)\w*(Tokenizer|TokenizerFast|Backend)")
_TEMPLATE_NAME = re.compile(r"[\w-]+")


def check_tokenizer(path: Path, config: dict[str, Any]) -> None:
    """Checks the tokeniser in a model folder.

    Args:
        config: the content of config.json.

    Raises:
        ModelError: there is none, it wants to run code or read other files, or has ids that the model does not embed.
    """
    if not any((path / file).is_file() for file in TOKENIZER_FILES):
        raise ModelError(
            "the model folder has no tokeniser",
            where=str(path),
            fix=f"add one of {', '.join(TOKENIZER_FILES[:4])}, as saved with the model",
        )
    _check_class(config, path / "config.json")
    if (path / CONFIG).is_file():
        _check_config(path)
    size = config.get("vocab_size")
    if isinstance(size, int) and (path / "tokenizer.json").is_file():
        _check_ids(path / "tokenizer.json", size)


def _check_config(path: Path) -> None:
    file = path / CONFIG
    options = read_json(file)
    if not isinstance(options, dict):
        raise ModelError(f"{CONFIG} is not a mapping", where=str(file), fix="download the model again")
    if options.get("auto_map"):
        raise ModelError(
            "this tokeniser wants to run Python code of its own (auto_map), which tunewise never does",
            where=str(file),
            fix="take a model whose tokeniser is part of transformers",
        )
    _check_class(options, file)
    for key, named in options.items():
        if key.endswith("_file") and isinstance(named, str) and _leads_out(path, named):
            raise ModelError(
                f"{CONFIG} names a file outside the model folder: {key} is {named}",
                where=str(file),
                fix=f"take {key} away from {CONFIG}",
            )
    for name in _template_names(options.get("chat_template")):
        if not isinstance(name, str) or not _TEMPLATE_NAME.fullmatch(name):
            raise ModelError(
                f"a chat template's name would be a path: {name!r}", where=str(file), fix="do not use this model"
            )


def _check_class(options: dict[str, Any], file: Path) -> None:
    name = options.get("tokenizer_class")
    if name is not None and not (isinstance(name, str) and _TOKENIZER_CLASS.fullmatch(name)):
        raise ModelError(
            f"tokenizer_class is {name!r:.80}, which is no tokeniser",
            where=str(file),
            fix="take the tokeniser files that were published with the model",
        )


def _leads_out(path: Path, named: str) -> bool:
    """Whether a name leads to a file that is there and not the folder's. Published tokenisers often hold a path of the
    machine that they were made on, which leads nowhere."""
    try:
        target = Path(os.path.expanduser(named))
        inside = target.resolve().is_relative_to(path.resolve())
        return (target.is_absolute() or ".." in target.parts) and target.exists() and not inside
    except (OSError, ValueError, RuntimeError):  # too long, with a null character, a loop of links
        return False


def _template_names(templates: Any) -> Iterator[Any]:
    """The names under which templates would be saved as files."""
    if isinstance(templates, dict):
        yield from templates
    elif isinstance(templates, list):
        yield from (entry.get("name") if isinstance(entry, dict) else entry for entry in templates)


def _check_ids(file: Path, size: int) -> None:
    tokenizer = read_json(file)
    try:
        vocabulary = tokenizer["model"]["vocab"]
        ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else range(len(vocabulary))
        largest = max([*ids, *(token["id"] for token in tokenizer.get("added_tokens", []))], default=0)
        fits = largest < size
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise ModelError(
            f"tokenizer.json cannot be read: {problem}", where=str(file), fix="download the model again"
        ) from None
    if not fits:
        raise ModelError(
            f"the tokeniser has ids up to {largest}, but the model embeds {size} tokens",
            where=str(file),
            fix="take the tokeniser that belongs to this model",
        )
