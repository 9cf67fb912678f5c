"""A case of bad input: what is on the user's desk, the command given, and exactly what tunewise has to say."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Arguments = list[str]
WEIGHTS = "error: the weights would be read now\n"
"""What the command says in these tests where nothing stopped it before the weights of the model."""


@dataclass(frozen=True)
class Desk:
    """A folder of the user's: `model` is the folder of a sound tiny BERT, to be copied before it is spoilt."""

    folder: Path
    model: Path
    finished_run: Callable[[], Path]
    """Trains with LoRA on `rows()`, once per session; gives the folder of the run, to be copied before it is spoilt."""

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def data(self) -> Any:
        """What `tunewise` makes of the data of the recipe."""
        from tunewise.data.prepare import prepare
        from tunewise.recipe import load_recipe

        return prepare(load_recipe(self.folder / "recipe.yaml").data, self.folder)

    def recipe(self, content: str | bytes) -> Arguments:
        """`tunewise train` with this text as the recipe."""
        return ["train", str(self.write("recipe.yaml", content)), "--method", "head"]

    def train(self, data: str | bytes | None = None, name: str = "data.csv", **sections: Any) -> Arguments:
        """`tunewise train` with a sound recipe, but for these sections, on a file with this content (sound rows where
        it is left out)."""
        self.write(name, rows() if data is None else data)
        given = sections.pop("data_section", {})
        whole = {
            "model": str(self.model),
            "data": {"train": name, "text": "text", "label": "label", **given},
            "train": {"max_steps": 1, "batch_size": 8, "threads": 1, "precision": "fp32"},
            "evaluate": {"resamples": 100},
            **sections,
        }
        return self.recipe(json.dumps(whole, indent=1))


@dataclass(frozen=True)
class Case:
    """A bad input of a kind of `kinds.KINDS`.

    `make` puts it on the desk and gives the arguments of `tunewise`; `train` and `compare` get `--out` from the runner.

    One of three, with `{folder}` and `{model}` for the paths of the desk (other braces stand for themselves):

    - `told`: the whole text of standard error, exactly; the command fails, leaves no output and loads no weights.
    - `repair`: a line of standard error that tells what was changed or left out, exactly, with counts; and `proof`,
      which looks whether what was made of the input is right.
    - `read_as`: what the input is taken for, where that is what the user wrote, so that there is nothing to tell; and
      `proof`.
    """

    kind: str
    name: str
    make: Callable[[Desk], Arguments]
    told: str = ""
    repair: str = ""
    read_as: str = ""
    proof: Callable[[Desk], None] | None = None
    exit_code: int = 2
    reads_weights: str = ""
    """Why it can be known only from weights, where it can be; else reading any is a failure of the test."""


def rows(count: int = 30) -> str:
    """A sound CSV file with the columns text and label, two classes."""
    lines = [
        f"the {('good', 'bad')[number % 2]} message {number},{('yes', 'no')[number % 2]}" for number in range(count)
    ]
    return "text,label\n" + "\n".join(lines) + "\n"


def error(what: str, where: str = "", fix: str = "") -> str:
    """The text of an error as the command line prints it."""
    lines = [f"error: {what}", f"  where: {where}" if where else "", f"  to do: {fix}" if fix else ""]
    return "\n".join(line for line in lines if line) + "\n"


def all_cases() -> tuple[Case, ...]:
    """The `CASES` of every `cases_*.py` beside this file."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("cases_*.py"))
    return tuple(case for name in names for case in importlib.import_module(name).CASES)
