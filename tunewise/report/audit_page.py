"""The page of `tunewise check`: what is wrong with the data, what it is, and what the model gets of it.

One self-contained file without scripts; every text is escaped by the template.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunewise.audit.rendered import Piece, folded
from tunewise.report.audit_words import (
    group_tables,
    headline,
    label_table,
    length_cells,
    length_heads,
    limit_told,
    summary_rows,
)
from tunewise.report.entries import last_part
from tunewise.report.figures import plain, seconds
from tunewise.report.page import render_page
from tunewise.report.pictures import audit_pictures
from tunewise.report.sections import recipe_text

TOKENS_SHOWN = 240
GROUPS_SHOWN = 40
ROWS_SHOWN = 40
"""Numbers of rows that are listed for a finding; check.json has all."""


def render_audit(content: Mapping[str, Any]) -> str:
    """The page as text.

    Args:
        content: `Audit.as_dict` of a whole audit, with `created` and `recipe`.
    """
    overview, pictures = content["overview"], audit_pictures(content)
    return render_page(
        "audit.html.j2",
        {},
        ("report.css", "audit.css", *(["pictures.css"] if pictures else [])),
        pictures=pictures,
        headline=headline(content),
        facts=_facts(content),
        tiles=_tiles(content),
        summary=[{**row, "seconds": seconds(row["seconds"])} for row in summary_rows(content)],
        sections=_sections(content, pictures.get("findings") or {}),
        overview=overview,
        limit=limit_told(overview),
        length_heads=length_heads(overview),
        lengths=[length_cells(split) for split in overview["splits"]],
        labels=label_table(overview),
        groups=group_tables(overview, GROUPS_SHOWN),
        rendered=[{**row, "pieces": _pieces(row)} for row in content["rendered"]],
        recipe=recipe_text(content["recipe"]),
    )


def _facts(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        ("data", last_part(str((content["recipe"].get("data") or {}).get("train")))),
        ("model", last_part(content["overview"]["model"])),
        ("task", plain(content["overview"]["task"])),
        ("made", plain(content["created"]).replace("T", " ")[:16]),
    ]


def _tiles(content: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of each split, with how many of them are cut."""
    return [(plain(split["name"], 40), f"{split['rows']:,}", _cut(split)) for split in content["overview"]["splits"]]


def _cut(split: Mapping[str, Any]) -> str:
    if split.get("width"):
        return "images"
    return f"{split['cut']:,} cut" if split["cut"] else "none cut"


def _sections(content: Mapping[str, Any], images: Mapping[int, list[str | None]]) -> list[dict[str, Any]]:
    """One for each kind of trouble that was found, what stops the work first."""
    sections = []
    for check in summary_rows(content):
        found = [
            _finding(finding, images.get(place, []))
            for place, finding in enumerate(content["findings"])
            if finding["kind"] == check["kind"]
        ]
        if found:
            sections.append({**check, "findings": found})
    return sections


def _finding(finding: Mapping[str, Any], images: list[str | None]) -> dict[str, Any]:
    """With the images of its examples, where these are some."""
    rows = finding["rows"]
    more = f" and {len(rows) - ROWS_SHOWN:,} more, in check.json" if len(rows) > ROWS_SHOWN else ""
    shown = images or [None] * len(finding["examples"])
    examples = [{**row, "image": image} for row, image in zip(finding["examples"], shown, strict=True)]
    return {**finding, "examples": examples, "listed": ", ".join(str(row) for row in rows[:ROWS_SHOWN]) + more}


def _pieces(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Tokens with the class of each: special, first, second (of a pair, or to be learnt), lost, more."""
    pieces = folded([Piece(**piece) for piece in row["pieces"]], TOKENS_SHOWN)
    names = {"text": ("first", "second"), "learnt": ("second",)}
    return [
        {
            "token": piece.token,
            "looks": names[piece.part][piece.of or 0] if piece.part in names else piece.part,
            "tag": "" if piece.tag == "O" else piece.tag,
        }
        for piece in pieces
    ]
