"""A training that its objective stops, because what the model writes has gone too far."""

from __future__ import annotations

from tunewise.engine.progress import Progress
from tunewise.errors import TrainingError


def stop_collapsed(reason: str, progress: Progress, keeps_best: bool) -> str:
    """Ends the training after this step, and returns a warning that says what is kept.

    Args:
        reason: what `Objective.collapsed` said.
        keeps_best: there are weights of a validation before.

    Raises:
        TrainingError: there are none, so that only what has gone too far could be handed over.
    """
    if not keeps_best:
        raise TrainingError(
            f"training was stopped at step {progress.step}, and no weights of a validation before are kept: {reason}",
            where=f"step {progress.step}",
            fix="take a lower learning rate or a larger beta, or validate more often (train.evaluate_every) with "
            "train.keep_best",
        )
    progress.stopped_early = progress.collapsed = True
    return (
        f"training was stopped at step {progress.step}: {reason}; handed over are the weights of step "
        f"{progress.best_step}, the best validation before"
    )
