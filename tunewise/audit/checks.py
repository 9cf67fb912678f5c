"""Every check, in the order in which findings are shown: what is in this tuple is looked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tunewise.audit import conflicting_labels, duplicates, label_errors, leakage, personal_data
from tunewise.audit.finding import Finding
from tunewise.audit.settings import Kind
from tunewise.audit.view import View


@dataclass(frozen=True)
class Check:
    """One thing to look for.

    Attributes:
        find: what finds it; imports nothing heavy before it is called.
        title: what it is called on the page and in the terminal.
        brief: whether it is quick enough to be looked for before every training, beside what `data.prepare` tells.
        packages: what must be installed; where one is not, the check is left out, and this is told.
    """

    kind: Kind
    find: Callable[[View], Iterator[Finding]]
    title: str
    brief: bool = False
    packages: tuple[str, ...] = ()


CHECKS: tuple[Check, ...] = (
    Check("duplicates", duplicates.find, "Repeated rows"),
    Check("conflicting_labels", conflicting_labels.find, "One text, several labels"),
    Check("leakage", leakage.find, "Test rows that the model has seen"),
    Check("label_errors", label_errors.find, "Labels that are likely wrong", packages=("cleanlab",)),
    Check("personal_data", personal_data.find, "Personal data", packages=("presidio_analyzer",)),
)
