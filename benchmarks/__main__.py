"""`python -m benchmarks`: measures all sides in turns, and keeps what is done in a JSON file."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import machine
from benchmarks.further import CEILINGS, FURTHER, ONLY_IF_ASKED, model_folder
from benchmarks.jobs import SIDE_BY_SIDE, Bench, Job
from benchmarks.process import MeasuringError, measure_in_process
from benchmarks.results import Results
from benchmarks.rows import write_files
from tunewise.errors import TunewiseError
from tunewise.models.locate import EMBEDDED_NAME

JOBS = (CEILINGS, *SIDE_BY_SIDE, *FURTHER, *ONLY_IF_ASKED)


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=int, default=2000, help="training rows (2000)")
    parser.add_argument("--test-rows", type=int, default=1000, help="test rows (1000)")
    parser.add_argument("--seeds", type=int, default=3, help="rounds, each with a seed of its own (3)")
    parser.add_argument("--jobs", nargs="+", choices=[job.name for job in JOBS], metavar="JOB", help="only these jobs")
    parser.add_argument("--large", action="store_true", help="also a million rows, which takes long")
    parser.add_argument("--model", default=EMBEDDED_NAME, help="a BERT, by name or folder (MiniLM)")
    parser.add_argument(
        "--out", type=Path, default=Path("results.json"), help="goes on where the file is (results.json)"
    )
    return parser.parse_args(arguments)


def chosen_jobs(asked: argparse.Namespace) -> list[Job]:
    if asked.jobs:
        return [job for job in JOBS if job.name in asked.jobs]
    return [job for job in JOBS if asked.large or job not in ONLY_IF_ASKED]


def turns(jobs: Sequence[Job], seeds: int) -> Iterator[tuple[Job, str, int]]:
    """Every measurement, round by round, the sides of a job one after the other."""
    for seed in range(seeds):
        for job in jobs:
            if job.every_seed or seed == 0:
                yield from ((job, side, seed) for side in job.sides)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what the file does not hold yet; returns the exit code, 1 where a measurement failed."""
    asked, failed = options(arguments), 0
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        files = write_files(Path(folder), asked.rows, asked.test_rows)
        settings = {
            "rows": asked.rows,
            "test_rows": asked.test_rows,
            "data": files.name,
            "model": Path(asked.model).name,
        }
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        results = Results(asked.out, settings)
        bench = Bench(str(model_folder(asked.model)), files, Path(folder))
        if not results.machine:
            tuning = measure_in_process("benchmarks.machine", {"what": "threads", "model": bench.model})
            results.describe({**machine.describe(), **tuning})
        bench = replace(bench, threads=results.machine["threads"]["best"])
        for job, side, seed in turns(chosen_jobs(asked), asked.seeds):
            if not results.has(job.name, side, seed):
                failed += not _measure(bench, results, job, side, seed)
    return 1 if failed else 0


def _measure(bench: Bench, results: Results, job: Job, side: str, seed: int) -> bool:
    """One measurement; what fails is told, and tried again by the next call of the command."""
    print(f"{time.strftime('%H:%M:%S')} {job.name}, {side}, seed {seed} ...", end=" ", flush=True)
    try:
        measured = job.measure(bench, side, seed)
    except MeasuringError as problem:
        print(f"failed\n{problem}", file=sys.stderr)
        return False
    results.put(job.name, side, seed, measured)
    numbers = {name: value for name, value in measured.items() if isinstance(value, (int, float))}
    print(", ".join(f"{name} {value:,.4g}" for name, value in numbers.items()), flush=True)
    return True


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ValueError, MeasuringError, TunewiseError) as problem:
        sys.exit(f"error: {problem}")
