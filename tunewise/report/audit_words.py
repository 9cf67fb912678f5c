"""What an audit found in words and tables of text, the same on the terminal and on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunewise.report.figures import is_number, plain, score

Table = tuple[str, list[str], list[list[str]]]
"""A title, the heads of its columns, and its rows."""

RATES_SHOWN = 6
"""Labels whose rates are shown for each group: those that differ most between groups."""

WHAT_SHOWN = 120
"""Letters of a finding in the summary; below it stands whole."""

TEXT_KEPT = {"head": "beginnings", "tail": "ends", "both": "beginnings and ends"}  # of "chunks" all, in windows


def count_of(number: int, one: str) -> str:
    """ "1 row", "2,000 rows"."""
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def headline(audit: Mapping[str, Any]) -> str:
    """How much there is to look at, and whether it stops the work."""
    found = [check for check in audit["checks"] if check["findings"]]
    stops = [check["kind"] for check in audit["checks"] if check["findings"] and check["blocks"]]
    stops += [kind for kind in audit["left_out"] if kind in audit["blocking"]]
    rows = sum(split["rows"] for split in audit["overview"]["splits"]) if audit["overview"] else 0
    of = f" in {count_of(rows, 'row')}" if rows else ""
    if not found and not stops:
        return f"Nothing found{of}"
    told = f"{count_of(len(found), 'kind')} of trouble found{of}"
    return f"{told}; {' and '.join(stops)} would stop training" if stops else f"{told}; nothing that stops training"


def summary_rows(audit: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each check, with kind, title, state, told, seconds: what stops the work first, then what was found,
    what is fine, what was not looked for."""
    rows = []
    for check in audit["checks"]:
        found = [finding for finding in audit["findings"] if finding["kind"] == check["kind"]]
        state = "fine" if not found else "stops" if check["blocks"] else "found"
        told = _told(found) if found else check["fine"]
        rows.append({**check, "state": state, "told": told})
    for kind, reason in audit["left_out"].items():
        state = "stops" if kind in audit["blocking"] else "left out"
        rows.append(
            {"kind": kind, "title": kind, "state": state, "told": f"not looked for: it {reason}", "seconds": None}
        )
    order = ("stops", "found", "fine", "left out")
    return sorted(rows, key=lambda row: order.index(row["state"]))


def _told(found: list[Mapping[str, Any]]) -> str:
    """ "12 rows of train, 3 rows of test (as in train)"; of findings without rows the first in its words."""
    if all(finding["count"] for finding in found):
        return ", ".join(
            f"{count_of(finding['count'], 'row')} of {finding['split']}{_like(finding)}" for finding in found
        )
    more = f"; and {len(found) - 1:,} more" if len(found) > 1 else ""
    return f"{found[0]['split']}: {plain(found[0]['what'], WHAT_SHOWN)}{more}"


def _like(finding: Mapping[str, Any]) -> str:
    return f" (as in {finding['details']['also_in']})" if "also_in" in finding["details"] else ""


def limit_told(overview: Mapping[str, Any]) -> str:
    """What is read of a text at most."""
    if overview["splits"][0].get("width"):
        return "images"
    limit, most = overview["limit"], overview["model_limit"]
    if limit is None:
        return "texts of any length are read"
    could = f" of the {most:,} that the model could" if most and most > limit else ""
    if overview["kept"] == "chunks":
        return f"at most {limit:,} tokens{could} are read at a time; longer rows in several windows"
    if overview["splits"][0].get("prompt"):
        kept = "too long prompts lose their beginnings, answers and texts their ends"
        return f"at most {limit:,} tokens of a row are read{could}; {kept}"
    return f"at most {limit:,} tokens of a row are read{could}; of longer ones the {TEXT_KEPT[overview['kept']]}"


def length_cells(split: Mapping[str, Any]) -> list[str]:
    """Split, rows, characters, tokens, longest, rows cut, tokens lost; of images their width and height."""
    if split.get("width"):
        return [split["name"], f"{split['rows']:,}", _quantiles(split["width"]), _quantiles(split["height"])]
    characters, tokens = split["characters"], split["tokens"]
    return [
        split["name"],
        f"{split['rows']:,}",
        _quantiles(characters),
        _quantiles(tokens),
        f"{split['cut']:,}",
        f"{split['tokens_lost']:,}",
    ]


LENGTH_HEADS = (
    "split",
    "rows",
    "characters (median / 95% / most)",
    "tokens (median / 95% / most)",
    "cut",
    "tokens lost",
)


def length_heads(overview: Mapping[str, Any]) -> tuple[str, ...]:
    """The heads of `length_cells`."""
    if overview["splits"][0].get("width"):
        return ("split", "images", "width in pixels (median / 95% / most)", "height")
    return LENGTH_HEADS


def _quantiles(lengths: Mapping[str, Any]) -> str:
    return f"{lengths['median']:,} / {lengths['most_rows']:,} / {lengths['longest']:,}"


def label_table(overview: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: of each label its rows (of a type of entity, how many there are) in each split, the most frequent
    in train first; of numbers their quantiles."""
    splits = overview["splits"]
    names = [split["name"] for split in splits]
    if overview["task"] == "regression":
        quantiles = list(splits[0]["quantiles"])
        return ["number to predict", *names], [
            [q, *(score(split["quantiles"][q]) for split in splits)] for q in quantiles
        ]
    if splits[0].get("prompt"):
        kinds = {"prompt": "tokens that are given", "answer": "tokens to learn", "turns": "answers of a row"}
        table = [[told, *(_quantiles(split[kind]) for split in splits)] for kind, told in kinds.items()]
        return ["median / 95% / most", *names], table
    first = splits[0]["labels"]
    rows = [[label, *(_share(split, label) for split in splits)] for label in sorted(first, key=lambda x: -first[x])]
    if any(split["without"] for split in splits):
        rows.append(["(rows without any)", *(f"{split['without']:,}" for split in splits)])
    head = {"token_classification": "entities", "multilabel": "label"}.get(overview["task"], "class")
    return [head, *names], rows


def _share(split: Mapping[str, Any], label: str) -> str:
    whole = sum(split["labels"].values()) or 1
    return f"{split['labels'][label]:,} ({split['labels'][label] / whole:.1%})"


def group_tables(overview: Mapping[str, Any], most: int) -> list[Table]:
    """A table for each split and sensitive column: rows, typical length, and the rates of the labels that differ most
    (or mean and spread of the number), of the `most` largest groups."""
    tables = []
    for split in overview["splits"]:
        for column, groups in split["groups"].items():
            labels = _most_different(groups)
            numbers = overview["task"] == "regression"
            images = bool(split.get("width"))
            lengths = [] if images else ["characters (median)"]
            heads = [column, "rows", *lengths, *(["mean", "spread"] if numbers else labels)]
            rows = []
            for group in groups[:most]:
                shares = [f"{group['rates'][label]:.1%}" for label in labels]
                known = (
                    [score(group["mean"]), score(group["sd"]) if is_number(group["sd"]) else ""] if numbers else shares
                )
                rows.append(
                    [
                        group["value"],
                        f"{group['rows']:,}",
                        *([] if images else [f"{group['median_characters']:g}"]),
                        *known,
                    ]
                )
            if len(groups) > most:
                rest = sum(group["rows"] for group in groups[most:])
                rows.append([f"({len(groups) - most:,} smaller groups)", f"{rest:,}", *[""] * (len(heads) - 2)])
            tables.append((f"{column} in {split['name']}", heads, rows))
    return tables


def _most_different(groups: list[Mapping[str, Any]]) -> list[str]:
    spread: dict[str, float] = {}
    for label in groups[0]["rates"] if groups else ():
        rates = [group["rates"][label] for group in groups]
        spread[label] = max(rates) - min(rates)
    chosen = sorted(spread, key=lambda label: -spread[label])[:RATES_SHOWN]
    return [label for label in spread if label in chosen]
