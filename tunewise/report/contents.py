"""What `comparison.json` holds: the only thing a report is made of.

A run is one method on one model with one seed; an entry is the runs of a method on a model over all seeds. Every entry
has a `name`, unique in the comparison: the method's label, and the model behind it where several models are compared.
`pairs`, `recommendation` and `disagreements` call entries by that name. In the file, `sha256` seals the rest.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

Kind = Literal["method", "baseline", "control", "soup"]


class Interval(TypedDict):
    """A metric with its confidence interval; None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None


class CurvePoint(TypedDict):
    """One look at a run while it trains; what was not measured at that step is None. `metric` is on validation."""

    step: int
    epoch: float
    train_loss: float | None
    validation_loss: float | None
    metric: float | None


class Problem(TypedDict):
    """Why a run has no result."""

    what: str
    where: str | None
    fix: str | None


class Run(TypedDict):
    """One method on one model with one seed, in a cross-validation on one fold (from 1). `scores` and `confusion` go by
    test set, the first being the main one. `texts`: what a language model wrote (`RunRecord.texts`);
    `rounds`, `forgetting`, `soup`, `drawn` and `stacked`: as in `RunRecord`."""

    id: str
    name: NotRequired[str]
    method: str
    model: str
    seed: int
    fold: NotRequired[int]
    status: str
    kind: Kind
    scores: dict[str, dict[str, Interval]]
    validation: dict[str, Interval]
    costs: dict[str, float]
    marginal: dict[str, float]
    plan: dict[str, Any] | list[dict[str, Any]] | None
    curve: list[CurvePoint]
    confusion: dict[str, list[list[int]]]
    rounds: NotRequired[dict[str, Any]]
    texts: NotRequired[dict[str, Any]]
    forgetting: NotRequired[dict[str, Any]]
    soup: NotRequired[dict[str, Any]]
    drawn: NotRequired[dict[str, Any]]
    stacked: NotRequired[int]
    folder: str
    error: Problem | None
    warnings: list[str]


class MeanAndSpread(TypedDict):
    """Mean and standard deviation over seeds; `sd` is None with one seed."""

    mean: float | None
    sd: float | None


class Summary(TypedDict):
    """An entry: the primary metric on the main test set, over the seeds that finished. In a cross-validation a seed's
    predictions on all folds are scored as one, which `seeds` holds for each; costs are those of a fold."""

    name: NotRequired[str]
    method: str
    model: str
    kind: Kind
    runs: int
    finished: int
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    validation_mean: float | None
    costs: dict[str, float]
    scores: dict[str, MeanAndSpread]
    seeds: NotRequired[list[float]]


class Folds(TypedDict):
    """A cross-validation: how many folds, the rows that are tested, each once, and the rows of each split by fold."""

    count: int
    rows: int
    sizes: list[dict[str, int]]


class Data(TypedDict):
    """What was read; in a cross-validation, of the first fold. `rows` goes by split; `schema` and `steps` are
    types.Schema and types.DataStep as mappings; `findings` is what was found in it (audit.finding.Finding.told)."""

    fingerprint: str
    rows: dict[str, int]
    schema: dict[str, Any]
    steps: list[dict[str, Any]]
    findings: NotRequired[list[dict[str, Any]]]


class Thumbnails(TypedDict):
    """Small images of the page: data URIs by key; the names of images that could not be read any more; how many are
    shown by name alone, since a page has so many images and no more."""

    made: dict[str, str]
    gone: list[str]
    beyond: int


class SaidOfImage(TypedDict):
    """What a method says of an image; `probability` is that of the class or label `about`, `error` how far a number is
    off, `right` None for numbers."""

    decision: str | float
    about: str | None
    probability: float | None
    error: float | None
    right: bool | None


class Pictures(TypedDict):
    """What is shown of images. `methods`: how many there are, of which the best are shown; `samples`: some of each
    class, `said` by method; `mistakes` by method: their number, of how many rows, and the most certain ones;
    `looked_at`: `images` by key as the models get them, and by method how it was found, in how many forward passes, and
    the maps (`engine.looked_at.look`)."""

    methods: int
    samples: list[dict[str, Any]]
    mistakes: dict[str, dict[str, Any]]
    looked_at: dict[str, Any]
    thumbnails: Thumbnails


class Disagreement(TypedDict):
    """A test row on which the entries decide differently; labels by name, numbers, or lists of label names.

    As in `comparison.disagreements`, with the text (two for sentence pairs) added; of an image its name, and the key of
    its thumbnail.
    """

    row: int
    index: int
    text: str | list[str]
    truth: Any
    decisions: dict[str, Any]
    split: float
    thumbnail: NotRequired[str | None]


class Rate(TypedDict):
    """A learning rate that was tried: `scale` times the method's own; `value` on validation, None where it failed;
    `stacked` runs trained in one pass over the base, with `train_seconds` the share of each."""

    name: str
    scale: float
    learning_rate: float | None
    value: float | None
    train_seconds: float
    stacked: NotRequired[int]
    chosen: bool
    at_edge: bool


class LeftOut(TypedDict):
    """A method that does not run with a model, where the recipe left it to tunewise which methods to run."""

    method: str
    model: str
    reason: str


class Comparison(TypedDict):
    """The whole file. `recommendation` is that of `comparison.recommend`, `pairs` those of `comparison.statistics`."""

    format: int
    created: str
    recipe: dict[str, Any]
    metric: str
    greater_is_better: bool
    data: Data
    environment: dict[str, Any]
    runs: list[Run]
    summary: list[Summary]
    recommendation: dict[str, Any] | None
    pairs: list[dict[str, Any]]
    disagreements: list[Disagreement]
    rates: NotRequired[list[Rate]]
    left_out: NotRequired[list[LeftOut]]
    folds: NotRequired[Folds]
    pictures: NotRequired[Pictures]
    drawn: NotRequired[dict[str, dict[str, Any]]]
