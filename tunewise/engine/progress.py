"""How far a training is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tunewise.engine.kept import Spent

if TYPE_CHECKING:
    from tunewise.engine.gradients import Sums


@dataclass
class Progress:
    """How far a training is; JSON in a checkpoint. `seconds` is the time in steps and measurements, `elapsed` that of
    everything since the training began, `measuring_flops` the part of the others that measurements took,
    `writing_flops` that in which the model wrote what it learns from, and looked at it; `curve` has one entry per
    validation. Of the frozen-prefix cache: `elsewhere_*` is what other runs have spent on entries that this one read,
    `spared_flops` what the forward passes would have taken besides without it. `unvalidated`: the validation after this
    step is still to come. `halvings` and `pass_tokens`: how small batches had to become to fit into memory
    (`Course.halvings`, `PassSize.most`); `skipped`: how many steps were left out, not being finite. `collapsed`: the
    objective has stopped the training; `rounds`: what it told of answers (`told_rounds`). `read_rows`: rows of all
    steps; `changed_rows` of them had other words or pixels than in the data, and `cut_rows` of these were longer than
    the model reads."""

    step: int = 0
    seconds: float = 0.0
    elapsed: float = 0.0
    forward_flops: float = 0.0
    backward_flops: float = 0.0
    tokens: int = 0
    measuring_flops: float = 0.0
    writing_flops: float = 0.0
    elsewhere_seconds: float = 0.0
    elsewhere_flops: float = 0.0
    spared_flops: float = 0.0
    planned_at: int = 0
    unvalidated: bool = False
    trained: list[str] = field(default_factory=list)
    plans: list[dict[str, Any]] = field(default_factory=list)
    curve: list[dict[str, Any]] = field(default_factory=list)
    loss_sum: float = 0.0
    loss_steps: int = 0
    best_step: int | None = None
    best_value: float | None = None
    without_gain: int = 0
    stopped_early: bool = False
    collapsed: bool = False
    rounds: dict[str, Any] = field(default_factory=dict)
    halvings: int = 0
    pass_tokens: int | None = None
    skipped: int = 0
    read_rows: int = 0
    changed_rows: int = 0
    cut_rows: int = 0

    @property
    def learning_flops(self) -> float:
        """What steps and measurements would have taken if nothing were kept: what a method may spend must not hang on
        the cache, nor on how much the model writes, which is the same whatever trains."""
        return self.forward_flops + self.backward_flops + self.spared_flops - self.writing_flops

    def count(self, step: Sums) -> None:
        """Adds what a step took, and what it read."""
        self.forward_flops += step.forward_flops
        self.backward_flops += step.backward_flops
        self.spared_flops += step.spared_flops
        self.writing_flops += step.writing_flops
        self.tokens += step.tokens
        self.read_rows += step.rows
        self.changed_rows += step.changed
        self.cut_rows += step.cut

    def count_measuring(self, forward_flops: float, backward_flops: float, seconds: float) -> None:
        """Adds what measurements before a plan took."""
        self.forward_flops += forward_flops
        self.backward_flops += backward_flops
        self.measuring_flops += forward_flops + backward_flops
        self.seconds += seconds

    def begin_phase(self, spent: Spent, resumed: bool) -> None:
        """Adds what reading through the cache takes at the start of a phase. A run that goes on in the middle of one
        takes some seconds more, but has counted all else: its FLOPs are those of the run that never stopped."""
        self.seconds += spent.seconds
        if not resumed:
            self.forward_flops += spent.flops
            self.spared_flops -= spent.flops
            self.elsewhere_seconds += spent.elsewhere_seconds
            self.elsewhere_flops += spent.elsewhere_flops
