"""The recommendation in plain words: which method to take, what it scores and costs, what a cheaper one gives up.

Chosen on validation, reported on test; a difference that chance could make is called that. The same sentences stand in
the terminal and on the page. They are made of plain text: whoever shows them escapes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunewise.report.contents import Comparison
from tunewise.report.drawn import drawn_summary
from tunewise.report.entries import BLIND, Entry, entries_of, named_tests
from tunewise.report.figures import (
    COSTS,
    difference,
    difference_interval,
    interval,
    is_number,
    metric_name,
    plain,
    ratio,
    score,
    seconds,
)
from tunewise.report.soups import soup_pairs

_CHEAPER = {
    "train_seconds": "{ratio} cheaper to train ({cost})",
    "flops": "{ratio} cheaper in FLOPs ({cost})",
    "peak_memory_bytes": "{ratio} lighter in memory ({cost})",
    "saved_bytes": "{ratio} smaller on disk ({cost})",
}
_MOST_ALTERNATIVES = 4
_WORTH_SAYING = 1.15


@dataclass(frozen=True)
class Point:
    """One finding, with what it is about in a word or two."""

    topic: str
    text: str
    warning: bool = False


@dataclass(frozen=True)
class Advice:
    """The headline, whose middle part is the name of what to take (or nothing), a first sentence, and findings."""

    before: str
    pick: str
    after: str
    lead: str
    points: tuple[Point, ...]

    @property
    def headline(self) -> str:
        return f"{self.before}{self.pick}{self.after}"


def advise(comparison: Comparison) -> Advice:
    """What the comparison says, in words."""
    entries = entries_of(comparison)
    found = comparison["recommendation"]
    if not found:
        return Advice("No method has a result yet", "", ".", _what_happened(entries), tuple(run_points(comparison)))
    chosen = next((entry for entry in entries if entry.name == found["method"]), None)
    name = plain(found["method"], 60)
    others = [entry for entry in entries if entry.name != found["method"] and is_number(entry.mean)]
    after = "."
    if found["kind"] == "baseline":
        after = ": no fine-tuned model did better on validation."
    points = [
        *(_alternative(each, found) for each in _worth_a_look(found)),
        *_rivals(found, comparison["pairs"], entries),
        *_baseline(found),
        *_control(found, comparison["pairs"], entries),
        *_soups(comparison, found, entries),
        *_drawn(comparison),
        *_seeds(chosen, found),
        *_folds(comparison, found),
        *run_points(comparison),
    ]
    before = "Take " if others else ""
    if not others:
        after = f" scores {score(found['test']['mean'])}."
    return Advice(before, name, after, _lead(comparison, found, chosen, bool(others)), tuple(points))


def _lead(comparison: Comparison, found: Mapping[str, Any], chosen: Entry | None, choice: bool) -> str:
    test = found["test"]
    tests = named_tests(comparison)
    rows = comparison["data"]["rows"].get(tests[0]) if tests else None
    where = f"the {rows:,} test rows" if rows else "the test rows"
    folds = comparison.get("folds")
    if folds:
        where = f"all {folds['rows']:,} rows, each tested once in {folds['count']} folds"
    seeds = f"mean of {test['seeds']} seeds" if test["seeds"] > 1 else "one seed"
    text = (
        f"It scores {score(test['mean'])} {metric_name(found['metric'])} on {where} "
        f"({found['confidence']:.0%} interval {interval(test['low'], test['high'])}, {seeds})"
    )
    train = chosen.cost("train_seconds") if chosen else None
    if train is not None:
        text += f" and trains in {seconds(train)}" + (" per fold" if folds else "")
    if choice and is_number(found["validation"]):
        return f"{text}. It was chosen on validation, where it scores {score(found['validation'])}."
    return f"{text}."


def _worth_a_look(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The methods on the Pareto front that are cheaper by 15% or more, dearest first."""
    some = [
        each
        for each in found["alternatives"]
        if each["method"] not in BLIND and (each["times_cheaper"] is None or each["times_cheaper"] >= _WORTH_SAYING)
    ]
    return some[::-1][:_MOST_ALTERNATIVES]


def _alternative(alternative: Mapping[str, Any], found: Mapping[str, Any]) -> Point:
    """ "features is 9.1x cheaper to train (4.5 s) and 1.2 points lower (interval 0.1 to 2.4)." """
    name = plain(alternative["method"], 60)
    cost = COSTS[found["cost_name"]][1](alternative["cost"])
    times = alternative["times_cheaper"]
    cheaper = (
        _CHEAPER[found["cost_name"]].format(ratio=ratio(times), cost=cost) if is_number(times) else f"free ({cost})"
    )
    return Point("A cheaper choice", f"{name} is {cheaper} and {gap(alternative['pair'], found)}.")


def gap(pair: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """How the second of a pair stands to the first, with the interval, and whether chance could have made it."""
    value, low, high, metric = pair["difference"], pair["low"], pair["high"], found["metric"]
    if not is_number(value):
        return "its difference is undefined"
    lower = value >= 0
    if not lower:
        low, high = (-high, -low) if is_number(low) and is_number(high) else (low, high)
    if found["greater_is_better"]:
        way = "lower" if lower else "higher"
    else:
        way = "lower (better)" if lower else "higher (worse)"
    amount = f"{difference(value, metric)} {way}"
    if not (is_number(low) and is_number(high)):
        return amount
    ends = difference_interval(low, high, metric)
    if pair["distinguishable"]:
        return f"{amount} (interval {ends})"
    if low <= 0 <= high:
        return f"{amount}, a difference inside the interval ({ends}): it may be chance"
    return f"{amount} (interval {ends}), not certain once corrected for the number of comparisons"


def _rivals(found: Mapping[str, Any], pairs: Sequence[Mapping[str, Any]], entries: Sequence[Entry]) -> list[Point]:
    """The other methods that cannot be told from the chosen one, and those that beat it on test."""
    told = {alternative["method"] for alternative in _worth_a_look(found)}
    methods = {entry.name for entry in entries if entry.kind == "method"} - told
    against = [pair for pair in pairs if pair["first"] == found["method"] and pair["second"] in methods]
    equal = [plain(pair["second"], 60) for pair in against if not pair["distinguishable"]]
    points = []
    if equal:
        verb = "is" if len(equal) == 1 else "are"
        points.append(Point("Just as good", f"{_listed(equal)} {verb} so close that chance may make the difference."))
    for pair in against:
        if pair["better"] == pair["second"]:
            text = f"{plain(pair['second'], 60)} is {gap(pair, found)} on test, though not on validation."
            points.append(Point("Better on test", text, warning=True))
    return points


def _baseline(found: Mapping[str, Any]) -> list[Point]:
    pair = found["against_baseline"]
    if found["tuning_pays"] is None:
        return []
    if pair is None:
        text = "No: a baseline without a pretrained model scored best on validation."
        return [Point("Does tuning pay?", text, warning=True)]
    name, method, metric = plain(pair["second"], 60), plain(pair["first"], 60), found["metric"]
    value = pair["difference"] if found["greater_is_better"] else -pair["difference"]
    if found["tuning_pays"]:
        ends = sorted((pair["low"], pair["high"])) if found["greater_is_better"] else (-pair["high"], -pair["low"])
        text = f"Yes: {method} beats the baseline {name} by {difference(value, metric)}"
        return [Point("Does tuning pay?", f"{text} (interval {difference_interval(*ends, metric)}).")]
    text = f"Not shown: on test the baseline {name} is {gap(pair, found)}."
    return [Point("Does tuning pay?", text, warning=True)]


def _control(found: Mapping[str, Any], pairs: Sequence[Mapping[str, Any]], entries: Sequence[Entry]) -> list[Point]:
    controls = {entry.name for entry in entries if entry.kind == "control"}
    return [
        Point("Pretraining", f"From random weights ({plain(pair['second'], 60)}) the score is {gap(pair, found)}.")
        for pair in pairs
        if pair["first"] == found["method"] and pair["second"] in controls
    ]


def _soups(comparison: Comparison, found: Mapping[str, Any], entries: Sequence[Entry]) -> list[Point]:
    """How the means of several runs stand to the choice, and what they cost."""
    train = {entry.name: entry.cost("train_seconds") for entry in entries}
    points = []
    for pair in soup_pairs(comparison, found):
        cost = train.get(pair["second"])
        told = "" if cost is None else f" All its runs together take {seconds(cost)} to train."
        points.append(Point("Soups", f"{plain(pair['second'], 60)} is {gap(pair, found)}.{told}"))
    return points


def _drawn(comparison: Comparison) -> list[Point]:
    """How near to the test images what the methods draw is."""
    told = drawn_summary(comparison)
    return [Point("Images drawn", told)] if told else []


def _folds(comparison: Comparison, found: Mapping[str, Any]) -> list[Point]:
    """What to do with the choice, where no model of the comparison is the one to use."""
    if "folds" not in comparison or found["kind"] == "baseline":
        return []
    return [
        Point(
            "To use it",
            "Each fold's model has seen a part of the rows; none is the one to use. Train that by `tunewise train` on "
            "this method, without folds (--set data.folds=null).",
        )
    ]


def _seeds(chosen: Entry | None, found: Mapping[str, Any]) -> list[Point]:
    if chosen is None or found["test"]["seeds"] != 1 or chosen.kind != "method":
        return []
    return [Point("One seed", "With one seed, luck cannot be told from merit; run 3 or more.", warning=True)]


def run_points(comparison: Comparison) -> list[Point]:
    """Runs without a result, counted by what became of them."""
    counts: dict[str, int] = {}
    for run in comparison["runs"]:
        if run["status"] != "finished":
            counts[run["status"]] = counts.get(run["status"], 0) + 1
    if not counts:
        return []
    text = _listed([f"{number} {plain(status)}" for status, number in counts.items()])
    total = len(comparison["runs"])
    return [Point("Runs", f"Of {total} runs, {text}. The table says why; run the command again to go on.", True)]


def _what_happened(entries: Sequence[Entry]) -> str:
    errors = [run["error"]["what"] for entry in entries for run in entry.runs if run["error"]]
    if errors:
        return f"The first error: {plain(errors[0], 300)}"
    return "Nothing has finished yet." if entries else "There are no runs."


def _listed(names: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)
