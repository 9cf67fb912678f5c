"""Arguments and options that several commands have, and the words that some can be."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class RunsAction(StrEnum):
    """What `tunewise runs` can do."""

    LIST = "list"
    VERIFY = "verify"


class CacheAction(StrEnum):
    """What `tunewise cache` can do."""

    SHOW = "show"
    CLEAR = "clear"


class FileKind(StrEnum):
    """What `tunewise check` writes cleaned data as."""

    PARQUET = "parquet"
    JSONL = "jsonl"
    CSV = "csv"


class Proof(StrEnum):
    """What `tunewise verify` can prove."""

    RESUME = "resume"


RecipePath = Annotated[Path, typer.Argument(help="The recipe, a YAML file.", metavar="RECIPE")]
RecipeOrImages = Annotated[
    Path, typer.Argument(help="The recipe, a YAML file; or a folder of images.", metavar="RECIPE")
]
MoreMethods = Annotated[list[str] | None, typer.Argument(help="More methods, after --methods.", metavar="[METHOD]...")]
OutOfComparison = Annotated[
    Path | None, typer.Option("--out", help="Folder for the results; for a folder of images runs/NAME unless given.")
]
ModelName = Annotated[str | None, typer.Option("--model", help="The model, in the place of the recipe's.")]
MethodNames = Annotated[
    list[str], typer.Option("--methods", help="The methods, in the place of the recipe's: one or several, or all.")
]
RunPath = Annotated[Path, typer.Argument(help="The folder of a run.", metavar="RUN")]
Out = Annotated[Path, typer.Option(help="Folder for the results.")]
Overrides = Annotated[list[str], typer.Option("--set", help="Change a key of the recipe: train.epochs=5.")]
AllowCode = Annotated[bool, typer.Option("--allow-code", help="Run the metric functions that the recipe names.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Runs at a time.")]
Batch = Annotated[int, typer.Option(min=1, help="Rows per batch.")]
MaxNewTokens = Annotated[
    int | None, typer.Option(min=1, help="Language models: stop after so many tokens.", show_default="128")
]
Temperature = Annotated[
    float | None, typer.Option(help="Language models: draw tokens, sharpened below 1; where left out, the likeliest.")
]
TopK = Annotated[int | None, typer.Option(min=1, help="With a temperature: draw among the k likeliest.")]
TopP = Annotated[float | None, typer.Option(help="With a temperature: draw among those of this probability.")]
RepetitionPenalty = Annotated[
    float | None, typer.Option(help="Language models: above 1, tokens that were there become less likely.")
]
DrawSeed = Annotated[int | None, typer.Option("--seed", min=0, help="Decides what is drawn.", show_default="0")]
