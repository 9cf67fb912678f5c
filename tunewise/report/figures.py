"""How figures and texts are written for people: short, with units, the same in the terminal, the page and the card."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

NONE = "–"
# Control characters (ANSI sequences start with one) and those that turn the direction of writing around.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
_UNBOUNDED = ("mse", "mae", "rmse", "log_loss", "cost")
METRIC_WORDS = {
    "f1_macro": "macro F1",
    "f1_micro": "micro F1",
    "f1_weighted": "weighted F1",
    "f1_samples": "F1 per row",
    "f1": "F1",
    "roc_auc": "ROC-AUC",
    "mcc": "MCC",
    "ece": "calibration error (ECE)",
    "log_loss": "log-loss",
    "r2": "R²",
    "mse": "MSE",
    "mae": "MAE",
    "rmse": "RMSE",
    "pearson": "Pearson r",
    "spearman": "Spearman rho",
    "entity_f1": "entity F1",
}


def metric_name(metric: str) -> str:
    """`f1_macro` as "macro F1", `entity_f1_person` as "entity F1 of person", others with spaces."""
    if metric.startswith("entity_f1_"):
        return f"entity F1 of {plain(metric.removeprefix('entity_f1_'))}"
    return METRIC_WORDS.get(metric, plain(metric).replace("_", " "))


def plain(value: Any, limit: int | None = None) -> str:
    """One line of text that cannot steer a terminal or turn around: control characters become visible as `\\x1b`.

    Lists (labels of a row, a pair of sentences) are joined; with `limit`, longer text is cut and ends in an ellipsis.
    """
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return score(value)
    if isinstance(value, (list, tuple)):
        value = " | ".join(plain(part) for part in value) or "(none)"
    text = _visible(" ".join(str(value).split()))
    if limit is not None and len(text) > limit:
        text = text[: limit - 1].rstrip() + "…"
    return text


def plain_lines(text: str, limit: int) -> str:
    """As `plain`, with line breaks and indentation kept."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "\n".join(_visible(line.replace("\t", "    ")) for line in cut.splitlines())


def _visible(text: str) -> str:
    return _UNSAFE.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def score(value: float | None) -> str:
    """A metric: three decimals below 10, four significant digits from there on."""
    if not is_number(value):
        return NONE
    if abs(value) < 10:
        return f"{value:.3f}".replace("-0.000", "0.000")
    return f"{value:.4g}" if abs(value) < 1e5 else f"{value:.2e}"


def interval(low: float | None, high: float | None) -> str:
    return f"{score(low)} to {score(high)}" if is_number(low) and is_number(high) else NONE


def in_points(metric: str) -> bool:
    """Whether differences are told in points (hundredths): for metrics between -1 and 1."""
    return (metric in METRIC_WORDS and metric not in _UNBOUNDED) or metric.startswith(
        (
            "accuracy",
            "balanced_accuracy",
            "precision",
            "recall",
            "average_precision",
            "hamming_loss",
            "entity_",
            "token_",
            "preference_accuracy",
            "next_token_accuracy",
            "exact_match",
            "reward_auc",
            "rouge",
            "distinct_",
        )
    )


def difference(value: float, metric: str) -> str:
    """A difference without its sign, in points or in the metric's own unit: "1.2 points", "0.034"."""
    if not in_points(metric):
        return score(abs(value))
    figure = f"{abs(value) * 100:.1f}"
    return f"{figure} point{'' if figure == '1.0' else 's'}"


def difference_interval(low: float, high: float, metric: str) -> str:
    """The interval of a difference, with signs only where an end is below zero: "0.1 to 2.4"."""
    ends = [f"{value * 100:.1f}".replace("-0.0", "0.0") if in_points(metric) else score(value) for value in (low, high)]
    return " to ".join(ends).replace("-", "−")


def seconds(value: float | None) -> str:
    """ "<0.01 s", "0.82 s", "41 s", "3 min 20 s", "2 h 05 min"."""
    if not is_number(value):
        return NONE
    if 0 < value < 0.005:
        return "<0.01 s"
    if value < 1:
        return f"{value:.2f} s"
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def milliseconds(value: float | None) -> str:
    if not is_number(value):
        return NONE
    return f"{value:.2f} ms" if value < 9.995 else f"{value:.0f} ms"


def _scaled(value: float, units: tuple[str, ...]) -> str:
    """Three digits at most: 999 -> "999", 1_234 -> "1.2 k"; the first unit is that of the bare number."""
    power = 0
    while abs(value) >= 999.5 and power < len(units) - 1:
        value, power = value / 1000, power + 1
    figure = f"{value:.1f}" if power and abs(value) < 99.95 else f"{value:.0f}"
    return f"{figure} {units[power]}".rstrip()


def size(value: float | None) -> str:
    """Bytes, in powers of 1000: "3.4 MB"."""
    return _scaled(value, ("B", "kB", "MB", "GB", "TB", "PB")) if is_number(value) else NONE


def count(value: float | None) -> str:
    """Parameters or rows: "385", "22.7 M"."""
    return _scaled(value, ("", "k", "M", "B", "T")).replace(" ", "\u202f") if is_number(value) else NONE


def flops(value: float | None) -> str:
    return _scaled(value, ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP")) if is_number(value) else NONE


def ratio(value: float) -> str:
    """ "1.3x", "12x"."""
    return f"{value:.1f}x" if value < 9.95 else f"{value:,.0f}x"


COSTS = {
    "train_seconds": ("Training time", seconds),
    "flops": ("Training FLOPs", flops),
    "peak_memory_bytes": ("Peak memory", size),
    "saved_bytes": ("Saved size", size),
}
"""The costs a method can be judged by: what they are called and how they are written."""


def cost(costs: Mapping[str, float], name: str) -> float | None:
    """A cost by name; `flops` is forward and backward together. None where it was not measured."""
    if name == "flops":
        parts = [costs.get("forward_flops"), costs.get("backward_flops")]
        return sum(parts) if all(is_number(part) for part in parts) else None
    value = costs.get(name)
    return value if is_number(value) else None
