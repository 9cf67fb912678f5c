"""Tables of the machine, and of the jobs that need no peer."""

from __future__ import annotations

import statistics
from itertools import pairwise

from benchmarks.further import (
    EFFICIENCY_TARGET,
    EXTRACTION_TARGET,
    GROWTH,
    GROWTH_TARGET,
    LARGE,
    LARGE_TARGET,
    PLAIN,
    STEPS_OF_GROWTH,
)
from benchmarks.jobs import OURS, SIDES
from benchmarks.ratios import Ratio, least, middle, ratio
from benchmarks.results import Results
from benchmarks.stacked import ONE_BY_ONE, ONE_PASS
from benchmarks.tables import NAMES, NOT_MEASURED, megabytes, reached, seconds, share, table_of

FLOPS_PER_PARAMETER_AND_TOKEN = 6.0


def machine(results: Results) -> str:
    """What it was measured on, and how."""
    about, settings = results.machine, results.settings
    if not about:
        return NOT_MEASURED
    packages = ", ".join(f"{name} {version}" for name, version in about["packages"].items() if version)
    per_thread = about["threads"]["seconds_per_step"]
    steps = ", ".join(f"{count}: {1000 * taken:.0f} ms" for count, taken in per_thread.items())
    rows = [
        ["processor", f"{about['cpu']}, {about['cores']} cores, {' '.join(about['flags'])}"],
        ["memory", f"{about['memory_bytes'] / 1e9:.0f} GB"],
        ["system", f"{about['system']}, Python {about['python']}"],
        ["packages", packages],
        [
            "data",
            f"{settings['data']}, {settings['rows']:,} training rows, at most {settings['test_rows']:,} test rows",
        ],
        ["rounds", f"{max((len(results.of(name, OURS)) for name in results.jobs), default=0)}, each with its seed"],
        ["training step of (b) by threads", f"{steps}; (b) is given {about['threads']['best']}"],
    ]
    for kind in ("fp32", "bf16"):
        if ceiling := _ceiling(results, kind):
            rows.append([f"product of matrices, {kind}", f"{ceiling / 1e9:,.0f} GFLOP/s"])
    return table_of(["", ""], rows)


def _ceiling(results: Results, kind: str) -> float | None:
    """The best of all rounds."""
    found = [one[kind] for one in results.of("ceilings", "machine").values()]
    return max(found, default=None)


def efficiency(results: Results) -> str:
    """Full fine-tuning in batches of 32, as a fraction of the machine's products of matrices."""
    ours, ceilings = results.of("full_32", OURS), {kind: _ceiling(results, kind) for kind in ("bf16", "fp32")}
    if not ours or None in ceilings.values():
        return NOT_MEASURED
    tokens, parameters = middle(ours, "tokens"), results.machine["model"]["in_blocks"]
    rows = []
    for name, side in zip(NAMES, SIDES, strict=True):
        taken = middle(results.of("full_32", side), "train_seconds")
        if taken is None:
            continue
        rate = FLOPS_PER_PARAMETER_AND_TOKEN * parameters * tokens / taken
        share_of = {kind: rate / ceiling for kind, ceiling in ceilings.items()}
        cells = [name, f"{tokens / taken:,.0f}", f"{rate / 1e9:,.0f}", share(share_of["bf16"]), share(share_of["fp32"])]
        wanted = [f"{EFFICIENCY_TARGET:.0%} of bf16", reached(share_of["bf16"] >= EFFICIENCY_TARGET)]
        rows.append([*cells, *(wanted if side == OURS else ["", ""])])
    return table_of(["", "useful tokens/s", "GFLOP/s", "of bf16", "of fp32", "at least", "reached"], rows)


def extraction(results: Results) -> str:
    measured = results.of("extraction", OURS)
    if not measured:
        return NOT_MEASURED
    found = [one["seconds"] / one["bare_seconds"] for one in measured.values()]
    told = Ratio(statistics.median(found), min(found), max(found))
    cells = [
        f"{next(iter(measured.values()))['rows']:,}",
        seconds(middle(measured, "bare_seconds")),
        seconds(middle(measured, "seconds")),
        str(told),
        f"{EXTRACTION_TARGET:g}",
        reached(told.median <= EXTRACTION_TARGET),
    ]
    return table_of(["rows", "bare forward pass", "features", "ratio", "at most", "reached"], [cells])


def growth(results: Results) -> str:
    """Seconds for one row more, between neighbouring sizes; of several rounds the least time counts."""
    jobs = (
        ("growth_steps", f"{STEPS_OF_GROWTH} steps of full fine-tuning, whole command", "work_seconds"),
        ("growth_features", "features", "seconds"),
    )
    rows = []
    for job, title, key in jobs:
        taken = [least(results.of(job, str(count)), key) for count in GROWTH]
        if None in taken:
            continue
        steps = list(zip(GROWTH, GROWTH[1:], taken, taken[1:], strict=False))
        marginal = [(after - before) / (more - fewer) for fewer, more, before, after in steps]
        change = marginal[-1] / marginal[0] - 1
        cells = [title, *(seconds(one) for one in taken), *(f"{1000 * one:.3f} ms" for one in marginal)]
        rows.append([*cells, f"{change:+.0%}", f"±{GROWTH_TARGET:.0%}", reached(abs(change) <= GROWTH_TARGET)])
    sizes = [f"{count:,} rows" for count in GROWTH]
    each = [f"each row, {fewer:,} to {more:,}" for fewer, more in pairwise(GROWTH)]
    return table_of(["", *sizes, *each, "change", "at most", "reached"], rows)


def rates(results: Results) -> str:
    """LoRA with several rates, one by one and in one pass."""
    alone, together = results.of("rates", ONE_BY_ONE), results.of("rates", ONE_PASS)
    if not alone or not together:
        return NOT_MEASURED
    rows = []
    for name, measured in (("one after the other", alone), ("in one pass over the base", together)):
        accuracies = [statistics.mean(one["accuracies"]) for one in measured.values()]
        told = [seconds(middle(measured, "train_seconds")), megabytes(middle(measured, "above_bytes"))]
        rows.append([name, *told, f"{statistics.mean(accuracies):.1%}"])
    gains = (ratio(alone, together, key) for key in ("train_seconds", "above_bytes"))
    rows.append(["ratio", *(str(gain or "") for gain in gains), ""])
    return table_of(["four runs", "training", "peak memory above imports", "accuracy, mean"], rows)


def vocabulary(results: Results) -> str:
    plain, ours = results.of("vocabulary", PLAIN), results.of("vocabulary", OURS)
    if not plain or not ours:
        return NOT_MEASURED
    rows = []
    for name, measured in (("every row trains (torch's AdamW)", plain), ("only the rows in use (ours)", ours)):
        step = middle(measured, "train_seconds") / middle(measured, "steps")
        rows.append(
            [
                name,
                megabytes(middle(measured, "optimizer_bytes")),
                f"{1000 * step:.1f} ms",
                megabytes(middle(measured, "above_bytes")),
            ]
        )
    rows.append(["ours / plain", *(str(ratio(ours, plain, key) or "") for key in _VOCABULARY)])
    return table_of(["", "optimiser's memory", "step", "peak memory above imports"], rows)


_VOCABULARY = ("optimizer_bytes", "train_seconds", "above_bytes")


def large(results: Results) -> str:
    found = [middle(results.of("large", str(count)), "above_bytes") for count in LARGE]
    if None in found:
        return NOT_MEASURED
    more = found[1] - found[0]
    cells = [*(megabytes(one) for one in found), megabytes(more), megabytes(LARGE_TARGET)]
    columns = [*(f"{count:,} rows" for count in LARGE), "more", "at most", "reached"]
    return table_of(columns, [[*cells, reached(more <= LARGE_TARGET)]])
