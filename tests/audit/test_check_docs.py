"""docs/check.md: its table is made of the checks, its recipes are recipes, and its numbers those of the code."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import yaml

from tunewise.audit import coverage, imbalance
from tunewise.audit.checks import CHECKS
from tunewise.recipe import recipe_from

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/check.md").read_text(encoding="utf-8")


def test_the_table_is_that_of_the_checks() -> None:
    generate = runpy.run_path(str(ROOT / "docs/generate.py"))
    assert generate["with_checks"](PAGE) == PAGE, "run `make docs`: docs/check.md is outdated"
    assert all(f"| `{check.kind}` | " in PAGE for check in CHECKS)


def test_every_kind_has_a_check_of_its_own_name() -> None:
    from typing import get_args

    from tunewise.audit.settings import Kind

    assert sorted(check.kind for check in CHECKS) == sorted(get_args(Kind))


def test_its_recipes_can_be_read() -> None:
    shown = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)]
    assert len(shown) >= 2
    for part in shown:
        data = {"train": "a.csv", "label": "label", **part.pop("data", {})}
        recipe_from({"model": "m", "data": data, **part})


def test_its_numbers_are_those_of_the_code() -> None:
    assert (imbalance.UNEQUAL, imbalance.FEW, coverage.FEW, coverage.LEVEL, coverage.LEAST_EXPECTED) == (
        4,
        10,
        30,
        0.05,
        5,
    )
    for words in (
        "four times as many",
        "fewer than 10 rows",
        "fewer than 30 rows",
        "level of 5%",
        "fewer than 5 rows",
    ):
        assert words in " ".join(PAGE.split())
