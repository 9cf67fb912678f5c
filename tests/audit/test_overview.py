"""Rows, labels and lengths of each split, compared with what numpy, seqeval and the tokeniser say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunewise.audit.audit import audit
from tunewise.audit.overview import Overview, overview
from tunewise.audit.settings import CheckConfig
from tunewise.audit.view import View
from tunewise.data.tags import entity_types
from tunewise.models.load import load_tokenizer
from tunewise.models.locate import locate
from tunewise.models.located import LocatedModel
from tunewise.types import DataBundle


@pytest.fixture(scope="module")
def located(tiny_bert: Path) -> LocatedModel:
    return locate(str(tiny_bert), Path())


def of(data: DataBundle, located: LocatedModel, **options: Any) -> Overview:
    return overview(View(data, CheckConfig(), located, **options))


@pytest.mark.parametrize("pairs", [False, True])
def test_lengths(pairs: bool, toy_data: Any, located: LocatedModel) -> None:
    data = toy_data(pairs=pairs)
    whole = of(data, located, max_length=8)
    assert (whole.limit, whole.model_limit, whole.kept, whole.task) == (8, 64, "head", "classification")
    tokenizer = load_tokenizer(located)
    for split in whole.splits:
        texts = data.splits[split.name].texts
        tokens = sorted(len(tokenizer(*row)["input_ids"]) for row in texts)
        letters = sorted(sum(map(len, row)) for row in texts)
        rank = int(np.ceil(0.95 * len(texts))) - 1
        for lengths, found in ((tokens, split.tokens), (letters, split.characters)):
            assert (found.most_rows, found.longest) == (lengths[rank], lengths[-1])
            assert found.median == lengths[(len(lengths) - 1) // 2]
        assert split.cut == sum(length > 8 for length in tokens)
        assert split.tokens_lost == sum(max(0, length - 8) for length in tokens)


def test_labels(toy_data: Any, located: LocatedModel) -> None:
    data = toy_data()
    names = data.schema.labels
    for split in of(data, located).splits:
        assert split.labels == dict(Counter(names[target] for target in data.splits[split.name].targets))
        assert (split.without, split.quantiles) == (0, {})
    data = toy_data("multilabel")
    for split in of(data, located).splits:
        marks = data.splits[split.name].targets
        assert list(split.labels.values()) == marks.sum(axis=0).tolist()
        assert split.without == (marks.sum(axis=1) == 0).sum() > 0


def test_numbers(toy_data: Any, located: LocatedModel) -> None:
    data = toy_data("regression")
    (train, *_) = of(data, located).splits
    targets = data.splits["train"].targets
    assert train.quantiles["median"] == np.median(targets) and train.quantiles["max"] == targets.max()
    assert train.labels == {}


def test_entities_are_counted_as_seqeval_does(tagged_data: Callable[..., DataBundle], located: LocatedModel) -> None:
    from seqeval.metrics.sequence_labeling import get_entities

    data = tagged_data()
    names = data.schema.labels
    generator = np.random.default_rng(1)
    split = data.splits["train"]
    strange = np.where(split.targets >= 0, generator.integers(0, len(names), split.targets.shape), -1)
    for targets in (split.targets, strange):  # the second: every order of tags
        changed = replace(data, splits={"train": replace(split, targets=targets)})
        (train,) = of(changed, located).splits
        sentences = [[names[tag] for tag in row if tag >= 0] for row in targets]
        found = Counter(kind for sentence in sentences for kind, _, _ in get_entities(sentence))
        assert train.labels == {kind: found[kind] for kind in entity_types(names)}
        assert train.without == sum(not get_entities(sentence) for sentence in sentences)


def test_what_was_done_stands_beside_it_and_a_brief_look_has_none(toy_data: Any, located: LocatedModel) -> None:
    data = toy_data()
    found = audit(data, located, CheckConfig(), [], whole=True)
    assert found.overview.steps == ({"name": "load", "rows_in": 84, "rows_out": 84, "reason": "made by the test"},)
    assert len(found.rendered) > 0
    brief = audit(data, located, CheckConfig(), [])
    assert brief.overview is None and brief.rendered == ()
