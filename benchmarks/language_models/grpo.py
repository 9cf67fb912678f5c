"""Group relative policy optimisation beside trl's GRPOTrainer: answers that the model writes, judges and learns from.

A step is all of it: `samples` answers to each prompt, a reward in Python, one update with all of them. Draws differ,
and with them the answers and the losses: what has to be equal is how many tokens are written. By default no answer ends
before `--new-tokens`, so that it is; with `--ends` an answer ends by chance after so many tokens on average, the same
chance on all sides, and seconds are to be compared per token. That the losses are the same for the same answers is
tested where the formulas are.

GRPOTrainer as it comes writes all answers of a step at once, makes one update with them, and has no reference (beta 0):
what an expert would set besides is no checkpointing and the number format. Ours writes them in batches of the size of
its predictions; `ours, prompts shared` reads a prompt once for all its answers in the update.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.language_models import own, peers, reward
from benchmarks.language_models.asked import Asked, Found, Measured, mib

if TYPE_CHECKING:
    from transformers import Trainer

REWARD = "reward.py"


def ours(asked: Asked, **train: Any) -> Found:
    options = {"reward": f"{REWARD}:even", "samples": asked.samples, "max_new_tokens": asked.new_tokens}
    described = own.recipe(asked, train, objective={"grpo": options})
    described["data"]["task"] = "prompts"
    text = Path(reward.__file__).read_text(encoding="utf-8")
    return own.run(described, "--allow-code", files={REWARD: text})


def writing(asked: Asked) -> dict[str, Any]:
    """A batch of the trainer is so many answers, not prompts."""
    batch = asked.batch * asked.samples
    options = {"num_generations": asked.samples, "max_completion_length": asked.new_tokens}
    return {"per_device_train_batch_size": batch, **options}


def trl(asked: Asked, tuned: bool) -> Found:
    from trl import GRPOConfig, GRPOTrainer

    def make(out: str, given: dict[str, Any]) -> Trainer:
        more = peers.tuned(asked) if tuned else {}
        config = GRPOConfig(**{**peers.settings(asked, out), **writing(asked), **more})
        return GRPOTrainer(args=config, reward_funcs=reward.even, **given)

    return peers.run(asked, make)


def line(asked: Asked, found: Found) -> dict[str, Any]:
    """`written`: tokens of the answers of each step."""
    written = [round(step["length"] * asked.rows * asked.samples) for step in found.figures]
    return {
        "seconds_per_step": round(found.seconds / asked.steps, 2),
        "tokens_per_second": round(sum(written) / found.seconds, 1),
        "above_mib": mib(found),
        "written": written,
        "rewards": [round(step["reward"], 4) for step in found.figures],
    }


GRPO = Measured(
    sides={
        "defaults": partial(trl, tuned=False),
        "tuned": partial(trl, tuned=True),
        "ours": ours,
        "ours, prompts shared": partial(ours, packing=True),
    },
    columns=("prompt",),
    defaults={"rows": 8, "batch": 2, "steps": 2, "rate": 1e-5},
    others=2,
    line=line,
    ends=True,
)
