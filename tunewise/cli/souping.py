"""`tunewise soup`: the mean of the models of several runs."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunewise.cli.options import AllowCode, AsJson, Out
from tunewise.cli.told_errors import told_errors

if TYPE_CHECKING:
    from tunewise.tracking.record import RunRecord


class Kind(StrEnum):
    """Which runs a soup takes."""

    UNIFORM = "uniform"
    GREEDY = "greedy"


def soup(
    runs: Annotated[list[Path], typer.Argument(help="Runs of one base model on the same rows.", metavar="RUN RUN...")],
    out: Out,
    kind: Annotated[
        Kind,
        typer.Option(help="uniform takes all; greedy, from the best on, each with which validation does not fall."),
    ] = Kind.GREEDY,
    metric: Annotated[str | None, typer.Option(help="What greedy goes by; the first run's where left out.")] = None,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
) -> None:
    """Average the weights of several runs into one model, in OUT/model.

    The runs have to begin with the same weights, the output layer included. OUT is a run as any other: predict,
    evaluate and the model of another recipe take it.
    """
    with told_errors():
        from tunewise.commit.room import check_writable

        check_writable(out)
        from tunewise.comparison.soup import make_soup

        record = make_soup(runs, out, kind.value, metric=metric, allow_code=allow_code)
        if as_json:
            print(json.dumps({"out": str(out), **record.as_dict()}))
            return
        _show(record, out)


def _show(record: RunRecord, out: Path) -> None:
    from tunewise.cli.printing import print_run
    from tunewise.report.soups import member_lines
    from tunewise.tracking.progress import plain_text

    plain = record.as_dict()
    for line in member_lines(plain["soup"]):
        print(plain_text(line))
    print_run(plain, record.soup["metric"])
    print(f"\nmodel:  {out / 'model'}\nrecord: {out / 'record.json'}")
