"""What the answers of a model are worth: by reward models, by the user's functions, or by a weighted sum of both.

Shape legend: n answers, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from tunewise.chat.messages import ASSISTANT, Conversation, from_text, joined_text, to_text
from tunewise.data.rewarded import rewarded_row
from tunewise.engine.feature_head import FeatureHead
from tunewise.engine.handover import load_model
from tunewise.engine.job import Job
from tunewise.engine.model_meta import schema_from
from tunewise.engine.train import outputs
from tunewise.errors import ModelError, NonFiniteError, RecipeError
from tunewise.evaluate.reward_functions import Judge
from tunewise.evaluate.scores import to_scores
from tunewise.models.from_runs import handed_over
from tunewise.models.load import Net, load_net
from tunewise.models.locate import locate
from tunewise.models.located import LocatedModel
from tunewise.models.memory import PassSize, memory_told
from tunewise.objectives.reward_settings import RewardSource
from tunewise.types import Plan, Schema

TINY = 1e-7
"""A probability of 0 or 1 counts as this far from it, so that its log-odds are a number (16 at most)."""
NUMBERS = ("regression", "preference")
"""Tasks whose models give one number, which is the reward."""


@dataclass
class Rewards:
    """The sources of a recipe, ready to judge.

    Args:
        functions: those of the user, by their references.
        folder: what relative paths of models start from.
        batch_size: of reward models, as `evaluate.batch_size` has it.
        chat: prompts are messages, as JSON.

    Attributes:
        seen: the mean reward of each source, by its name, of the answers that were judged last.
    """

    sources: Sequence[RewardSource]
    functions: Mapping[str, Judge]
    folder: Path
    device: torch.device
    batch_size: int
    size: PassSize
    stop: Callable[[], None] = lambda: None
    chat: bool = False
    seen: dict[str, float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._judges = [self._judge(source) for source in self.sources]

    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], columns: Mapping[str, Sequence[str]]
    ) -> np.ndarray:
        """The reward of each completion, float64 (n,).

        Args:
            columns: other columns of the data, for functions.

        Raises:
            RecipeError: a function fails, or does not return a finite number for each.
            NonFiniteError: a reward model gives NaN or infinity.
        """
        total_n = np.zeros(len(completions))
        self.seen = {}
        for source, judge in zip(self.sources, self._judges, strict=True):
            rewards_n = np.asarray(judge(prompts, completions, columns), dtype=np.float64)
            if (bad := np.flatnonzero(~np.isfinite(rewards_n))).size:
                raise NonFiniteError(
                    f"the reward model '{source.model}' gives NaN or infinity",
                    where=f"completion {completions[int(bad[0])]!r:.80}",
                    fix="train the reward model again with a lower learning rate, or in fp32",
                )
            self.seen[source.name] = float(rewards_n.mean())
            total_n += source.weight * rewards_n
        return total_n

    def _judge(self, source: RewardSource) -> Judge:
        if source.function is not None:
            return self.functions[source.function]
        with memory_told("loading the reward model"):
            judge = _ModelJudge.of(source, self.folder, self.device, self.batch_size, self.size, self.stop)
        judge.chat = self.chat
        return judge


def rewards_of(
    sources: Sequence[RewardSource], functions: Mapping[str, Judge], folder: Path
) -> Callable[[Job], Rewards]:
    """Makes the rewards of a run when its training begins: reward models load then.

    Args:
        folder: see `Rewards`.
    """

    def ready(job: Job) -> Rewards:
        device, rows = torch.device(job.tuned.device), job.evaluator.config.batch_size
        chat = job.data.schema.form == "chat"
        return Rewards(sources, functions, folder, device, rows, job.pass_size, job.stop.check, chat)

    return ready


@dataclass
class _ModelJudge:
    """A model that judges: its number, or the log-odds of a class. `place` is that class's."""

    net: Net
    plan: Plan
    head: FeatureHead | None
    schema: Schema
    place: int | None
    batch_size: int
    size: PassSize
    stop: Callable[[], None]
    chat: bool = False

    @classmethod
    def of(
        cls,
        source: RewardSource,
        folder: Path,
        device: torch.device,
        batch_size: int,
        size: PassSize,
        stop: Callable[[], None],
    ) -> _ModelJudge:
        path = folder / Path(source.model).expanduser()
        run = handed_over(path)
        if run is None:
            net, schema = _plain(locate(source.model, folder))
            plan, head = Plan(rules=(), learning_rate=0.0), None
            net.to(device).model.eval()
        else:
            net, plan, head, meta = load_model(run, device)
            schema = schema_from(meta["schema"])
        net.model.requires_grad_(False)
        return cls(net, plan, head, schema, _class_of(source, schema), batch_size, size, stop)

    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], columns: Mapping[str, Sequence[str]]
    ) -> np.ndarray:
        rows = [self._row(*pair) for pair in zip(prompts, completions, strict=True)]
        logits_nC = outputs(self.net, self.plan, self.head, rows, self.batch_size, stop=self.stop, size=self.size)
        if self.place is None:
            return logits_nC[:, 0]
        scores_nC = np.clip(to_scores(self.schema.task, logits_nC), TINY, 1 - TINY)
        chosen_n = scores_nC[:, self.place]
        return np.log(chosen_n) - np.log1p(-chosen_n)

    def _row(self, prompt: str, completion: str) -> tuple[str, ...]:
        """As the model reads it. One that knows no messages gets their texts, a line each."""
        as_chat = self.schema.task == "preference" and self.schema.form == "chat"
        if self.chat and not as_chat:
            prompt = joined_text(from_text(prompt).messages) + "\n"
        if self.schema.task == "preference":
            # A message of its own, so that an answer that looks like a conversation is not taken for one.
            answer = to_text(Conversation(({"role": ASSISTANT, "content": completion},))) if as_chat else completion
            return rewarded_row((prompt, answer), self.schema)
        return (prompt, completion) if len(self.schema.text) == 2 else (prompt + completion,)


def _plain(located: LocatedModel) -> tuple[Net, Schema]:
    """A sequence classifier of transformers, which was not made by tunewise: it reads prompt and completion as one
    text."""
    labels = _labels(located)
    task = "classification" if len(labels) > 1 else "regression"
    schema = Schema(task, ("text",), "reward", labels if len(labels) > 1 else ())
    net = load_net(located, schema)
    if new := [tensor.name for tensor in net.map.tensors if not tensor.pretrained]:
        raise ModelError(
            f"the model holds no trained output layer ({new[0]} is missing), so that its rewards would be random",
            where=str(located.path),
            fix="name a folder with a trained sequence classifier, or a run of tunewise with a reward model",
        )
    return net, schema


def _labels(located: LocatedModel) -> tuple[str, ...]:
    """The classes that config.json names; transformers takes two where it says nothing."""
    names = located.config.get("id2label")
    if isinstance(names, dict) and names:
        return tuple(str(name) for _, name in sorted(names.items(), key=lambda item: int(item[0])))
    return tuple(f"LABEL_{number}" for number in range(int(located.config.get("num_labels", 2))))


def _class_of(source: RewardSource, schema: Schema) -> int | None:
    where = f"reward: {source.model}"
    if schema.task in NUMBERS:
        if source.wanted_class is not None:
            raise RecipeError(
                "the reward model gives a number, not classes", where=where, fix="leave `wanted_class` out"
            )
        return None
    if schema.task not in ("classification", "multilabel") or not schema.text:
        raise RecipeError(
            f"a model for {schema.task} does not say what an answer is worth",
            where=where,
            fix="name a run with a reward model, a regression or a classifier of texts",
        )
    if source.wanted_class not in schema.labels:
        shown = ", ".join(schema.labels[:20])
        what = (
            "and `wanted_class` is not given"
            if source.wanted_class is None
            else f"without a class '{source.wanted_class}'"
        )
        raise RecipeError(
            f"the reward model is a classifier, {what}",
            where=where,
            fix=f"give `wanted_class` as one of: {shown}",
        )
    return schema.labels.index(source.wanted_class)
