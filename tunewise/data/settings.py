"""The `data` section of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from tunewise.cleaning.settings import CleanConfig
from tunewise.config.base import Config
from tunewise.data.picture import MOST_PIXELS
from tunewise.types import Task


class DataConfig(Config):
    train: str
    """File (CSV, TSV, JSON, JSONL, Parquet, CoNLL, plain text), a folder of images (one folder for each class, in
    folders called train, val and test where it holds splits), of Parquet files (the shards of one table, or
    of splits by their names) or one saved by `datasets`, `hub:owner/name` (a dataset of the hub), or
    `example:customer-messages`, the data that comes with tunewise. `@split` after folder or id takes that split. Paths
    are relative to the recipe."""

    validation: str | None = None
    """Rows to choose on (early stopping, best epoch, which method to take). Split off from train when not given."""

    test: str | dict[str, str] | None = None
    """Rows to report on: one source, or several by name. Split off from train when not given."""

    text: str | int | list[str | int] | None = None
    """Column with the text; two columns for pairs of sentences; the column with the words (lists) for entities; for
    language models the column of texts, prompts or conversations. Where left out: the only column of text, or of words
    beside the tags; for language models told from the names of the columns."""

    image: str | int | None = None
    """Column with the image: paths, bytes, or both as `datasets` saves them. Where left out: the images of a folder, or
    the only column of bytes; a table with paths needs it."""

    image_folder: str | None = None
    """Folder that paths of images start from, and must not leave, by `..` or links. Where left out: that of the file
    with the paths."""

    max_pixels: int = Field(default=MOST_PIXELS, ge=1, le=MOST_PIXELS)
    """Images with more pixels (width times height) are not decoded: they count as broken. A few bytes can claim to be
    a picture that fills all memory."""

    label: str | int | list[str | int] | None = None
    """Column with the label or the number to predict. Several columns of 0 and 1 make a multi-label task. May be left
    out for entities: then the column of tags, one for each word. For language models the column of the answers, or of
    true and false for unpaired preference; may be left out where the names of the columns tell."""

    task: Task | None = None
    """classification, multilabel, regression, or token_classification (entities: a tag for each word). For language
    models: generation (texts, prompts with answers, conversations), preference (chosen and rejected answers),
    unpaired_preference (answers that are good or not), prompts (to be answered in training). For images also
    image_generation (to draw the like of them, by a diffusion model), which has to be said. Where left out: told from
    the columns, and said in the log."""

    chat: bool | None = None
    """For language models: whether prompts and answers are turns of a conversation, which the tokeniser's chat template
    writes (a plain one where it has none). Where left out: yes for conversations and for instructions, and where
    `model` names a run that learnt conversations; else prompt and answer are read as they are."""

    between: str | None = None
    """For language models: what stands between a prompt and its answer, where both are read as they are. Where left
    out: as the run had it that `model` names; else a line break, or nothing where most prompts end or answers begin
    with space."""

    documents: Literal["endoftext", "blank_lines", "lines"] | None = None
    """What parts the documents of a plain text file: lines of `<|endoftext|>`, blank lines, or every line end. Where
    left out: the first of these two that the file has."""

    unconditional: bool = False
    """Image generation: leave the classes of the images aside, so that the model draws without being told one."""

    label_separator: str | None = None
    """Splits the label cell of a multi-label task, for instance `|`. Lists (JSONL, Parquet) need none."""

    labels: list[str] | None = None
    """Class names in the order of the model's outputs. Where left out: those of the data, sorted."""

    format: Literal["csv", "tsv", "jsonl", "parquet", "conll", "text", "datasets", "images"] | None = None
    """What the files are. Where left out: told from the file name."""

    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    """Character between cells. Where left out: comma for CSV, tab for TSV; for CoNLL a tab where lines have one,
    else any space."""

    quotes: bool | None = None
    """Whether double quotes enclose cells. Where left out: yes for CSV, no for TSV."""

    header: bool = True
    """Whether the first row holds the column names. Without it, columns are called by number, from 0."""

    encoding: str | None = None
    """Text encoding of CSV, TSV, JSONL, CoNLL and plain text files. Where left out: UTF-8, or what a byte-order mark
    says."""

    clean: CleanConfig = CleanConfig()

    limit: int | None = Field(default=None, ge=1)
    """Use only so many rows of each source, drawn by `split_seed` (stratified for classes): for a quick look."""

    per_class: int | None = Field(default=None, ge=1)
    """Keep at most so many training rows of each class, drawn by `split_seed` after the splits are made: few-shot
    learning. Validation and test stay as they are."""

    share: float | None = Field(default=None, gt=0, le=1)
    """Use only this share of the training rows, drawn after the splits are made (and after `per_class`): the same share
    of each class, combination of labels or quantile of the number, of which each keeps one row at least. The rows of a
    smaller share are among those of a larger one. Validation and test stay as they are. `tunewise curve` trains on
    several shares, and tells what more rows would bring."""

    share_seed: int = Field(default=0, ge=0)
    """Decides which rows a share has."""

    group: str | int | None = None
    """Column whose rows of one value (a customer, a document) stay in one split: splits that are cut off keep the share
    of each class as far as whole groups allow. Rows that share a text join their groups; a row without a value is a
    group of its own. Groups that given sources share are told, and treated as `overlap` says."""

    time: str | int | None = None
    """Column with the time of each row, by which splits are cut off: the latest rows become test, those before them
    validation. ISO dates, dates and times (with or without a time zone), or numbers, all of one form; every row needs
    one. Rows of equal time stay on one side; classes do not keep their share. With `group`, a group goes where its
    latest row goes. `limit` draws before that, of all times; `per_class` after it."""

    sensitive: list[str] = Field(default_factory=list)
    """Columns with a group of each row (a gender, a region, an age band) that the model does not read: `tunewise check`
    tells rows, label rates and lengths of each group, and which groups have few rows or differ beyond chance."""

    balance: Literal["over", "under"] | None = None
    """As many training rows of each class (classification), after the splits are made and `per_class`: rows of smaller
    classes are repeated until all have as many as the largest (over), or only as many are kept as the smallest has,
    drawn by `split_seed` (under). Validation and test stay as they are; the baselines learn from the same rows."""

    overlap: Literal["warn", "drop", "error"] = "warn"
    """What to do where sources share texts (or groups, where `group` is given), train with validation or test, or
    validation with test: keep the rows and count them (warn), leave them out of the earlier of the two, so that the
    rows that results are reported on stay whole (drop), or stop (error). Rows that are split off share no text with
    those that stay, unless they are split off by `time`: then this holds for them too."""

    overlap_near: bool = False
    """Whether texts that are nearly equal (`clean.near`) count as shared by two splits, and are treated as `overlap`
    says; this holds for splits that are cut off, too."""

    validation_share: float = Field(default=0.15, gt=0, lt=1)
    """Share of the training rows that becomes the validation split when none is given."""

    test_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of the training rows that becomes the test split when none is given."""

    folds: int | None = Field(default=None, ge=2, le=20)
    """Cross-validation by `tunewise compare`: the rows of train are cut into so many parts of equal size, with the same
    share of each class, and whole groups where `group` is given. Each part is the test set once, while the rest trains
    and validates, so that every row is tested exactly once. Every method runs with every seed on every fold."""

    fold: int | None = Field(default=None, ge=1)
    """Which of the `folds`, from 1, is the test set of a single run; `tunewise compare` runs all and sets it itself."""

    split_seed: int = Field(default=0, ge=0)
    """Decides which rows are split off; the same for every method and seed, so that all are compared on one test."""

    @field_validator("sensitive")
    @classmethod
    def _each_once(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError("each column may stand in the list only once")
        return value
