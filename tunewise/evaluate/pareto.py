"""The Pareto front of quality and cost."""

from __future__ import annotations

import math
from collections.abc import Mapping


def pareto_front(points: Mapping[str, tuple[float, float]], greater_is_better: bool = True) -> tuple[str, ...]:
    """The names that no other beats: none is at least as good and as cheap, and better in one. Cheapest first.

    Args:
        points: (quality, cost) by name; a point that is not finite is left out.
    """
    sign = 1 if greater_is_better else -1
    usable = {
        name: (sign * quality, -cost)
        for name, (quality, cost) in points.items()
        if math.isfinite(quality) and math.isfinite(cost)
    }
    front = [
        name
        for name, own in usable.items()
        if not any(other != own and other[0] >= own[0] and other[1] >= own[1] for other in usable.values())
    ]
    return tuple(sorted(front, key=lambda name: (-usable[name][1], -usable[name][0])))
