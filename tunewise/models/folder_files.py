"""What lies in a model folder: plain files that belong to it, read as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tunewise.errors import ModelError

NEVER_READ = {".md", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".onnx", ".msgpack", ".ot", ".gguf", ".png"}
"""Endings of files that lie beside published models and are never opened."""


def home_of(folder: Path) -> Path:
    """The folder that a model's files must not leave. The hub's cache links snapshots/<revision>/file to blobs/<hash>
    in the same model's folder."""
    cached = folder.parent.name == "snapshots" and folder.parents[1].name.startswith("models--")
    return folder.resolve().parents[1] if cached else folder.resolve()


def check_files(folder: Path) -> None:
    """Every file that could be read is a plain file of this folder: a link could lead to any file of the user's, which
    would become part of the model handed over; a named pipe would wait for ever.

    Raises:
        ModelError: one is not.
    """
    home = home_of(folder)
    for file in sorted((*folder.iterdir(), *(folder / "additional_chat_templates").glob("*"))):
        if file.suffix in NEVER_READ:
            continue
        if not file.resolve().is_relative_to(home):
            raise ModelError(
                f"{file.name} is a link out of the model folder", where=str(file), fix="copy the file into the folder"
            )
        if not file.is_file() and not file.is_dir():
            raise ModelError(f"{file.name} is not a plain file", where=str(file), fix="download the model again")


def read_json(file: Path) -> Any:
    """The content of a JSON file of a model.

    Raises:
        ModelError: it is not JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as problem:
        told = "it is nested too deep" if isinstance(problem, RecursionError) else problem
        raise ModelError(
            f"{file.name} cannot be read: {told}", where=str(file), fix="download the model again"
        ) from None
