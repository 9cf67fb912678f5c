"""What transformers makes of a model folder: without code or network, of weights in safetensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig

from tunewise.errors import ModelError, TunewiseError
from tunewise.models.located import LocatedModel


def read_config(located: LocatedModel) -> Any:
    """The configuration in config.json."""
    return AutoConfig.from_pretrained(located.path, local_files_only=True, trust_remote_code=False)


def choose_attention(config: Any, wanted: str | None) -> None:
    """Takes an implementation of transformers, or leaves it the choice, whatever config.json says: a name there can be
    a repository, from which transformers would fetch code to run."""
    # Asked for by name, sdpa is an error where the family does not have it; left open, it is taken where it is there.
    config._attn_implementation, config._experts_implementation = None if wanted == "sdpa" else wanted, None


def from_weights(kind: Any, located: LocatedModel, config: Any, **options: Any) -> tuple[nn.Module, dict[str, Any]]:
    """The model of a configuration with the folder's weights in fp32, and what transformers reports of their loading.

    Args:
        kind: an auto class of transformers.
        options: of its `from_pretrained`.
    """
    return kind.from_pretrained(
        located.path,
        config=config,
        dtype=torch.float32,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
        trust_remote_code=False,
        **options,
    )


@contextmanager
def told_as(error: Callable[[str], ModelError]) -> Iterator[None]:
    """What transformers raises is told as this error, made from the first line of what it says. Of a hostile
    configuration that can be a division by zero, a strict dataclass's own kind, and others; the library of fast
    tokenisers raises Exception itself."""
    try:
        yield
    except (TunewiseError, MemoryError):
        raise
    except Exception as problem:
        raise error((str(problem).strip() or type(problem).__name__).splitlines()[0]) from None
