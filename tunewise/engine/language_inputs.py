"""What a model reads of the splits of a language task; training rows that would teach nothing are left out."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import numpy as np

from tunewise.data.inputs import Inputs
from tunewise.data.labelled import LabelledTokens
from tunewise.data.language_cuts import told_cuts
from tunewise.data.pairs import PairTokens
from tunewise.data.taken import taken
from tunewise.engine.events import Warned
from tunewise.engine.job import Job
from tunewise.errors import DataError
from tunewise.models.load import Net

MOST_NAMED = 8


def encoded_splits(net: Net, job: Job) -> tuple[Job, dict[str, Inputs]]:
    """The inputs of every split, and the job whose training rows are those of them that have something to learn. What
    was cut and left out is told.

    Raises:
        DataError: a split has no row of which anything is to be learnt.
    """
    both = net.model.config.is_encoder_decoder

    def encoded(name: str) -> Inputs:
        return job.objective.encode(job.data.splits[name], net.tokenizer, net.max_length, both)

    inputs = {name: encoded(name) for name in job.data.splits}
    for name, read in inputs.items():
        if len(read) and len(empty_rows(read)) == len(read):
            raise DataError(
                f"none of the {len(read):,} rows of {name} has a token to learn, as the model reads them",
                where=job.data.splits[name].source,
                fix="set train.max_length higher, or look at what `tunewise check` shows of the rows",
            )
    if len(empty := empty_rows(inputs["train"])):
        job = _without(job, empty)
        inputs["train"] = encoded("train")
    for name, read in inputs.items():
        for line in told_cuts(read, name, net.max_length):
            job.observers.emit(Warned(line))
    return job, inputs


def empty_rows(read: Inputs) -> np.ndarray:
    """The rows of which nothing is left to learn, ascending, int64; of pairs, those with such an answer."""
    tokens = read.both if isinstance(read, PairTokens) else read
    if not isinstance(tokens, LabelledTokens):
        return np.zeros(0, np.int64)
    return np.unique(tokens.empty_rows % max(1, len(read)))


def _without(job: Job, rows: np.ndarray) -> Job:
    """The same job without these training rows; what it has learnt of the memory is shared."""
    train, size = job.data.splits["train"], job.pass_size
    named = ", ".join(str(number) for number in train.rows[rows[:MOST_NAMED]])
    more = f" and {len(rows) - MOST_NAMED:,} more" if len(rows) > MOST_NAMED else ""
    told = f"{len(rows):,} of {len(train):,} rows of train are left out of training: they have no token to learn"
    job.observers.emit(Warned(f"{told} (rows {named}{more})"))
    rest = taken(train, np.delete(np.arange(len(train)), rows))
    job = copy(job)
    job.data = replace(job.data, splits={**job.data.splits, "train": rest})
    job.pass_size = size
    return job
