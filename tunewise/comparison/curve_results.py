"""Records and predictions of the runs of a curve -> the content of curve.json (see report/curve_contents.py)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from tunewise.comparison.curve_plan import CurvePlan
from tunewise.comparison.entry import Entry
from tunewise.comparison.judged import predictions_of
from tunewise.comparison.learning import Learning, gains_of, learn
from tunewise.comparison.recommend import choose, mean_scores
from tunewise.comparison.records import Records
from tunewise.comparison.results import mean_costs, plain, run_lines, tuned_of
from tunewise.comparison.statistics import Bootstrap, Pair, bootstrap, compare_pairs, summarise
from tunewise.evaluate.intervals import interval
from tunewise.tracking.environment import environment
from tunewise.tracking.record import RunRecord

FORMAT = 1


def build_curve(plan: CurvePlan, runs: Records) -> dict[str, Any]:
    """Statistics on what has finished; the rest is listed with its status. Plain JSON data without NaN."""
    checked = plan.checked
    data, evaluator, metric = checked.data, checked.evaluator, checked.metric
    main = next(iter(data.tests))
    records = {entry: runs.read(entry.folder) for entry in plan.entries}
    finished = {entry: record for entry, record in records.items() if record and record.status == "finished"}
    test = predictions_of(finished, main)
    boot = bootstrap(test, evaluator, metric) if test else None
    validation = mean_scores(predictions_of(finished, "validation"), evaluator, metric)
    names = {choice.label: {share: plan.name_of(choice, share) for share in plan.shares} for choice in plan.drawing}
    learned = {label: _learned(plan, boot, named, test) for label, named in names.items()}
    content = {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "recipe": plan.recipe.as_dict(),
        "metric": metric,
        "greater_is_better": evaluator.greater_is_better(metric),
        "confidence": evaluator.config.confidence,
        "data": {
            "fingerprint": data.fingerprint,
            "rows": {name: len(split) for name, split in data.splits.items()},
            "schema": asdict(data.schema),
            "steps": [asdict(step) for step in data.steps],
        },
        "environment": {**environment(), **tuned_of(finished.values())},
        "shares": [{"share": share, "rows": rows} for share, rows in plan.shares.items()],
        "runs": [{**run_lines(entry, record), "share": entry.share} for entry, record in records.items()],
        "left_out": [asdict(entry) for entry in checked.left_out],
        "curves": [
            {
                "name": label,
                "points": _points(plan, boot, named, finished),
                **_told(learned[label]),
            }
            for label, named in names.items()
        ],
    }
    return plain(content | _against(plan, boot, validation, finished, learned))


def _learned(
    plan: CurvePlan, boot: Bootstrap | None, named: Mapping[float, str], test: Mapping[str, Sequence[Any]]
) -> Learning:
    """What is known of a curve, from the shares whose seeds have all finished."""
    seeds = len(plan.recipe.all_seeds)
    sizes = [(name, plan.shares[share]) for share, name in named.items() if len(test.get(name, ())) == seeds]
    if boot is None or named[1.0] not in {name for name, _ in sizes}:
        return Learning(None, "not all runs on all rows have finished", None)
    return learn(boot, sizes)


def _told(found: Learning) -> dict[str, Any]:
    return {
        "law": asdict(found.law) if found.law else None,
        "why_no_law": found.why_no_law,
        "doubling": asdict(found.doubling) if found.doubling else None,
    }


def _points(
    plan: CurvePlan, boot: Bootstrap | None, named: Mapping[float, str], finished: Mapping[Entry, RunRecord]
) -> list[dict[str, Any]]:
    """The metric on each share, with its interval over rows and seeds."""
    summaries = {summary.method: summary for summary in summarise(boot)} if boot else {}
    costs = mean_costs(dict(finished))
    points = []
    for share, name in named.items():
        found = summaries.get(name)
        points.append(
            {
                "share": share,
                "rows": plan.shares[share],
                "name": name,
                "runs": sum(entry.name == name for entry in plan.entries),
                "finished": found.seeds if found else 0,
                **{key: getattr(found, key, None) for key in ("mean", "sd", "low", "high")},
                "seeds": boot.methods[name].points.tolist() if found else [],
                "train_seconds": costs.get(name, {}).get("train_seconds"),
            }
        )
    return points


def _against(
    plan: CurvePlan,
    boot: Bootstrap | None,
    validation: Mapping[str, float],
    finished: Mapping[Entry, RunRecord],
    learned: Mapping[str, Learning],
) -> dict[str, Any]:
    """The methods on all rows, and more rows against the method that is better on validation.

    The curve that speaks is that of the drawing method which is best on validation, and `method` the best of all
    others; both are chosen on validation, and their difference is on test.
    """
    whole = [entry.name for entry in plan.entries if entry.share is None]
    kinds = {entry.name: entry.kind for entry in plan.entries if entry.share is None}
    if boot is None:
        return {"methods": [], "pairs": [], "question": None}
    part = replace(boot, methods={name: boot.methods[name] for name in dict.fromkeys(whole) if name in boot.methods})
    costs = mean_costs(dict(finished))
    seconds = {name: values["train_seconds"] for name, values in costs.items()}
    known = {name: validation[name] for name in part.methods if name in validation}
    drawing = choose({n: v for n, v in known.items() if n in learned}, boot.greater_is_better, kinds, seconds)
    others = {name: value for name, value in known.items() if name != drawing}
    better = choose(others, boot.greater_is_better, kinds, seconds)
    pairs = compare_pairs(part, drawing, kinds) if drawing else ()
    methods = [
        {**asdict(summary), "kind": kinds[summary.method], "validation": validation.get(summary.method)}
        | {"train_seconds": seconds.get(summary.method)}
        for summary in summarise(part)
    ]
    question = _question(boot, drawing, better, pairs, learned[drawing]) if drawing else None
    return {"methods": methods, "pairs": [asdict(pair) for pair in pairs], "question": question}


def _question(
    boot: Bootstrap, drawing: str, better: str | None, pairs: Sequence[Pair], found: Learning
) -> dict[str, Any]:
    """Whether more rows or another method would help more: each side, and their difference where both are known."""
    asked: dict[str, Any] = {"drawing": drawing, "method": better, "method_gain": None, "more": None}
    if better is None:
        return asked
    gains = gains_of(boot, better, drawing)
    pair = next(pair for pair in pairs if pair.second == better)
    sign = -1 if boot.greater_is_better else 1
    ends = sorted(sign * end for end in (pair.low, pair.high))
    sure = {"p_adjusted": pair.p_adjusted, "distinguishable": pair.distinguishable}
    asked["method_gain"] = {"gain": sign * pair.difference, "low": ends[0], "high": ends[1], **sure}
    if found.twice_gains is not None and len(gains) == len(found.twice_gains):
        difference = gains - found.twice_gains
        low, high = interval(difference, boot.confidence)
        says = "unclear"
        if math.isfinite(low) and not low <= 0 <= high and (pair.distinguishable or high < 0):
            says = "method" if low > 0 else "rows"
        gain = asked["method_gain"]["gain"] - found.law.twice.gain
        asked["more"] = {"difference": gain, "low": low, "high": high, "says": says}
    return asked
