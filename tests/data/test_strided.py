"""Windows for long rows, against the loop that transformers documents."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from tunewise.conformance.models import TEXT
from tunewise.data.labelled import LabelledTokens
from tunewise.data.ragged import Ragged
from tunewise.data.strided import in_windows, spans, summed
from tunewise.evaluate.predict import predict_logits
from tunewise.models.token_losses import token_log_probs

RNG = np.random.default_rng(0)


def rows(lengths) -> LabelledTokens:
    ids = [RNG.integers(5, 200, size=length) for length in lengths]
    learnt = [np.array([0] + [1] * (length - 1)) for length in lengths]
    return LabelledTokens(Ragged.of(ids, np.int32), Ragged.of(learnt, np.int8), 1)


@pytest.mark.parametrize(("window", "stride"), [(16, 4), (16, 15), (16, 8), (2, 1)])
def test_every_token_is_scored_once_with_enough_before_it(window, stride):
    for length in (1, 2, 15, 16, 17, 31, 64, 65):
        seen = []
        for start, end, scored in spans(length, window, stride):
            assert end - start <= window
            assert scored == 0 or scored - start >= window - stride
            seen += range(scored, end)
        assert seen == list(range(length))


def test_sums_are_those_of_the_documented_loop():
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(TEXT["gpt2"](2)).eval()
    whole, window, stride = rows([70, 9, 24, 33]), 24, 10
    windows, row_W = in_windows(whole, window, stride)
    numbers_WK = predict_logits(
        model, windows, 8, outputs=lambda model, batch: token_log_probs(model, batch).row_numbers()
    )
    found = summed(numbers_WK, row_W, len(whole))
    for row in range(len(whole)):
        ids = torch.tensor(np.array(whole.ids[row], dtype=np.int64))[None]
        total, tokens, before = 0.0, 0, 0
        for begin in range(0, ids.shape[1], stride):
            end = min(begin + window, ids.shape[1])
            labels = ids[:, begin:end].clone()
            labels[:, : -(end - before)] = -100
            with torch.no_grad():
                loss = model(ids[:, begin:end], labels=labels).loss
            count = int((labels[:, 1:] != -100).sum())
            total, tokens, before = total + float(loss) * count, tokens + count, end
            if end == ids.shape[1]:
                break
        assert tokens == found[row, 1] == len(ids[0]) - 1
        assert total == pytest.approx(found[row, 0], rel=1e-5)


def test_rows_that_fit_are_one_window():
    whole = rows([5, 16])
    windows, row_W = in_windows(whole, 16, 8)
    assert row_W.tolist() == [0, 1]
    assert [ids.tolist() for ids in windows.ids] == [ids.tolist() for ids in whole.ids]
    assert [marks.tolist() for marks in windows.learnt] == [marks.tolist() for marks in whole.learnt]
