"""Lets torchvision be imported beside a build of torch that its compiled operators do not fit.

torchvision as published needs CUDA's libraries for its operators. Beside torch for the CPU they do not load; then the
import of torchvision fails, and with it that of transformers ('operator torchvision::nms does not exist'). Names
without code in the place of the two operators that it asks for are enough for timm, which uses neither.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept: list[Any] = []  # the names are gone with the object that made them


def watch_for_torchvision() -> None:
    """From here on, the import of torchvision first sees to its operators. Costs nothing where nobody imports it."""
    if not any(isinstance(finder, _BeforeTorchvision) for finder in sys.meta_path):
        sys.meta_path.insert(0, _BeforeTorchvision())


class _BeforeTorchvision(MetaPathFinder):
    """Finds torchvision where Python would, and has it loaded after its operators are there."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "torchvision":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None or spec.origin is None:
            return spec
        load, folder = spec.loader.exec_module, Path(spec.origin).parent

        def exec_module(module: ModuleType) -> None:
            provide_operators(folder)
            load(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def provide_operators(folder: Path) -> bool:
    """Loads torchvision's compiled operators, and where they do not load, names them; whether that was needed.

    Args:
        folder: torchvision's.
    """
    import torch

    if _there():
        return False
    for library in sorted(folder.glob("_C*.so")) + sorted(folder.glob("_C*.pyd")):
        try:
            torch.ops.load_library(library)
        except OSError:
            continue
    if _there():
        return False
    operators = torch.library.Library("torchvision", "DEF")
    for operator in OPERATORS:
        operators.define(operator)
    _kept.append(operators)
    return True


def _there() -> bool:
    import torch

    return hasattr(torch.ops.torchvision, "nms")
