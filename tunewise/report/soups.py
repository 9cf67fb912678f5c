"""Soups in words: which runs each took, and how it stands to what is recommended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunewise.report.contents import Comparison
from tunewise.report.entries import entry_name
from tunewise.report.figures import metric_name, plain, score


def taken_of(soup: Mapping[str, Any]) -> str:
    """ "3 of 5 runs"."""
    taken = sum(member["taken"] for member in soup["members"])
    return f"{taken} of {len(soup['members'])} runs"


def member_words(member: Mapping[str, Any]) -> str:
    """A member: "last_k, seed 1: 0.912 on validation; with it 0.915"."""
    words = f"{plain(member['method'], 60)}, seed {member['seed']}: {score(member['validation'])} on validation"
    return words if member["tried"] is None else f"{words}; the mean with it {score(member['tried'])}"


def member_lines(soup: Mapping[str, Any]) -> list[str]:
    """What a soup took and what it left, a line each."""
    lines = [f"soup ({plain(soup['kind'])}, by {metric_name(soup['metric'])}): {taken_of(soup)} taken"]
    return lines + [f"  {'+' if one['taken'] else '-'} {member_words(one)}" for one in soup["members"]]


def card_line(soup: Mapping[str, Any]) -> str:
    """For the model card, not yet escaped."""
    names = [f"{member['method']} (seed {member['seed']})" for member in soup["members"] if member["taken"]]
    return (
        f"Its weights are the mean of those of {taken_of(soup)}: {', '.join(names)}. The costs below are those of all "
        f"{len(soup['members'])}."
    )


def soup_table(comparison: Comparison) -> list[dict[str, Any]]:
    """A row for each soup that was made: name, seed, fold, how many it took, its value on validation, and members as
    words with whether they were taken."""
    metric = comparison["metric"]
    return [
        {
            "name": plain(entry_name(run), 80),
            "seed": run["seed"],
            "fold": run.get("fold"),
            "taken": taken_of(run["soup"]),
            "validation": score((run["validation"].get(metric) or {}).get("value")),
            "members": [(member_words(member), member["taken"]) for member in run["soup"]["members"]],
        }
        for run in comparison["runs"]
        if run.get("soup") and run["status"] == "finished"
    ]


def soup_names(comparison: Comparison) -> set[str]:
    return {entry_name(run) for run in comparison["runs"] if run["kind"] == "soup"}


def soup_pairs(comparison: Comparison, found: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The recommended entry against each soup."""
    names = soup_names(comparison)
    return [pair for pair in comparison["pairs"] if pair["first"] == found["method"] and pair["second"] in names]
