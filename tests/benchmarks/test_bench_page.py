"""The tables of docs/benchmarks.md, from made-up results whose ratios are easy to work out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import further_tables, page, tables
from benchmarks.ratios import ratio
from benchmarks.results import Results


@pytest.fixture
def results(tmp_path: Path) -> Results:
    found = Results(tmp_path / "r.json", {"rows": 100, "test_rows": 50, "data": "toy", "model": "tiny"})
    found.describe(
        {
            "cpu": "Fast One",
            "cores": 2,
            "flags": ["avx2"],
            "memory_bytes": 8e9,
            "system": "Linux x86_64",
            "python": "3.11",
            "packages": {"torch": "2.13", "sentence-transformers": None},
            "threads": {"best": 1, "seconds_per_step": {"1": 0.02, "2": 0.03}},
            "model": {"parameters": 20, "in_blocks": 1_000_000},
        }
    )
    return found


def fill(results: Results, job: str, key: str, **sides: list[float]) -> None:
    for side, values in sides.items():
        for seed, value in enumerate(values):
            results.put(job, side, seed, {**results.of(job, side).get(seed, {}), key: value})


def row(table: str, first: str) -> list[str]:
    line = next(line for line in table.splitlines() if line.startswith(f"| {first}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_ratio_is_taken_round_by_round() -> None:
    over = {0: {"s": 10.0}, 1: {"s": 30.0}, 2: {"s": 8.0}, 3: {"s": 1.0}}
    found = ratio(over, {0: {"s": 2.0}, 1: {"s": 3.0}, 2: {"s": 2.0}}, "s")
    assert str(found) == "5.00 (4.00 to 10.00)"
    assert ratio(over, {}, "s") is None and ratio(over, over, "none") is None


def test_times(results: Results) -> None:
    fill(results, "full", "train_seconds", guide=[50, 60, 70], expert=[15, 12, 15], ours=[10, 10, 10])
    cells = row(tables.times(results), "full, 3 epochs, batch 8")
    assert cells[1:4] == ["60.0 s", "15.0 s", "10.0 s"]
    assert cells[4:] == ["6.00 (5.00 to 7.00)", "5", "yes", "1.50 (1.20 to 1.50)", "1.8", "**no**"]


def test_the_comparison_counts_whole_commands(results: Results) -> None:
    for side, seconds in (("guide", 700.0), ("ours", 100.0)):
        accuracies = {"full": 0.8, "head": 0.6}
        more = {"accuracies": accuracies, "train_seconds": {"full": 3.0, "head": 1.0}}
        results.put("comparison", side, 0, {"command_seconds": seconds, **more})
    cells = row(tables.times(results), "a comparison")
    assert cells[1:7] == ["700.0 s", "", "100.0 s", "7.00 (7.00 to 7.00)", "6", "yes"]
    assert row(tables.by_method(results), "`head`") == ["`head`", "60.0%", "", "60.0%", "1.0 s", "", "1.0 s"]
    assert row(tables.quality(results), "a comparison")[1:4] == ["70.0%", "", "70.0%"]


def test_quality_is_the_mean_of_the_seeds(results: Results) -> None:
    fill(results, "lora", "accuracy", guide=[0.80, 0.82], expert=[0.80, 0.80], ours=[0.81, 0.83])
    cells = row(tables.quality(results), "LoRA")
    assert cells[1:] == ["81.0%", "80.0%", "82.0%", "+1.0 points", "+2.0 points", "**no**"]


def test_memory(results: Results) -> None:
    fill(results, "lora", "above_bytes", guide=[1e9], expert=[8e8], ours=[5e8])
    assert row(tables.memory(results), "LoRA")[1:] == [
        "1,000 MB", "800 MB", "500 MB", "0.50 (0.50 to 0.50)", "0.6", "yes"
    ]  # fmt: skip


def test_efficiency(results: Results) -> None:
    results.put("ceilings", "machine", 0, {"fp32": 1e9, "bf16": 3e9})
    results.put("ceilings", "machine", 1, {"fp32": 2e9, "bf16": 4e9})
    results.put("full_32", "ours", 0, {"train_seconds": 3.0, "tokens": 600})
    results.put("full_32", "guide", 0, {"train_seconds": 6.0})
    table = further_tables.efficiency(results)
    assert row(table, "ours")[1:] == ["200", "1", "30.0%", "60.0%", "40% of bf16", "**no**"]
    assert row(table, "(a)")[1:] == ["100", "1", "15.0%", "30.0%", "", ""]


def test_extraction(results: Results) -> None:
    results.put("extraction", "ours", 0, {"rows": 100, "seconds": 1.2, "bare_seconds": 1.0})
    assert row(further_tables.extraction(results), "100")[3:] == ["1.20 (1.20 to 1.20)", "1.3", "yes"]


def test_growth_takes_the_least_of_the_rounds(results: Results) -> None:
    sizes = {"1000": [3.0, 2.0], "10000": [11.0, 12.0], "100000": [120.0, 119.0]}
    fill(results, "growth_steps", "work_seconds", **sizes)
    cells = row(further_tables.growth(results), "20 steps")
    assert cells[1:4] == ["2.0 s", "11.0 s", "119.0 s"]
    assert cells[4:] == ["1.000 ms", "1.200 ms", "+20%", "±10%", "**no**"]


def test_rates_in_one_pass(results: Results) -> None:
    sides = {"one by one": ([40.0, 60.0], 4e8), "one pass": ([20.0, 20.0], 8e8)}
    for side, (taken, memory) in sides.items():
        for seed, value in enumerate(taken):
            found = {"train_seconds": value, "above_bytes": memory, "accuracies": [0.5, 0.7]}
            results.put("rates", side, seed, found)
    assert row(further_tables.rates(results), "in one pass")[1:] == ["20.0 s", "800 MB", "60.0%"]
    assert row(further_tables.rates(results), "ratio")[1:3] == ["2.50 (2.00 to 3.00)", "0.50 (0.50 to 0.50)"]


def test_vocabulary_and_large(results: Results) -> None:
    for side, size in (("untrimmed", 200e6), ("ours", 20e6)):
        more = {"train_seconds": size / 1e8, "steps": 10, "above_bytes": 4 * size}
        results.put("vocabulary", side, 0, {"optimizer_bytes": size, **more})
    assert row(further_tables.vocabulary(results), "every row")[1:] == ["200 MB", "200.0 ms", "800 MB"]
    assert row(further_tables.vocabulary(results), "ours / plain")[1] == "0.10 (0.10 to 0.10)"
    fill(results, "large", "above_bytes", **{"10000": [4e8], "1000000": [9e8]})
    assert row(further_tables.large(results), "400 MB")[1:] == ["900 MB", "500 MB", "300 MB", "**no**"]


def test_the_machine_is_told(results: Results) -> None:
    fill(results, "full", "train_seconds", ours=[1.0, 1.0])
    table = further_tables.machine(results)
    assert "Fast One, 2 cores, avx2" in table and "1: 20 ms, 2: 30 ms; (b) is given 1" in table
    assert row(table, "rounds")[1].startswith("2,") and "sentence-transformers" not in table


def test_the_page_has_a_place_for_every_table(results: Results) -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    fill(results, "full", "train_seconds", guide=[50], ours=[10])
    once = page.render(text, results)
    assert "| full, 3 epochs, batch 8 | 50.0 s |" in once and page.render(once, results) == once
    with pytest.raises(ValueError, match="no place"):
        page.render("nothing", results)


def test_without_results_the_page_says_so(tmp_path: Path) -> None:
    empty: Any = Results(tmp_path / "none.json")
    assert {table(empty) for table in page.TABLES.values()} == {tables.NOT_MEASURED}


def test_the_command_writes_the_page(results: Results, tmp_path: Path) -> None:
    copy = tmp_path / "page.md"
    copy.write_text(page.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    fill(results, "full", "train_seconds", guide=[50], ours=[10])
    assert page.main([str(results.file), "--page", str(copy)]) == 0
    assert "5.00 (5.00 to 5.00)" in copy.read_text(encoding="utf-8")
    with pytest.raises(SystemExit):
        page.main([str(tmp_path / "absent.json")])
