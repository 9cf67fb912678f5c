"""Carries out the checks of a recipe, one after the other, and gathers what they find."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from tunewise.audit.checks import CHECKS, Check
from tunewise.audit.finding import CannotLook, Finding
from tunewise.audit.language_read import as_read_by_people
from tunewise.audit.overview import Overview, overview
from tunewise.audit.pictured import pictured
from tunewise.audit.rendered import Rendered, rendered
from tunewise.audit.settings import CheckConfig, Kind
from tunewise.audit.view import View
from tunewise.data.drawn_images import ONE_KIND
from tunewise.data.taken import taken
from tunewise.errors import DataError
from tunewise.models.located import LocatedModel
from tunewise.types import IMAGE_GENERATION, DataBundle, Split

OnCheck = Callable[[str, float], None]
"""Is told of the check at work, and which share of it is done: 0 as it begins, 1 when it is done."""

OVERVIEW = "Rows, labels, lengths"


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
        findings: in the order of the checks.
        seconds: of each check that was carried out.
        left_out: checks that were not, and why.
        blocking: what the recipe wants to be stopped by.
        overview: what the data is; None where it was only looked at briefly.
        rendered: rows as the model gets them; none where the data was only looked at briefly.
        pictures: of images, what the page shows (`audit.pictured`).
    """

    findings: tuple[Finding, ...]
    seconds: Mapping[Kind, float]
    left_out: Mapping[Kind, str]
    blocking: tuple[Kind, ...] = ()
    overview: Overview | None = None
    rendered: tuple[Rendered, ...] = ()
    pictures: Mapping[str, Any] = field(default_factory=dict)

    def of(self, kinds: Collection[Kind]) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.kind in kinds)

    @property
    def by_weight(self) -> list[Finding]:
        """Findings of what the recipe wants to be stopped by first."""
        return sorted(self.findings, key=lambda finding: finding.kind not in self.blocking)

    @property
    def blocked(self) -> bool:
        """Whether something was found, or could not be looked for, that the recipe wants to be stopped by."""
        return bool(self.of(self.blocking)) or any(kind in self.left_out for kind in self.blocking)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as JSON has it; of what the recipe wants to be stopped by, the findings come first."""
        checks = [
            {
                "kind": check.kind,
                "title": check.title,
                "fine": check.fine,
                "blocks": check.kind in self.blocking,
                "findings": len(self.of([check.kind])),
                "seconds": self.seconds[check.kind],
            }
            for check in CHECKS
            if check.kind in self.seconds
        ]
        by_weight = self.by_weight
        return {
            "blocked": self.blocked,
            "blocking": list(self.blocking),
            "checks": checks,
            "findings": [{**asdict(finding), "count": finding.count} for finding in by_weight],
            "seconds": dict(self.seconds),
            "left_out": dict(self.left_out),
            "overview": self.overview and asdict(self.overview),
            "rendered": [asdict(row) for row in self.rendered],
            **({"pictures": dict(self.pictures)} if self.pictures else {}),
        }


def audit(
    data: DataBundle,
    located: LocatedModel,
    config: CheckConfig,
    kinds: Collection[Kind] | None = None,
    on_check: OnCheck = lambda kind, share: None,
    *,
    whole: bool = False,
    **options: Any,
) -> Audit:
    """Looks for `kinds` in data as training would get it; rows that balancing repeats count once.

    Args:
        located: the model that will read the texts.
        kinds: what to look for; everything but `config.skip` where left out.
        whole: tell what the data is, too, and show rows as the model gets them.
        options: `max_length`, `kept` and `sensitive` of the view.
    """
    labelled, data = data.schema.has_labels, _as_labelled(data)
    once = _once(data)
    view = View(as_read_by_people(once), config, located, raw=once, **options)
    findings: list[Finding] = []
    seconds, left_out = {}, {}
    for check in CHECKS:
        if check.kind in config.skip if kinds is None else check.kind not in kinds:
            continue
        if lacking := [package for package in check.packages if importlib.util.find_spec(package) is None]:
            left_out[check.kind] = f"needs {' and '.join(lacking)}: pip install 'tunewise[check]'"
            continue
        if not labelled and not check.language:
            left_out[check.kind] = "is for rows with labels"
            continue
        if data.schema.image and not check.images:
            left_out[check.kind] = "is for texts"
            continue
        if lacking := check.lacks(view):
            left_out[check.kind] = lacking
            continue
        on_check(check.title, 0.0)
        begun = time.perf_counter()
        try:
            findings += list(check.find(replace(view, progress=_told(check, on_check))))
        except CannotLook as reason:
            left_out[check.kind] = str(reason)
            continue
        seconds[check.kind] = time.perf_counter() - begun
        on_check(check.title, 1.0)
    found = Audit(tuple(findings), seconds, left_out, tuple(config.block))
    if not whole:
        return found
    return replace(
        found,
        overview=overview(view, lambda share: on_check(OVERVIEW, share)),
        rendered=rendered(view),
        pictures=pictured(view, found.by_weight),
    )


def before_training(data: DataBundle, located: LocatedModel, config: CheckConfig, **options: Any) -> Audit:
    """The brief checks, and those that the recipe wants to be stopped by.

    Raises:
        DataError: something that `check.block` names was found, or cannot be looked for.
    """
    brief = {check.kind for check in CHECKS if check.brief} - set(config.skip)
    found = audit(data, located, config, brief | set(config.block), **options)
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


def _as_labelled(data: DataBundle) -> DataBundle:
    """Images to draw the like of are looked at as those of a classification, be it of one class."""
    schema = data.schema
    if schema.task != IMAGE_GENERATION:
        return data
    return replace(data, schema=replace(schema, task="classification", labels=schema.labels or (ONE_KIND,)))


def _once(data: DataBundle) -> DataBundle:
    """Each row once, where `data.balance` repeats some."""
    return replace(data, splits={name: _rows_once(split) for name, split in data.splits.items()})


def _rows_once(split: Split) -> Split:
    _, first = np.unique(split.rows, return_index=True)
    if len(first) == len(split):
        return split
    return taken(split, np.sort(first))
