"""With virtual tokens, training reads what was read when the answers were written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from policy_bench import policy_training

from tunewise.data.labelled import LabelledTokens
from tunewise.data.ragged import Ragged
from tunewise.engine.loop import Training
from tunewise.engine.rollouts import Rollouts
from tunewise.engine.sampling import Chooser
from tunewise.models.token_losses import token_log_probs

GROUP = 2


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return tmp_path_factory.mktemp("language-models")


@pytest.mark.parametrize("method", ["prompt_tuning", "p_tuning"])
@pytest.mark.parametrize("family", ["llama", "t5"])
def test_the_first_step_computes_the_probabilities_that_were_drawn_from(family, method, models, tmp_path, monkeypatch):
    setup = policy_training(
        models,
        tmp_path,
        {"grpo": {"samples": GROUP, "temperature": 0.7}},
        method,
        options={"tokens": 3},
        family=family,
        max_steps=1,
    )
    drawn, computed, read = {}, [], []
    choose, step = Chooser.__call__, Training._step

    def chosen(self, logits_BV, texts, rows, written):
        tokens = choose(self, logits_BV, texts, rows, written)
        log_probs_BV = (logits_BV.float() / 0.7).log_softmax(-1)
        for place, (row, token) in enumerate(zip(rows, tokens, strict=True)):
            drawn.setdefault(row, []).append(float(log_probs_BV[place, token]))
        return tokens

    def look(self):
        rows, prompts = self.course.rows(0), self.feed.augmented.prompts
        if family == "llama":  # a token that opens texts, behind which other models have the virtual ones
            ids = prompts["train"].ids.with_items(0, [setup.net.tokenizer.bos_token_id])
            self.feed.augmented.prompts = {**prompts, "train": replace(prompts["train"], ids=ids)}
        self.net.model.eval()  # without dropout, as the objective has it in a recipe
        with monkeypatch.context() as patch:
            patch.setattr(Chooser, "__call__", chosen)
            reading = self.gradients.reading(0, rows)
        for row in np.unique(rows):
            batch = reading.batch(np.array([row]))
            read.append((row, batch["input_ids"][0].tolist()))
            batch = {name: values for name, values in batch.items() if not name.startswith("signal")}
            found = token_log_probs(self.net.model, batch, temperature=0.7)
            for answer in range(GROUP):
                computed.append((row * GROUP + answer, found.log_probs_N[found.row_N == answer].tolist()))
        step(self)

    monkeypatch.setattr(Training, "_step", look)
    setup.train()
    assert len(computed) == 4 * GROUP and len(drawn) == len(computed)
    for number, log_probs in computed:
        assert log_probs == pytest.approx(drawn[number], abs=1e-5)
    assert len({round(value, 4) for values in drawn.values() for value in values}) > 10
    virtual = list(setup.net.prompt)
    for row, ids in read:
        prompt = setup.net.tokenizer(setup.job.data.splits["train"].texts[row][0])["input_ids"]
        opening = [setup.net.tokenizer.bos_token_id] * (family == "llama")
        assert ids[: len(virtual) + len(opening) + 2] == [*virtual, *opening, *prompt[:2]]


def test_rows_to_learn_and_what_is_written_have_them_at_one_place(models, tmp_path):
    """A row of supervised tuning, and the same prompt and answer as a rollout."""
    setup = policy_training(models, tmp_path, {"grpo": {"samples": 2}}, "prompt_tuning", options={"tokens": 2})
    net, seen = setup.net, []
    real = Rollouts._tokens

    def look(self, asked, found):
        seen.append((asked, found, real(self, asked, found)))
        return seen[-1][2]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rollouts, "_tokens", look)
        setup.train()
    asked, found, rollouts = seen[0]
    both = Ragged.of([[*prompt, *ids] for prompt, ids in zip(asked, found, strict=True)], np.int32)
    learnt = Ragged.of([[0] * len(p) + [1] * len(ids) for p, ids in zip(asked, found, strict=True)], np.int8)
    rows = np.arange(len(asked))
    supervised = LabelledTokens(both, learnt, net.tokenizer.pad_token_id).with_prompt(net.prompt).batch(rows)
    assert all(torch.equal(supervised[name], values) for name, values in rollouts.batch(rows).items())
