"""A table of tickets and a recipe for it, with a tiny model."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from tunewise.cli.main import app


@pytest.fixture(scope="session")
def tickets(tmp_path_factory: pytest.TempPathFactory, toy_data: Callable[..., Any]) -> Path:
    """`tickets.csv`: 90 rows with the columns message, intent, urgency, region."""
    data = toy_data("classification", train=60, held_out=15)
    path = tmp_path_factory.mktemp("tickets") / "tickets.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["message", "intent", "urgency", "region"])
        for split in data.splits.values():
            for number, ((text,), target) in enumerate(zip(split.texts, split.targets, strict=True)):
                writer.writerow([text, data.schema.labels[target], round(0.1 + 0.3 * target, 2), "ns"[number % 2]])
    return path


@pytest.fixture
def recipe(tickets: Path, tiny_bert: Path, tmp_path: Path) -> Callable[..., Path]:
    """`recipe(**sections)`: the path of a small recipe with these sections changed."""

    def write(**sections: Any) -> Path:
        content = {
            "model": str(tiny_bert),
            "data": {"train": str(tickets), "text": "message", "label": "intent"},
            "methods": ["features", "head", {"lora": {"rank": 2}}],
            "train": {"max_steps": 4, "batch_size": 8, "threads": 1, "precision": "fp32"},
            "evaluate": {"resamples": 100},
            "seeds": 2,
        }
        content |= sections
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
        return path

    return write


@pytest.fixture
def tunewise() -> Callable[..., Any]:
    """Runs a command in this process: `tunewise("train", path, "--out", out)`; has exit_code, stdout, stderr."""

    def call(*arguments: Any) -> Any:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return call
