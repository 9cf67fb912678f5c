"""What was cut is told of whatever an objective reads."""

from __future__ import annotations

import numpy as np
import pytest
from chat_styles import chat_tokenizer

from tunewise.data.conversations import encode_pairs, encode_prompts
from tunewise.data.language_cuts import told_cuts
from tunewise.data.pairs import PairTokens
from tunewise.data.prepare import prepare
from tunewise.data.rollout_tokens import PromptTokens
from tunewise.data.settings import DataConfig
from tunewise.data.write_splits import write_splits
from tunewise.errors import DataError
from tunewise.types import Schema, Split

ROWS = Split("train", (("abcdefgh", "1", "123456"), ("a", "1", "2")), np.zeros(2), np.array([1, 2]), "f.jsonl")


def test_pairs_and_prompts():
    tokenizer, schema = chat_tokenizer(None), Schema("preference", ("prompt",), "", (), "completion")
    for room, cut in ((8, 2), (100, 0)):
        chosen, rejected = encode_pairs(ROWS, schema, tokenizer, room, False)
        told = told_cuts(PairTokens.of(chosen, rejected), "train", room)
        assert len(told) == bool(cut)
        if cut:
            assert told[0].startswith(f"{cut} of 4 rows of train (two for each row) are longer than 8 tokens")
            assert f"{chosen.lost + rejected.lost} tokens lost" in told[0]
        found = encode_prompts(ROWS, schema, tokenizer, room, False)
        told = told_cuts(PromptTokens(found.ids, found.texts, len(found.cut_rows), found.lost), "train", room)
        assert [line.split(" of ")[0] for line in told] == (["1"] if cut else [])
        assert not told or told[0].endswith("1 tokens lost")


def test_splits_without_labels_are_not_written_elsewhere(tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(f'{{"prompt": "p{n}", "completion": "a"}}\n' for n in range(12)))
    config = DataConfig(train="a.jsonl")
    with pytest.raises(DataError, match="the task is generation"):
        write_splits(config, tmp_path, prepare(config, tmp_path), tmp_path / "out", "jsonl")
    assert not (tmp_path / "out").exists()
