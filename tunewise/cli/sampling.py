"""The command `sample`: images drawn by a trained diffusion model, one file each, and all in one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tunewise.cli.options import AsJson, RunPath
from tunewise.cli.told_errors import told_errors

GRID, LIST = "grid.png", "images.jsonl"
MOST_IN_GRID = 100


def sample(
    run: RunPath,
    out: Annotated[Path, typer.Option(help="A new folder for the images.")],
    number: Annotated[int, typer.Option(min=1, max=100_000, help="How many images.")] = 16,
    label: Annotated[str | None, typer.Option(help="The class to draw; where left out, each in turn.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of denoising (DDIM).")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Decides the noise that each image begins as.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 64,
    as_json: AsJson = False,
) -> None:
    """Draw images with a trained diffusion model: PNG files, a grid of the first 100, and a list with their classes."""
    with told_errors():
        told = draw(run, out, number, label, steps, seed, batch_size)
        print(json.dumps(told) if as_json else f"{number:,} images, and {GRID}: {out}")


def draw(
    run: Path, out: Path, number: int, label: str | None, steps: int, seed: int, batch_size: int
) -> dict[str, object]:
    """Writes the folder, and tells what is in it.

    Raises:
        StoreError: there is no trained model there, or `out` is there already.
        DataError: the model draws no images, or knows no such class.
    """
    from tunewise.api import load
    from tunewise.commit import commit_folder
    from tunewise.commit.room import check_writable
    from tunewise.errors import DataError, StoreError

    if out.exists():
        raise StoreError(f"{out} is already there", where=str(out), fix="name a folder that is not there yet")
    check_writable(out)
    model = load(run)
    if not hasattr(model, "sample"):
        raise DataError(
            f"the model of this run draws no images: its task is {model.task}",
            where=str(run),
            fix="take a run of image_generation; `tunewise predict` asks other models",
        )
    images = model.sample(number, label, steps=steps, seed=seed, batch_size=batch_size)
    classes = model.classes(number, label)
    width = max(4, len(str(number - 1)))
    rows = [{"image": f"{place:0{width}}.png"} for place in range(number)]
    if classes is not None:
        rows = [{**row, "label": model.labels[place]} for row, place in zip(rows, classes.tolist(), strict=True)]

    def write(staging: Path) -> None:
        import numpy as np

        from tunewise.data.picture_grid import grid

        for row, image in zip(rows, images, strict=True):
            image.save(staging / row["image"], format="PNG")
        first = np.stack([np.atleast_3d(np.asarray(image)) for image in images[:MOST_IN_GRID]])
        grid(first.transpose(0, 3, 1, 2)).save(staging / GRID, format="PNG")
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (staging / LIST).write_text(lines, encoding="utf-8")

    about = {"kind": "drawn images", "run": str(run), "number": number, "label": label, "steps": steps, "seed": seed}
    commit_folder(out, write, about)
    return {"out": str(out), **about}
