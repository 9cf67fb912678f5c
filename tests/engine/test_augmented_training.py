"""Trainings on rows with other words, on mixed rows, and with R-Drop: against references, and resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_resume import resumed_exactly
from torch.nn import functional
from training_bench import Recorder, Setup

from tunewise.commit import default_cache
from tunewise.data.augment import augmented_texts, row_generator
from tunewise.data.augment_settings import AugmentConfig
from tunewise.data.tokenise import tokenise
from tunewise.engine.augmented import AugmentedRows
from tunewise.engine.course import Course
from tunewise.engine.events import Step
from tunewise.engine.gradients import Gradients
from tunewise.engine.loop import Training
from tunewise.engine.step_loss import mixed_loss, mixup_generator, r_drop_loss
from tunewise.engine.train import output_layer
from tunewise.errors import MethodError
from tunewise.models.load import load_net
from tunewise.models.locate import locate
from tunewise.objectives import ObjectiveConfig, make_objective

WORDS = {"word_dropout": 0.3, "word_swap": 0.3}
CASES = {
    "words": ({"augment": WORDS, "save_steps": 3}, [4, 8]),
    "words_of_a_prompt": ({"method": "p_tuning", "options": {"tokens": 4}, "augment": WORDS, "save_steps": 6}, [7]),
    "words_over_a_frozen_part": ({"method": "last_k", "options": {"k": 1}, "augment": WORDS, "save_steps": 6}, [7]),
    "words_of_balanced_batches": ({"balanced_batches": True, "augment": WORDS, "accumulate": 2, "save_steps": 2}, [2]),
    "mixup": ({"augment": {"mixup": 0.4}, "accumulate": 2, "save_steps": 2}, [5]),
    "mixup_of_kept_vectors": ({"method": "head", "augment": {"mixup": 0.4}, "save_steps": 6}, [10]),
    "mixup_of_words": ({"augment": {"mixup": 0.4, "word_swap": 0.3}, "save_steps": 6}, [7]),
    "r_drop": ({"objective": {"r_drop": 1.0}, "augment": WORDS, "save_steps": 6}, [7]),
    "r_drop_of_kept_vectors": ({"method": "head", "objective": {"r_drop": 1.0}, "save_steps": 6}, [10]),
}


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEWISE_CACHE", str(tmp_path / "cache"))


def kinds() -> list[tuple[str, int]]:
    return sorted((entry.about["what"], entry.about["rows"]) for entry in default_cache().entries())


@pytest.mark.parametrize("case", CASES)
def test_resumed_is_uninterrupted(case: str, training: Callable[..., Setup]) -> None:
    settings, steps = CASES[case]
    resumed_exactly(training, steps, **{"epochs": 3, "dropout": 0.2, **settings})


def test_resumed_is_uninterrupted_with_entities(
    training: Callable[..., Setup], tagged_data: Callable[..., Any]
) -> None:
    settings = {"data": tagged_data(), "epochs": 2, "dropout": 0.2, "save_steps": 3, "augment": WORDS}
    resumed_exactly(training, [4], **settings, objective={"r_drop": 0.5})


# ---- what is read


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, np.ndarray, Any, Any]]:
    """(epoch, rows, tokens, targets) of every step."""
    seen, real = [], AugmentedRows.read

    def read(self: AugmentedRows, rows: np.ndarray, epoch: int, targets: torch.Tensor, step: int) -> Any:
        found = real(self, rows, epoch, targets)
        seen.append((epoch, np.unique(rows), found.inputs, found.targets))
        return found

    monkeypatch.setattr(AugmentedRows, "read", read)
    return seen


def test_steps_read_the_texts_that_seed_epoch_and_row_tell(training: Callable[..., Setup], reads: list) -> None:
    setup = training(augment=WORDS, epochs=2, seed=3)
    setup.train()
    split, config, by_epoch = setup.job.data.splits["train"], AugmentConfig(**WORDS), {0: [], 1: []}
    for epoch, rows, tokens, targets in reads:
        texts = [augmented_texts(split.texts[row], config, row_generator(3, epoch, int(row))) for row in rows]
        wanted = tokenise(texts, setup.net.tokenizer, setup.net.max_length)
        assert [row.tolist() for row in tokens.ids] == [row.tolist() for row in wanted.ids]
        assert targets.tolist() == split.targets[rows].tolist()
        by_epoch[epoch] += [(int(row), text) for row, text in zip(rows, texts, strict=True)]
    first, second = (dict(found) for found in by_epoch.values())
    assert first.keys() == second.keys() == set(range(len(split)))
    changed = [row for row in first if first[row] != split.texts[row]]
    assert 0.3 < len(changed) / len(split) < 0.7 and any(first[row] != second[row] for row in first)


def test_only_training_rows_are_changed(training: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch) -> None:
    """What validation and evaluation read is the same, token by token, with and without."""
    from tunewise.engine import train as module
    from tunewise.engine.evaluation import evaluate

    seen: dict[str, list[list[int]]] = {}
    real = module.predict_logits
    for name, augment in (("plain", {}), ("words", {**WORDS, "share": 1.0, "mixup": 0.3})):

        def spy(model: Any, inputs: Any, *args: Any, name: str = name, **more: Any) -> Any:
            tokens = getattr(inputs, "_inputs", inputs)
            seen.setdefault(name, []).extend(row.tolist() for row in tokens.ids)
            return real(model, inputs, *args, **more)

        monkeypatch.setattr(module, "predict_logits", spy)
        setup = training(at=name, augment=augment, epochs=2)
        trained = setup.train()
        evaluate(trained, setup.job.data, setup.job.evaluator, lambda: None)
    assert seen["words"] == seen["plain"] and len(seen["plain"]) == 4 * 18


def test_tags_are_those_of_the_words_that_are_left(
    training: Callable[..., Setup], tagged_data: Callable[..., Any], reads: list
) -> None:
    data = tagged_data()
    setup = training(data=data, augment={**WORDS, "share": 1.0}, epochs=1)
    setup.train()
    labels, tag_of = data.schema.labels, {}
    for split in data.splits.values():
        for (text,), targets in zip(split.texts, split.targets, strict=True):
            for word, target in zip(text.split(" "), targets, strict=False):
                tag_of[word] = labels[target][2:] or "O"
    vocabulary = setup.net.tokenizer
    dropped = 0
    for _, rows, tokens, targets in reads:
        for place, row in enumerate(rows):
            words = vocabulary.convert_ids_to_tokens(tokens.ids[place][tokens.words[place]].tolist())
            tags = [labels[target] for target in targets[place] if target >= 0]
            assert [tag[2:] or "O" for tag in tags] == [tag_of[word] for word in words]
            dropped += int((data.splits["train"].targets[row] >= 0).sum()) - len(words)
    assert dropped > 0


def test_counts_are_told(training: Callable[..., Setup], reads: list) -> None:
    setup = training(augment={"word_dropout": 0.4, "share": 1.0}, epochs=2, max_length=6)
    setup.train()
    split, changed, cut = setup.job.data.splits["train"], 0, 0
    for epoch, rows, _, _ in reads:
        for row in rows:
            text = augmented_texts(
                split.texts[row],
                AugmentConfig(word_dropout=0.4, share=1.0),
                row_generator(setup.job.seed, epoch, int(row)),
            )
            changed += text != split.texts[row]
            cut += text != split.texts[row] and len(text[0].split()) > 4
    assert setup.job.observers.warnings[-1] == (
        f"augmentation (word_dropout 0.4): of 96 rows read in training, {changed} had other words than in the data; "
        f"{cut} of them are longer than 6 tokens and were cut"
    )
    assert 48 < changed < 96 and 0 < cut < changed


def test_steps_are_those_of_a_hand_written_loop(training: Callable[..., Setup]) -> None:
    """Losses and weights, all rows of the vocabulary among them, with AdamW of torch."""
    recorder = Recorder()
    settings = {"augment": {**WORDS, "share": 1.0}, "epochs": 2, "dropout": 0.0, "seed": 1, "learning_rate": 1e-3}
    settings |= {
        "options": {"head_rate": 1},
        "weight_decay": 0.0,
        "max_grad_norm": 0.0,
        "schedule": "constant",
        "warmup": 0,
        "keep_best": False,
    }
    setup, peer = training(at="a", observers=[recorder], **settings), training(at="b", **settings)
    setup.train()
    model, split, config = peer.net.model, peer.job.data.splits["train"], AugmentConfig(**settings["augment"])
    adamw = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    lengths = tokenise(split.texts, peer.net.tokenizer, peer.net.max_length).lengths
    course, losses = Course(lengths, peer.job.config, 1), []
    model.train()
    for step in range(course.total_steps):
        rows = course.rows(step)
        texts = [augmented_texts(split.texts[row], config, row_generator(1, step // 6, int(row)))[0] for row in rows]
        batch = peer.net.tokenizer(texts, padding=True, return_tensors="pt")
        loss = functional.cross_entropy(model(**batch).logits, torch.as_tensor(split.targets[rows]))
        adamw.zero_grad()
        loss.backward()
        adamw.step()
        losses.append(loss.item())
    np.testing.assert_allclose([event.loss for event in recorder.of(Step)], losses, rtol=1e-3)
    for name, weights in setup.weights.items():
        if not name.endswith("key.bias"):  # no gradient but rounding
            torch.testing.assert_close(weights, peer.weights[name], rtol=5e-3, atol=5e-4, msg=name)


# ---- mixup


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "modernbert", "gpt2", "t5"])
@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_mixup_is_that_of_sentence_vectors(
    family: str, task: str, tiny_model: Callable[..., Path], toy_data: Callable[..., Any], tmp_path: Path
) -> None:
    """Reference: the output layer's own input is mixed by a hook; the loss is written out by torch."""
    data = toy_data(task)
    net = load_net(locate(str(tiny_model(family, 2)), tmp_path), data.schema, dropout=0.0)
    split, rows = data.splits["train"], np.arange(6)
    batch = tokenise(split.texts, net.tokenizer, net.max_length).batch(rows)
    targets = torch.as_tensor(split.targets[rows])
    objective = make_objective(ObjectiveConfig(standardize=False), data)
    found = mixed_loss(objective, net.model(**batch).logits, targets, 0.4, mixup_generator(5, 2, rows))
    generator = np.random.default_rng([5, 2, 0, 13])
    share, order = generator.beta(0.4, 0.4), generator.permutation(6)
    weight, _ = output_layer(net)
    layer = next(module for module in net.model.modules() if getattr(module, "weight", None) is weight)

    def mix(_: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (share * inputs[0] + (1 - share) * inputs[0][order],)

    handle = layer.register_forward_pre_hook(mix)
    if family == "gpt2":  # the layer reads all tokens: the last that is not padding is looked up behind it
        handle.remove()
        hidden = net.model.transformer(**batch).last_hidden_state
        last = hidden[torch.arange(6), batch["attention_mask"].sum(1) - 1]
        mixed = layer(share * last + (1 - share) * last[order])
    else:
        mixed = net.model(**batch).logits
        handle.remove()
    of = {
        "classification": lambda wanted: functional.cross_entropy(mixed, wanted, reduction="sum"),
        "multilabel": lambda wanted: functional.binary_cross_entropy_with_logits(mixed, wanted, reduction="sum"),
        "regression": lambda wanted: (mixed.squeeze(-1) - wanted).square().sum(),
    }[task]
    wanted = share * of(targets) + (1 - share) * of(targets[order])
    torch.testing.assert_close(found.total, wanted, rtol=1e-4, atol=1e-5)
    assert found.n_items == objective.n_items(targets)
    parameters = [p for p in net.model.parameters() if p.requires_grad]
    ours = torch.autograd.grad(found.total, parameters, allow_unused=True, retain_graph=True)
    theirs = torch.autograd.grad(wanted, parameters, allow_unused=True, retain_graph=True)
    largest = max(float(other.abs().max()) for other in theirs if other is not None)
    for one, other in zip(ours, theirs, strict=True):
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5 * largest)
    if task == "regression":  # the same gradient as for the mixed target
        mean = share * targets + (1 - share) * targets[order]
        again = torch.autograd.grad((mixed.squeeze(-1) - mean).square().sum(), mixed, retain_graph=True)[0]
        torch.testing.assert_close(torch.autograd.grad(wanted, mixed)[0], again, rtol=1e-4, atol=1e-5)


def test_mixed_shares_follow_beta_and_batches_differ() -> None:
    shares = [mixup_generator(0, step, np.array([step % 7])).beta(0.4, 0.4) for step in range(3000)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * 0.4 + 1)), abs=0.01)  # of Beta(a, a)
    draws = {tuple(mixup_generator(*numbers, np.array([row])).random(2)) for numbers, row in [((0, 0), 0)] * 2}
    assert len(draws) == 1
    others = [((1, 0), 0), ((0, 1), 0), ((0, 0), 1)]
    assert len({tuple(mixup_generator(*numbers, np.array([row])).random(2)) for numbers, row in others}) == 3


# ---- R-Drop


def test_r_drop_is_the_formula_with_two_masks(training: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step's loss and gradients: the batch twice, the mean of both losses, and KL as torch has it."""
    seen: list[torch.Tensor] = []
    real = Gradients._outputs

    def outputs(self: Gradients, *args: Any) -> torch.Tensor:
        found = real(self, *args)
        found.retain_grad()
        seen.append(found)
        return found

    monkeypatch.setattr(Gradients, "_outputs", outputs)
    recorder = Recorder()
    setup = training(objective={"r_drop": 0.7}, dropout=0.3, max_steps=1, observers=[recorder])
    setup.train()
    (logits,), split = seen, setup.job.data.splits["train"]
    lengths = tokenise(split.texts, setup.net.tokenizer, setup.net.max_length).lengths
    targets = torch.as_tensor(split.targets[Course(lengths, setup.job.config, 0).rows(0)])
    assert len(logits) == 16 and (logits[:8] - logits[8:]).abs().max() > 1e-3
    peer = logits.detach().clone().requires_grad_()
    one, other = peer[:8].log_softmax(-1), peer[8:].log_softmax(-1)
    kl = [functional.kl_div(a, b, reduction="sum", log_target=True) for a, b in ((one, other), (other, one))]
    loss = (functional.nll_loss(one, targets) + functional.nll_loss(other, targets)) / 2 + 0.7 * sum(kl) / 2 / 8
    loss.backward()
    (step,) = recorder.of(Step)
    assert step.loss == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(logits.grad, peer.grad, rtol=1e-4, atol=1e-6)


def test_r_drop_of_equal_passes_is_the_plain_loss(toy_data: Callable[..., Any]) -> None:
    objective = make_objective(ObjectiveConfig(r_drop=5.0, class_weights="balanced"), toy_data())
    logits, targets = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 0, 1])
    found, plain = r_drop_loss(objective, torch.cat([logits, logits]), targets, 5.0), objective.loss(logits, targets)
    torch.testing.assert_close(found.total, plain.total)
    assert found.n_items == plain.n_items


@pytest.mark.parametrize("method", ["full", "last_k", "head"])
def test_r_drop_counts_both_passes(method: str, training: Callable[..., Setup]) -> None:
    """Twice the FLOPs of a step; what is kept of the frozen part is computed once."""
    runs = []
    for at, objective in (("a", {}), ("b", {"r_drop": 1.0})):
        recorder = Recorder()
        more = {"options": {"k": 1} if method == "last_k" else {}, "objective": objective}
        setup = training(method, at=at, dropout=0.1, epochs=3, observers=[recorder], **more)
        trained = setup.train()
        runs.append((trained, recorder.of(Step), kinds()))
        default_cache().clear()
    (plain, steps, kept), (double, twice, kept_too) = runs
    assert kept == kept_too and bool(kept) == (method != "full")
    for one, other in zip(steps, twice, strict=True):
        assert other.forward_flops == pytest.approx(2 * one.forward_flops)
        assert other.backward_flops == pytest.approx(2 * one.backward_flops)
        assert other.tokens == one.tokens
    assert double.backward_flops == pytest.approx(2 * plain.backward_flops)


@pytest.mark.parametrize(
    ("family", "method", "dropout", "told_of"),
    [("bert", "full", 0.0, "the model has no dropout"), ("gpt2", "head", 0.1, "what trains has no dropout")],
)
def test_r_drop_without_dropout_is_refused(
    family: str, method: str, dropout: float, told_of: str, training: Callable[..., Setup]
) -> None:
    setup = training(method, family=family, objective={"r_drop": 1.0}, dropout=dropout)
    before = setup.digest
    with pytest.raises(MethodError, match=told_of) as problem:
        setup.train()
    assert problem.value.where == "objective.r_drop" and problem.value.fix
    assert setup.digest == before


def test_a_phase_without_dropout_is_told(training: Callable[..., Setup]) -> None:
    setup = training("gradual", family="gpt2", objective={"r_drop": 1.0}, dropout=0.1)
    setup.train()
    assert [told for told in setup.job.observers.warnings if "R-Drop adds nothing" in told]


def test_memory_that_runs_out_halves_what_is_read_twice(
    training: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight rows are sixteen for the model; of four, eight. The mean stays that over the rows of the step."""
    real, seen = Gradients._outputs, []

    def outputs(self: Gradients, batch: Any, *args: Any) -> torch.Tensor:
        seen.append(len(batch["input_ids"]))
        if seen[-1] > 8:
            raise torch.OutOfMemoryError("out of memory")
        return real(self, batch, *args)

    monkeypatch.setattr(Gradients, "_outputs", outputs)
    setup = training(objective={"r_drop": 1.0}, augment=WORDS, max_steps=2, dropout=0.1)
    setup.train()
    assert seen == [16, 8, 8, 8, 8]


# ---- the cache, and what augmentation leaves alone


def test_other_words_are_not_kept(training: Callable[..., Setup]) -> None:
    setup = training("last_k", options={"k": 1}, augment=WORDS, epochs=3)
    setup.train()
    assert kinds() == [("tokens", 18)]  # validation alone
    notes = [note for note in setup.net.notes if "not kept for training rows" in note]
    assert len(notes) == 1 and "word_swap 0.3, word_dropout 0.3 gives the model other texts" in notes[0]


@pytest.mark.parametrize("more", [{"augment": {"mixup": 0.3}}, {"objective": {"r_drop": 1.0}, "dropout": 0.1}])
def test_mixup_and_r_drop_read_what_is_kept(more: dict[str, Any], training: Callable[..., Setup]) -> None:
    losses = []
    for at, cache in (("a", True), ("b", False)):
        recorder = Recorder()
        setup = training("last_k", at=at, options={"k": 1}, epochs=3, cache=cache, observers=[recorder], **more)
        setup.train()
        losses.append([event.loss for event in recorder.of(Step)])
        assert not [note for note in setup.net.notes if "not kept" in note]
    assert kinds() == [("tokens", 18), ("tokens", 48)]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_nothing_given_is_bit_for_bit_as_before(training: Callable[..., Setup]) -> None:
    setups = [training(at=at, dropout=0.1, augment=augment) for at, augment in (("a", {}), ("b", None))]
    for setup in setups:
        setup.train()
    assert setups[0].digest == setups[1].digest
    assert not [told for told in setups[0].job.observers.warnings if "augment" in told]


def test_a_closed_solver_does_without_and_says_so(training: Callable[..., Setup]) -> None:
    setup = training("features", augment={**WORDS, "mixup": 0.2})
    setup.train()
    told_of = [told for told in setup.job.observers.warnings if "closed solver" in told]
    assert told_of == [
        "augmentation (word_swap 0.3, word_dropout 0.3) does not apply to a closed solver",
        "augmentation (mixup) does not apply to a closed solver",
    ]


def test_a_budget_counts_both_passes(training: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a method may spend is measured in steps as the run takes them."""
    seen, real = [], Training._make_plan

    def make_plan(self: Training, step: int) -> Any:
        given = self.method.plan
        self.method.plan = lambda model_map, signals: seen.append(signals) or given(model_map, signals)
        try:
            return real(self, step)
        finally:
            self.method.plan = given

    monkeypatch.setattr(Training, "_make_plan", make_plan)
    for at, objective in (("a", {}), ("b", {"r_drop": 1.0})):
        setup = training("adaptive", at=at, objective=objective, dropout=0.1, max_steps=2, options={"rho": 0.5})
        setup.train()
    one, two = seen[0], seen[-1]
    assert two.full_flops == pytest.approx(2 * one.full_flops) and two.forward_flops == 2 * one.forward_flops
