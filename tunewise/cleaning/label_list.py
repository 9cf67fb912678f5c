"""How `data.clean.labels` is given, and what a list of suspected labels looks like."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Literal

from pydantic import Field, model_validator

from tunewise.config.base import Config

COLUMNS = ("source", "row", "sha256", "text", "given", "suggested", "quality", "action")
"""Of the table that `tunewise check --suspects` writes. `source` is the key of the recipe's data section that names the
row's file: train, validation, test, or the name of a test set."""

ACTIONS = ("drop", "relabel")

_GUARDED = re.compile(r"'\s*[=+\-@＝＋－＠\t\r\n]")


class LabelListConfig(Config):
    file: str
    """The table of suspected labels, as `tunewise check --suspects FILE` writes it. Rows are known again by source,
    number and digest of the text; a list of other data is refused."""

    do: Literal["drop", "relabel"] | None = None
    """What to do with the rows whose column `action` is empty: leave them out (drop) or give them the suggested label
    (relabel). Where left out: nothing; only what was written into that column is done."""

    at_most: float = Field(default=1.0, ge=0, le=1)
    """`do` is for rows of at most this quality: 0.1 for the worst ones only."""

    @model_validator(mode="before")
    @classmethod
    def _from_short_form(cls, value: Any) -> Any:
        return {"file": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _quality_of_something(self) -> LabelListConfig:
        if self.at_most < 1 and self.do is None:
            raise ValueError("at_most says for which rows `do` is; give do: drop or do: relabel too")
        return self


def text_digest(texts: tuple[str, ...]) -> str:
    """`sha256:` and the hex digest of a row's text in UTF-8; of pairs, of both with U+001F between. The word before it
    keeps a spreadsheet from reading digits as a number."""
    return "sha256:" + hashlib.sha256("\x1f".join(texts).encode(errors="surrogatepass")).hexdigest()


def unguarded(cell: str) -> str:
    """A cell without the quote that keeps spreadsheets from reading it as a formula."""
    return cell[1:] if _GUARDED.match(cell) else cell
