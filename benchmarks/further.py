"""Jobs beside those of the peers: the machine's ceilings, extraction, growth with the data, several rates in one pass,
large vocabularies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import own, vocabulary
from benchmarks.jobs import BATCH, OURS, Bench, Job, method_of
from benchmarks.process import measure_in_process
from benchmarks.rows import Files, read_csv, repeated, write_rows
from benchmarks.stacked import ONE_BY_ONE, ONE_PASS

GROWTH = (1_000, 10_000, 100_000)
LARGE = (10_000, 1_000_000)
STEPS_OF_GROWTH = 20
EXTRACTION_TARGET, GROWTH_TARGET, EFFICIENCY_TARGET, LARGE_TARGET = 1.3, 0.10, 0.40, 300e6
PLAIN = "untrimmed"
NO_CACHE = {"TUNEWISE_CACHE_LIMIT": "0"}  # every time must do the work


def ceilings(bench: Bench, side: str, seed: int) -> dict[str, Any]:
    return measure_in_process("benchmarks.machine", {"what": "ceilings"})


def extraction(bench: Bench, side: str, seed: int) -> dict[str, Any]:
    return _extract(bench, bench.files, seed, bare=True)


def _extract(bench: Bench, files: Files, seed: int, bare: bool) -> dict[str, Any]:
    described = own.recipe(bench.model, files, own.Training(8), seed) | {"method": method_of("features")}
    return measure_in_process("benchmarks.extraction", {"recipe": described, "bare": bare}, NO_CACHE)


def features_of_many(bench: Bench, side: str, seed: int) -> dict[str, Any]:
    """`side` is the number of rows."""
    return _extract(bench, _grown(bench, int(side)), seed, bare=False)


def steps_of_many(bench: Bench, side: str, seed: int) -> dict[str, Any]:
    """The same number of steps, whatever the number of rows, which is `side`."""
    files, steps = _grown(bench, int(side)), own.Training(8, max_steps=STEPS_OF_GROWTH)
    return own.train(own.recipe(bench.model, files, steps, seed), method_of("full"))


def _grown(bench: Bench, rows: int) -> Files:
    """The real rows, repeated with a changed word to so many."""
    file = bench.folder / f"train-{rows}.csv"
    if not file.is_file():
        write_rows(file, repeated(read_csv(bench.files.train), rows))
    return replace(bench.files, train=file)


def large_vocabulary(bench: Bench, side: str, seed: int) -> dict[str, Any]:
    """Full fine-tuning in fp32; `side` is ours, which trims, or a plain loop."""
    folder = bench.folder / "large-vocabulary"
    train = str(bench.files.train)
    if not (folder / "tokenizer.json").is_file():  # which is written last
        measure_in_process("benchmarks.vocabulary", {"what": "model", "folder": str(folder), "train": train})
    if side == PLAIN:
        asked = {"what": PLAIN, "model": str(folder), "train": train, "seed": seed}
        return measure_in_process("benchmarks.vocabulary", asked)
    steps = own.Training(vocabulary.BATCH, max_steps=vocabulary.STEPS, more={"precision": "fp32"})
    found = own.train(own.recipe(str(folder), bench.files, steps, seed), {"full": {"learning_rate": vocabulary.RATE}})
    return {**found, "steps": vocabulary.STEPS}


def lora_rates(bench: Bench, side: str, seed: int) -> dict[str, Any]:
    """LoRA with four rates; `side` says how."""
    described = own.recipe(bench.model, bench.files, own.Training(BATCH), seed) | {"method": method_of("lora")}
    return measure_in_process("benchmarks.stacked", {"recipe": described, "side": side}, NO_CACHE)


def _by_rows(
    name: str, title: str, measure: Callable[[Bench, str, int], dict[str, Any]], rows: Any, often: bool
) -> Job:
    return Job(name, title, measure, sides=tuple(str(count) for count in rows), every_seed=often)


CEILINGS = Job("ceilings", "products of matrices, 4096 x 4096", ceilings, sides=("machine",))
FURTHER = (
    Job("extraction", "features against a bare forward pass", extraction, sides=(OURS,)),
    _by_rows("growth_steps", f"{STEPS_OF_GROWTH} steps of full fine-tuning on more rows", steps_of_many, GROWTH, True),
    _by_rows("growth_features", "features of more rows", features_of_many, GROWTH, False),
    Job("rates", "LoRA with four rates", lora_rates, sides=(ONE_BY_ONE, ONE_PASS)),
    Job("vocabulary", "a vocabulary of 250,002 rows", large_vocabulary, sides=(PLAIN, OURS)),
)
ONLY_IF_ASKED = (_by_rows("large", "features of 1,000,000 rows", features_of_many, LARGE, False),)


def model_folder(name: str) -> Path:
    """The folder of a model by its name, as the product finds it.

    Raises:
        ModelError: there is none.
    """
    from tunewise.models.locate import locate

    return locate(name, Path.cwd()).path
