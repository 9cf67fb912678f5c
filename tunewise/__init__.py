"""tunewise: fine-tune a pretrained model with many methods, and see which one is worth its cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunewise.models.torchvision_operators import watch_for_torchvision

__version__ = "0.1.0"
__all__ = ["__version__", "check_data", "compare", "curve", "estimate", "load", "train"]

watch_for_torchvision()

if TYPE_CHECKING:
    from tunewise.api import check_data, compare, curve, estimate, load, train


def __getattr__(name: str) -> Any:
    """Loads the functions of `tunewise.api` when they are first used, so that `import tunewise` costs nothing."""
    if name in ("check_data", "compare", "curve", "estimate", "load", "train"):
        from tunewise import api

        return getattr(api, name)
    raise AttributeError(f"module 'tunewise' has no attribute '{name}'")
