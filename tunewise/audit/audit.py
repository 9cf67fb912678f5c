"""Carries out the checks of a recipe, one after the other, and gathers what they find."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from tunewise.audit.checks import CHECKS, Check
from tunewise.audit.finding import CannotLook, Finding
from tunewise.audit.settings import CheckConfig, Kind
from tunewise.audit.view import View
from tunewise.errors import DataError
from tunewise.models.locate import LocatedModel
from tunewise.types import DataBundle, Split

OnCheck = Callable[[str, float], None]
"""Is told of the check at work, and which share of it is done."""


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
        findings: in the order of the checks.
        seconds: of each check that was carried out.
        left_out: checks that were not, and why.
    """

    findings: tuple[Finding, ...]
    seconds: Mapping[Kind, float]
    left_out: Mapping[Kind, str]

    def of(self, kinds: Collection[Kind]) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.kind in kinds)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as JSON has it."""
        return {
            "findings": [{**asdict(finding), "count": finding.count} for finding in self.findings],
            "seconds": dict(self.seconds),
            "left_out": dict(self.left_out),
        }


def audit(
    data: DataBundle,
    located: LocatedModel,
    config: CheckConfig,
    kinds: Collection[Kind] | None = None,
    on_check: OnCheck = lambda kind, share: None,
) -> Audit:
    """Looks for `kinds` in data as training would get it; rows that balancing repeats count once.

    Args:
        located: the model that will read the texts.
        kinds: what to look for; everything but `config.skip` where left out.
    """
    view = View(_once(data), config, located)
    findings: list[Finding] = []
    seconds, left_out = {}, {}
    for check in CHECKS:
        if check.kind in config.skip if kinds is None else check.kind not in kinds:
            continue
        if lacking := [package for package in check.packages if importlib.util.find_spec(package) is None]:
            left_out[check.kind] = f"needs {' and '.join(lacking)}: pip install 'tunewise[check]'"
            continue
        begun = time.perf_counter()
        try:
            findings += list(check.find(replace(view, progress=_told(check, on_check))))
        except CannotLook as reason:
            left_out[check.kind] = str(reason)
            continue
        seconds[check.kind] = time.perf_counter() - begun
    return Audit(tuple(findings), seconds, left_out)


def before_training(data: DataBundle, located: LocatedModel, config: CheckConfig) -> Audit:
    """The brief checks, and those that the recipe wants to be stopped by.

    Raises:
        DataError: something that `check.block` names was found, or cannot be looked for.
    """
    brief = {check.kind for check in CHECKS if check.brief} - set(config.skip)
    found = audit(data, located, config, brief | set(config.block))
    refuse_blocked(found, config)
    return found


def refuse_blocked(found: Audit, config: CheckConfig) -> None:
    """Raises where something that `check.block` names was found.

    Raises:
        DataError: it was found, or a package is lacking to look for it; names splits and counts.
    """
    for kind in config.block:
        if kind in found.left_out:
            raise DataError(
                f"the recipe wants to be stopped by {kind}, which cannot be looked for: it {found.left_out[kind]}",
                where="check.block",
                fix="give it what it needs, or take it out of the list",
            )
    if bad := found.of(config.block):
        raise DataError(
            "; ".join(f"{finding.kind} in {finding.split}: {finding.what}" for finding in bad),
            where="check.block",
            fix="; ".join(dict.fromkeys(finding.fix for finding in bad if finding.fix)),
        )


def _told(check: Check, on_check: OnCheck) -> Callable[[float], None]:
    return lambda share: on_check(check.title, share)


def _once(data: DataBundle) -> DataBundle:
    """Each row once, where `data.balance` repeats some."""
    return replace(data, splits={name: _rows_once(split) for name, split in data.splits.items()})


def _rows_once(split: Split) -> Split:
    _, first = np.unique(split.rows, return_index=True)
    if len(first) == len(split):
        return split
    places = np.sort(first)
    return replace(
        split,
        texts=tuple(split.texts[place] for place in places),
        targets=split.targets[places],
        rows=split.rows[places],
        columns={name: tuple(cells[place] for place in places) for name, cells in split.columns.items()},
    )
