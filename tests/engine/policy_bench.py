"""Makes small trainings that learn from what the model writes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from training_bench import Setup

from tunewise.commit import Series
from tunewise.conformance.models import SPECIAL_OF, TEXT, make_tokenizer
from tunewise.conformance.toy_data import FILLER
from tunewise.engine.device import Tuned
from tunewise.engine.events import Observer, Observers
from tunewise.engine.job import Job
from tunewise.engine.rewards import rewards_of
from tunewise.engine.settings import TrainConfig
from tunewise.engine.stop import Stop
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.reward_functions import Judge
from tunewise.evaluate.settings import EvaluateConfig
from tunewise.models.load import load_net
from tunewise.models.locate import locate
from tunewise.objectives import ObjectiveConfig, make_objective
from tunewise.recipe import MethodChoice
from tunewise.tracking.jsonl_log import JsonlLog
from tunewise.types import DataBundle, Schema, Split


def wanted(prompts: Any, completions: Any, columns: Any) -> list[float]:
    """Share of the words of an answer that are in the first half of the alphabet."""
    words = [text.split() for text in completions]
    return [sum(word[0] < "m" for word in row) / max(1, len(row)) for row in words]


@cache
def language_folder(parent: Path, family: str) -> Path:
    """The folder of a random model that gives the next token."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    folder = parent / family
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kind = AutoModelForSeq2SeqLM if family == "t5" else AutoModelForCausalLM
        kind.from_config(TEXT[family](1 if family == "t5" else 2)).save_pretrained(folder)
    make_tokenizer(SPECIAL_OF[family]).save_pretrained(folder)
    return folder


def prompts(rows: int = 8) -> DataBundle:
    """Rows of two or three words."""
    splits = {}
    for name, count in (("train", rows), ("validation", 4), ("test", 4)):
        texts = tuple(
            (" ".join(FILLER[(7 * row + k) % len(FILLER)] for k in range(2 + row % 2)),) for row in range(count)
        )
        targets, numbers = np.zeros(count, np.float32), np.arange(1, count + 1)
        answers = {"answer": tuple(f"a{row}" for row in range(count))}
        splits[name] = Split(name, texts, targets, numbers, "toy.jsonl", answers)
    schema = Schema("prompts", ("prompt",), "", (), "completion")
    return DataBundle(splits, schema, (), fingerprint=f"prompts-{rows}")


def policy_training(
    parent: Path,
    folder: Path,
    objective: dict[str, Any],
    method: str = "full",
    *,
    family: str = "llama",
    options: dict[str, Any] | None = None,
    judge: Judge = wanted,
    data: DataBundle | None = None,
    observers: tuple[Observer, ...] = (),
    stop: Stop | None = None,
    **settings: Any,
) -> Setup:
    """A training with the reward function `judge`; `settings` are those of the `train` section.

    Args:
        parent: where models lie.
        objective: for instance {"grpo": {"samples": 4}}.
    """
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    data = data or prompts()
    ((name, chosen),) = objective.items()
    given = {"max_new_tokens": 6, "reward": "wanted.py:wanted", **chosen}
    made = make_objective(ObjectiveConfig(**{name: given}), data)
    config = TrainConfig(**{"learning_rate": 5e-3, "batch_size": 4, "max_steps": 6, "schedule": "constant", **settings})
    located = locate(str(language_folder(parent, family)), folder)
    net = load_net(located, data.schema, seed=0, language=True)
    choice = MethodChoice(name=method, options=options or {})
    sources = made.options.reward
    job = Job(
        objective=made,
        data=data,
        evaluator=Evaluator(data.schema, EvaluateConfig(), folder),
        metric="reward",
        config=config,
        tuned=Tuned("cpu", "fp32", 1),
        seed=0,
        observers=Observers([JsonlLog(folder / "log.jsonl"), *observers]),
        label=choice.label,
        checkpoints=Series(folder / "checkpoints"),
        stop=stop or Stop(),
        fingerprint="test",
        rewards=rewards_of(sources, {source.name: judge for source in sources}, folder),
    )
    return Setup(net, choice.build(config.learning_rate), job, folder)


Make = Callable[..., Setup]
