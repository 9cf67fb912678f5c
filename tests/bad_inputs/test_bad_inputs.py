"""Every kind of bad input that users send: a typed error with its exact text, or a repair that is told and right."""

from __future__ import annotations

import time

import pytest
from case import WEIGHTS, Case, Desk, all_cases
from kinds import KINDS, WAITING
from typer.testing import CliRunner

from tunewise.cli.main import app

CASES = all_cases()
KNOWN = [kind for kinds in KINDS.values() for kind in kinds]


def test_none_of_the_64_kinds_is_missing() -> None:
    assert [len(kinds) for kinds in KINDS.values()] == [12, 12, 10, 8, 8, 9, 5]
    assert len(set(KNOWN)) == 64
    assert set(WAITING) < set(KNOWN) and set(WAITING.values()) == {"chat data"}
    covered = {case.kind for case in CASES}
    assert covered | set(WAITING) == set(KNOWN), "a kind has no case, or a case no kind"
    assert not covered & set(WAITING), "it does not wait any more: take it out of WAITING"
    names = [(case.kind, case.name) for case in CASES]
    assert len(set(names)) == len(names)
    assert all(bool(case.told) + bool(case.repair) + bool(case.read_as) == 1 for case in CASES)
    assert all(case.proof for case in CASES if not case.told), "a repair whose result nobody looks at"


def filled(text: str, desk: Desk) -> str:
    return text.replace("{folder}", str(desk.folder)).replace("{model}", str(desk.model))


def with_out(case: Case, desk: Desk) -> list[str]:
    arguments = case.make(desk)
    return [*arguments, "--out", str(desk.folder / "out")] if arguments[0] in ("train", "compare") else arguments


def named(case: Case) -> str:
    return f"{case.kind}: {case.name}"


@pytest.mark.parametrize("case", [case for case in CASES if case.told], ids=named)
def test_an_error_says_what_where_and_what_to_do(case: Case, desk: Desk, request: pytest.FixtureRequest) -> None:
    arguments = with_out(case, desk)
    if not case.reads_weights:
        request.getfixturevalue("no_weights")
    start = time.process_time()
    result = CliRunner().invoke(app, arguments)
    seconds = time.process_time() - start
    said = result.stderr
    assert (said[-len(filled(case.told, desk)) :] if case.reads_weights else said) == filled(case.told, desk)
    assert result.exit_code == case.exit_code != 0
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert any(mark in result.stderr for mark in ("to do: ", " problems:", ": give either "))
    assert (desk.folder / "out").exists() <= bool(case.reads_weights) and not result.stdout
    assert seconds < 5  # of this process: others may have the machine


@pytest.mark.parametrize("case", [case for case in CASES if not case.told], ids=named)
def test_a_repair_is_told_and_right(case: Case, desk: Desk, request: pytest.FixtureRequest) -> None:
    arguments = with_out(case, desk)
    if not case.reads_weights:
        request.getfixturevalue("no_weights")
    start = time.process_time()
    result = CliRunner().invoke(app, arguments)
    assert time.process_time() - start < 5
    assert arguments[0] != "train" or result.stderr.endswith(WEIGHTS), "it stopped before the weights were read"
    if case.repair:
        assert f"{filled(case.repair, desk)}\n" in result.stderr
    else:
        told = [line for line in result.stderr.splitlines() if line.startswith(("data: ", "warning: "))]
        assert all(line.startswith(("data: split: ", "data: imbalance in ")) for line in told)  # there are few rows
    case.proof(desk)


@pytest.mark.parametrize("kind", ["unknown key", "ragged rows", "torn last line", "single class"])
def test_compare_says_the_same(kind: str, desk: Desk, no_weights: None) -> None:
    case = next(case for case in CASES if case.kind == kind)
    recipe = case.make(desk)[1]
    result = CliRunner().invoke(app, ["compare", recipe, "--out", str(desk.folder / "out")])
    assert (result.stderr, result.exit_code) == (filled(case.told, desk), 2)
    assert not (desk.folder / "out").exists()
