from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_bench import Setup, set_up

from tunewise.types import DataBundle


@pytest.fixture
def training(
    tiny_model: Callable[..., Path], toy_data: Callable[..., DataBundle], tmp_path: Path
) -> Callable[..., Setup]:
    """`training(method, family="bert", data=None, at="a", **settings)`: a training of a model with 2 blocks, in the
    folder `at`."""

    def make(
        method: str = "full", *, family: str = "bert", data: DataBundle | None = None, at: str = "a", **more: Any
    ) -> Setup:
        folder = tmp_path / at
        folder.mkdir(exist_ok=True)
        return set_up(tiny_model(family, 2), data or toy_data(), folder, method, **more)

    return make
