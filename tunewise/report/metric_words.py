"""What the report says of a metric: its meaning in one line and which direction is good."""

from __future__ import annotations


def meaning(metric: str) -> str:
    """One line of explanation; nothing for the user's own metrics."""
    from tunewise.evaluate.metrics import METRICS

    if metric == "cost":
        return "mean cost of the mistakes per row, by the recipe's table"
    if kind := entity_type(metric):
        return f"F1 of entities of the type {kind}"
    return METRICS[metric].words if metric in METRICS else ""


def entity_type(metric: str) -> str:
    """The type of entity that a metric is about; nothing for metrics of all types."""
    from tunewise.evaluate.metrics import ENTITY_F1_OF

    return metric.removeprefix(ENTITY_F1_OF) if metric.startswith(ENTITY_F1_OF) else ""


def greater_is_better(metric: str) -> bool:
    """The direction; the user's own metrics are better when higher, mistakes' cost when lower."""
    from tunewise.evaluate.metrics import METRICS

    return METRICS[metric].greater_is_better if metric in METRICS else metric != "cost"


def is_neutral(metric: str) -> bool:
    """Whether neither more nor less is better in itself."""
    from tunewise.evaluate.metrics import METRICS

    return metric in METRICS and METRICS[metric].neutral


def default_metric(task: str) -> str:
    """What is chosen by where the recipe names no metric."""
    from tunewise.evaluate import metrics

    return metrics.default_metric(task)
