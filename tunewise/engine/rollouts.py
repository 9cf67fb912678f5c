"""What the model writes in a training, round by round: answers to prompts, judged, with what their loss needs to know.

A round is the rows of a step of the course, answered several times each, and `updates` optimiser steps with these
answers. What is drawn follows from seed, round, row and number of the answer.

Shape legend: N prompts of a round, G answers to each, n prompts of a split, K tokens of all answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from tunewise.data.batches import sorted_batches
from tunewise.data.labelled import LabelledTokens
from tunewise.data.ragged import Ragged
from tunewise.data.rollout_tokens import PromptTokens, RolloutTokens
from tunewise.engine.device import Tuned
from tunewise.engine.drawn_rows import DrawnRows, StepRows
from tunewise.engine.generation import end_tokens, generate
from tunewise.engine.starting_point import StartingPoint
from tunewise.evaluate.generation_settings import GenerationConfig
from tunewise.evaluate.predict import Outputs
from tunewise.models.load import Net
from tunewise.models.memory import PassSize
from tunewise.models.modes import eval_mode
from tunewise.objectives.policy import k1
from tunewise.objectives.policy_optimisation import Judged, PolicyOptimisation
from tunewise.types import Split

SHOWN = 3
"""Answers of a round that the log shows: of its first prompts, one each."""
_ROUND, _CONTROL = 17, 19  # keep these random numbers apart from all others of the same seed


class Judging(Protocol):
    """Says what answers are worth (`engine.rewards`). `seen`: the mean of each source, of those it judged last."""

    seen: dict[str, float]

    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], columns: Mapping[str, Sequence[str]]
    ) -> np.ndarray: ...


@dataclass(frozen=True)
class _Written:
    """Answers to prompts, G to each, in their order. `ended`: which ended by themselves."""

    answers: LabelledTokens
    texts: list[str]
    ended: np.ndarray


@dataclass(frozen=True)
class _Round:
    """`rows`: the data's rows that it answers. `figures` and `samples` are for the log."""

    number: int
    rows: np.ndarray
    tokens: RolloutTokens
    items: torch.Tensor
    figures: dict[str, float]
    samples: list[dict[str, Any]]
    passes: float


@dataclass
class Rollouts(DrawnRows):
    """Lets a net that trains write, judges it, and gives the steps what they learn from.

    Args:
        prompts: of every split.
        batch_size: rows of 128 tokens in a pass without gradients.
    """

    net: Net
    objective: PolicyOptimisation
    splits: Mapping[str, Split]
    prompts: Mapping[str, PromptTokens]
    rewards: Judging
    seed: int
    tuned: Tuned
    batch_size: int
    size: PassSize
    stop: Callable[[], None]
    described: str = "that the model writes what it learns from"
    start: StartingPoint = field(default_factory=StartingPoint, init=False)
    _held: _Round | None = field(default=None, init=False)

    # ---- what a training calls

    def begins_to_train(self, tensors: Mapping[str, nn.Parameter]) -> None:
        self.start.keep(tensors)

    def read(self, rows: np.ndarray, epoch: int, targets: torch.Tensor, step: int) -> StepRows:
        """The answers of the round of this step, under the numbers that their prompts have in the data."""
        number = step // self.objective.passes
        first = step == number * self.objective.passes
        if self._held is None or self._held.number != number:
            self._held = self._round(number, rows)
        held = self._held
        places = np.zeros(len(self.splits["train"]), dtype=np.int64)
        places[held.rows] = np.arange(len(held.rows))
        return StepRows(
            held.tokens,
            held.items.to(targets.device),
            places,
            figures=held.figures,
            samples=held.samples if first else [],
            passes=held.passes if first else 0.0,
        )

    def numbers(self, name: str) -> np.ndarray:
        """Reward, KL to the model before training, and tokens of one answer to each prompt of a split, float32 (n, 3);
        the same random numbers whenever it is asked."""
        rows = np.arange(len(self.splits[name]))
        written = self._write(name, rows, 1, self._seed_of(_ROUND + 1))
        rewards_n = self.rewards(*self._judged_texts(name, rows, written.texts, 1))
        read = RolloutTokens(written.answers, 1)
        log_probs_K, reference_K = self._log_probs(read), self._reference(read)
        lengths_n = torch.from_numpy(written.answers.counts)
        judged = Judged(torch.from_numpy(rewards_n)[:, None], lengths_n[:, None], log_probs_K[:, 0], reference_K)
        kl_n = judged.sums(k1(log_probs_K[:, 0], reference_K))[:, 0].numpy()
        return np.stack([rewards_n, kl_n, lengths_n.numpy()], axis=1).astype(np.float32)

    def told(self, changed: int, cut: int, read: int) -> str:
        rounds = read // self.objective.passes
        return (
            f"the model learnt from its own answers: {rounds:,} prompts, {self.objective.options.samples} answers to "
            f"each; to tell how far it went, first values of what trains were kept ({self.start.bytes / 1e6:,.1f} MB)"
        )

    # ---- a round

    def _round(self, number: int, rows: np.ndarray) -> _Round:
        objective, group = self.objective, self.objective.options.samples
        rows = np.unique(rows)
        written = self._write("train", rows, group, self._seed_of(_ROUND, number))
        rewards_A = self.rewards(*self._judged_texts("train", rows, written.texts, group))
        learnt_A = self._control(number, len(rewards_A)) if objective.options.control else rewards_A
        sharing = self.prompts["train"].sharing
        read = RolloutTokens(written.answers, group if sharing else 1, sharing=sharing)
        judged = self._look(read, torch.from_numpy(learnt_A).reshape(-1, group))
        signals = {name: values.numpy().astype(np.float32) for name, values in objective.signals(judged).items()}
        items = objective.items(judged).float()
        figures = self._figures(judged, rewards_A.reshape(-1, group), written)
        objective.after_round(judged)
        tokens = RolloutTokens(written.answers, group, signals, sharing)
        passes = 1.0 + (judged.log_probs_K is not None) + (judged.reference_K is not None)
        samples = self._samples(rows, written.texts, rewards_A, group)
        return _Round(number, rows, tokens, items, figures, samples, passes)

    def _write(self, name: str, rows: np.ndarray, group: int, seed: int) -> _Written:
        options, tokenizer = self.objective.options, self.net.tokenizer
        config = GenerationConfig(max_new_tokens=options.max_new_tokens, temperature=options.temperature)
        asked = [self.prompts[name].ids[int(row)].tolist() for row in rows for _ in range(group)]
        with self.tuned.autocast():
            found = generate(
                self.net.model,
                tokenizer,
                asked,
                config,
                seed=seed,
                rows=[int(row) * group + place for row in rows for place in range(group)],
                virtual=self.net.prompt,
                batch_size=self.batch_size,
                stop=self.stop,
                size=self.size,
            )
        ends = set(end_tokens(self.net.model, tokenizer))
        texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in found]
        return _Written(self._tokens(asked, found), texts, np.array([ids[-1] in ends for ids in found]))

    def _tokens(self, asked: Sequence[Sequence[int]], found: Sequence[Sequence[int]]) -> LabelledTokens:
        """Prompts with their answers, as a model learns from them."""
        pad = self.net.tokenizer.pad_token_id
        if self.net.model.config.is_encoder_decoder:
            learnt = [np.ones(len(ids), np.int8) for ids in found]
            sources, decoded = Ragged.of(asked, np.int32), Ragged.of(found, np.int32)
            return LabelledTokens(decoded, Ragged.of(learnt, np.int8), pad, sources).with_prompt(self.net.prompt)
        both = [[*prompt, *ids] for prompt, ids in zip(asked, found, strict=True)]
        learnt = [
            np.repeat(np.array([0, 1], np.int8), [len(prompt), len(ids)])
            for prompt, ids in zip(asked, found, strict=True)
        ]
        plain = LabelledTokens(Ragged.of(both, np.int32), Ragged.of(learnt, np.int8), pad)
        return plain.with_prompt(self.net.prompt)

    def _judged_texts(
        self, name: str, rows: np.ndarray, texts: list[str], group: int
    ) -> tuple[list[str], list[str], dict[str, list[str]]]:
        """Prompts as the data has them, answers and the other columns, one of each for every answer."""
        split = self.splits[name]
        places = np.repeat(rows, group).tolist()
        columns = {column: [values[place] for place in places] for column, values in split.columns.items()}
        return [split.texts[place][0] for place in places], texts, columns

    def _look(self, read: RolloutTokens, rewards_NG: torch.Tensor) -> Judged:
        objective = self.objective
        lengths_NG = torch.from_numpy(read.counts).reshape(rewards_NG.shape)
        if not objective.needs_log_probs:
            return Judged(rewards_NG, lengths_NG)
        found_KC = self._read(read, objective.looked_at)
        reference_K = self._reference(read) if objective.needs_reference else None
        values_K = found_KC[:, 1] if objective.has_values else None
        return Judged(rewards_NG, lengths_NG, found_KC[:, 0], reference_K, values_K)

    def _reference(self, read: RolloutTokens) -> torch.Tensor:
        """Log-probabilities by the model before training, (K,)."""
        with self.start.restored():
            return self._log_probs(read)[:, 0]

    def _log_probs(self, read: RolloutTokens) -> torch.Tensor:
        """Of each token of the answers, (K, 1)."""
        return self._read(read, self.objective.log_probs)

    def _read(self, read: RolloutTokens, wanted: Outputs) -> torch.Tensor:
        """Numbers (K, C) of each token of the answers, in eval mode; on the CPU."""
        device, found = next(self.net.model.parameters()).device, {}

        def look(places: np.ndarray) -> np.ndarray:
            self.stop()
            batch = {name: values.to(device) for name, values in read.batch(places).items()}
            with torch.no_grad(), self.tuned.autocast():
                return wanted(self.net.model, batch).float().cpu()

        with eval_mode(self.net.model):
            batches = sorted_batches(read.widths, self.batch_size)
            for places, looked_MC in self.size.run(batches, read.widths, look):
                parts = looked_MC.split(read.counts[places].sum(1).tolist())
                found |= dict(zip(places.tolist(), parts, strict=True))
        return torch.cat([found[place] for place in range(len(read))])

    # ---- what is told of it

    def _figures(self, judged: Judged, rewards_NG: np.ndarray, written: _Written) -> dict[str, float]:
        """Of a round: `rewards_NG` are the real ones, where those learnt from are a control."""
        lengths = judged.lengths_NG.double()
        figures = {
            "reward": float(rewards_NG.mean()),
            "reward_std": float(rewards_NG.std()),
            "length": float(lengths.mean()),
            "ended": float(written.ended.mean()),
        }
        if rewards_NG.shape[1] > 1:
            figures["silent_groups"] = float((np.ptp(judged.rewards_NG.numpy(), axis=1) == 0).mean())
        if judged.kl_NG is not None:
            figures["kl"] = float(judged.kl_NG.double().mean())
        if len(self.rewards.seen) > 1:
            figures |= {f"reward/{name}": value for name, value in self.rewards.seen.items()}
        return figures | {name: float(value) for name, value in self.objective.state().items()}

    def _samples(self, rows: np.ndarray, texts: list[str], rewards_A: np.ndarray, group: int) -> list[dict[str, Any]]:
        prompts = self.prompts["train"].texts
        return [
            {"prompt": prompts[int(row)], "text": texts[place * group], "reward": float(rewards_A[place * group])}
            for place, row in enumerate(rows[:SHOWN])
        ]

    # ---- random numbers and checkpoints

    def _seed_of(self, *numbers: int) -> int:
        return int(np.random.SeedSequence([self.seed, *numbers]).generate_state(1)[0])

    def _control(self, number: int, answers: int) -> np.ndarray:
        return np.random.default_rng([self.seed, number, _CONTROL]).standard_normal(answers)

    def state(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        own = {"objective": self.objective.state()}
        if self._held is None:
            return own, {}
        held, answers = self._held, self._held.tokens.answers
        tensors = {
            "rows": held.rows,
            "items": held.items.numpy(),
            "ids": answers.ids.flat,
            "starts": answers.ids.offsets,
            "learnt": answers.learnt.flat,
            "learnt_starts": answers.learnt.offsets,
            **{f"signal.{name}": values for name, values in held.tokens.signals.items()},
        }
        if answers.sources is not None:
            tensors |= {"sources": answers.sources.flat, "source_starts": answers.sources.offsets}
        stored = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in tensors.items()}
        return {**own, "round": held.number, "figures": held.figures}, stored

    def restore(self, state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        self.objective.restore(state["objective"])
        if "round" not in state:
            return
        stored = {name: values.numpy() for name, values in tensors.items()}
        sources = Ragged(stored["sources"], stored["source_starts"]) if "sources" in stored else None
        answers = LabelledTokens(
            Ragged(stored["ids"], stored["starts"]),
            Ragged(stored["learnt"], stored["learnt_starts"]),
            self.net.tokenizer.pad_token_id,
            sources,
        )
        signals = {name[7:]: values for name, values in stored.items() if name.startswith("signal.")}
        sharing = self.prompts["train"].sharing
        tokens = RolloutTokens(answers, self.objective.options.samples, signals, sharing)
        items = torch.from_numpy(stored["items"])
        self._held = _Round(state["round"], stored["rows"], tokens, items, state["figures"], [], 0.0)
