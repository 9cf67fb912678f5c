"""What a curve says in plain words: whether more rows or another method would help more, only as sure as its intervals.

Made of plain text: whoever shows it escapes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunewise.report.figures import difference, difference_interval, in_points, metric_name, plain, score
from tunewise.report.words import Advice, Point, run_points

Content = Mapping[str, Any]


def advise_curve(content: Content) -> Advice:
    """The advice of curve.json's content."""
    asked = content["question"]
    if not asked:
        return Advice("No run on all rows has a result yet", "", ".", "", tuple(run_points(content)))
    drawn = next(curve for curve in content["curves"] if curve["name"] == asked["drawing"])
    twice = drawn["law"]["twice"] if drawn["law"] else None
    before, pick, after = _headline(asked, twice, content["metric"])
    sentences = [text for text in (_rows(drawn, content), _method(asked, content), _more(asked, content)) if text]
    points = [
        *(point for curve in content["curves"] for point in _of_curve(curve, content)),
        *_one_seed(content),
        *run_points(content),
    ]
    return Advice(before, pick, after, " ".join(sentences), tuple(points))


def signed(gain: float, metric: str) -> str:
    """ "+1.3 points", "−0.2 points"."""
    return f"{'−' if gain < 0 else '+'}{difference(gain, metric)}"


def gain_words(gain: Mapping[str, Any], metric: str) -> str:
    """ "+1.3 points (0.4 to 2.2)"."""
    ends = difference_interval(gain["low"], gain["high"], metric) if gain["low"] is not None else "interval undefined"
    return f"{signed(gain['gain'], metric)} ({ends})"


def _headline(asked: Content, twice: Content | None, metric: str) -> tuple[str, str, str]:
    method = plain(asked["method"], 60) if asked["method"] else ""
    more = asked["more"]
    if more and more["says"] == "rows":
        return "More rows", "", f" would help more than {method} does."
    if more and more["says"] == "method":
        return "Take ", method, ": that helps more than twice the rows would."
    if more:
        return "More rows or ", method, ": which would help more cannot be told."
    if twice:
        return f"Twice the rows would probably bring {signed(twice['gain'], metric)}", "", "."
    if method and asked["method_gain"]["distinguishable"] and asked["method_gain"]["gain"] > 0:
        return "Take ", method, "; what more rows would bring cannot be told."
    return "What more rows would bring cannot be told", "", "."


def _rows(curve: Content, content: Content) -> str:
    """What twice the rows would probably give the method that draws the curve."""
    name, metric, law = plain(curve["name"], 60), content["metric"], curve["law"]
    if law is None:
        return f"What more rows would bring to {name} is not known: {plain(curve['why_no_law'])}."
    if law["twice"] is None:
        return f"What more rows would bring to {name} is not foretold: {plain(law['why'])}."
    twice = law["twice"]
    many = f"Twice as many training rows ({twice['to_rows']:,})"
    if not _worth_telling(twice["low"], metric):
        most = signed(twice["high"], metric)
        return f"{many} might bring nothing to {name}, and at most {most} {metric_name(metric)}."
    return f"{many} would probably bring {gain_words(twice, metric)} of {metric_name(metric)} to {name}."


def _worth_telling(value: float, metric: str) -> bool:
    """Whether a gain is more than 0 as it is written."""
    return value >= (0.0005 if in_points(metric) else 1e-9)


def _method(asked: Content, content: Content) -> str:
    """What the best other method has today."""
    if asked["method"] is None:
        return "The recipe names no other method to hold against that."
    gain, name = asked["method_gain"], plain(asked["method"], 60)
    if gain["gain"] is None:
        return ""
    if gain["distinguishable"]:
        verb = "brings" if gain["gain"] > 0 else "is worse:"
        return f"{name} {verb} {gain_words(gain, content['metric'])} today, on the rows there are."
    words = gain_words(gain, content["metric"])
    return f"{name} stands at {words} today, a difference that chance may have made."


def _more(asked: Content, content: Content) -> str:
    more = asked["more"]
    if not more:
        return ""
    ends = difference_interval(more["low"], more["high"], content["metric"])
    if more["says"] == "unclear" and more["low"] is not None and more["low"] > 0:
        return f"The method may be ahead ({ends}); its own gain is not certain."
    if more["says"] == "unclear":
        return f"Which of the two helps more is inside the interval of their difference ({ends})."
    side = "The method is" if more["says"] == "method" else "More rows are"
    sign = 1 if more["says"] == "method" else -1
    ends = difference_interval(*sorted((sign * more["low"], sign * more["high"])), content["metric"])
    return f"{side} ahead by {difference(more['difference'], content['metric'])} ({ends})."


def _of_curve(curve: Content, content: Content) -> list[Point]:
    metric, name, law = content["metric"], plain(curve["name"], 60), curve["law"]
    points = []
    if doubling := curve["doubling"]:
        text = f"From {doubling['from_rows']:,} rows to {doubling['to_rows']:,}, {name} gained"
        chance = "" if doubling["low"] is not None and doubling["low"] > 0 else ": it may be chance"
        points.append(Point("The last doubling", f"{text} {gain_words(doubling, metric)}, measured{chance}."))
    if law and (back := law["back_test"]):
        text = (
            f"The sizes up to {back['from_rows']:,} rows foretold {score(back['foretold'])} for {name} on "
            f"{back['to_rows']:,}; measured: {score(back['measured'])}"
        )
        held = "as it may" if back["holds"] else "further off than chance explains"
        points.append(Point("Looking back", f"{text}, {held}.", warning=not back["holds"]))
    if curve["why_no_law"] or (law and law["why"]):
        points.append(Point("No forecast", f"{name}: {plain(curve['why_no_law'] or law['why'])}.", warning=True))
    return points


def _one_seed(content: Content) -> list[Point]:
    if len({run["seed"] for run in content["runs"]}) > 1:
        return []
    text = "Each share was drawn once: the luck of the draw is not in the intervals; give the recipe 3 seeds or more."
    return [Point("One seed", text, warning=True)]
