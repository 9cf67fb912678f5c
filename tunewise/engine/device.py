"""Where and how to compute: device, number format, threads, attention, order of images. Decided once per run, stored
with it, kept on resume."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tunewise.engine.candidates import (
    attention_question,
    layout_question,
    precision_question,
    stack_question,
    threads_question,
)
from tunewise.engine.cores import physical_cores, runs_that_fit
from tunewise.engine.determinism import compute_deterministically
from tunewise.engine.machine import Machine, this_machine
from tunewise.engine.settings import TrainConfig
from tunewise.errors import RecipeError
from tunewise.models.attention import AttentionShape, attention_of, use_attention
from tunewise.models.freed_memory import freed_memory_kept
from tunewise.models.guarded_convolutions import guard_convolutions
from tunewise.models.located import LocatedModel
from tunewise.models.memory_format import reads_images, use_channels_last
from tunewise.types import DataBundle

if TYPE_CHECKING:
    from tunewise.models.load import Net

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# For every shape of a matrix product torch and oneDNN keep compiled code, 1,024 each unless told, and batches of text
# have many shapes. With these, MiniLM took 304 MB above its imports for LoRA and 393 for full, in 150 steps of 8 rows,
# instead of 750 and 638, in the same time (5% more with 8 and 64).
KEPT_KERNELS = {"LRU_CACHE_CAPACITY": "32", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "100"}


@dataclass(frozen=True)
class Tuned:
    """What was tuned to the machine. `attention` and `attention_prediction` are implementations of transformers, None
    for the model's own choice; the model handed over keeps its own. `channels_last` is the order in which convolutional
    nets have images and kernels in memory (`models.memory_format`). `stacked`: so many LoRA runs of one seed train in
    one pass over the base."""

    device: str
    precision: str
    threads: int
    attention: str | None = None
    attention_prediction: str | None = None
    channels_last: bool = False
    stacked: int = 1

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Tuned:
        """What `as_dict` gave; before attention was chosen by measurement, a CPU took the plain one."""
        plain = "eager" if stored["device"] == "cpu" else None
        return cls(**{"attention": plain, "attention_prediction": plain, **stored})

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def apply(self) -> torch.device:
        """Sets the threads and the kernels of this process and returns the device.

        Raises:
            RecipeError: the run was begun on a device that is not here.
        """
        _check_device(self.device, "the run was begun on it: resume it where there is one, or begin another with cpu")
        keep_few_kernels()
        guard_convolutions()
        compute_deterministically(self.device)
        torch.set_num_threads(self.threads)
        return torch.device(self.device)

    def lay_out(self, net: Net) -> None:
        """Puts the kernels of a net that was just loaded in the order that was chosen."""
        if self.channels_last:
            use_channels_last(net.model, net.map)

    def keeping_memory(self) -> AbstractContextManager[None]:
        """Inside, a CPU keeps what a step frees for the next."""
        return freed_memory_kept() if self.device == "cpu" else nullcontext()

    def turn_to_prediction(self, model: nn.Module) -> None:
        """Lets a model that was trained compute attention in the way that is the fastest for prediction."""
        if self.attention and self.attention_prediction and self.attention != self.attention_prediction:
            use_attention(model, self.attention_prediction, instead_of=self.attention)

    def autocast(self) -> AbstractContextManager[Any]:
        """Forward passes inside compute in the chosen format; weights stay fp32."""
        return torch.autocast(self.device, dtype=DTYPES[self.precision], enabled=self.precision != "fp32")


def tune(
    config: TrainConfig,
    attention: AttentionShape | None = None,
    side_by_side: int = 1,
    machine: Callable[[], Machine] = this_machine,
    images: bool = False,
) -> Tuned:
    """Decides device, precision, threads, attention and the order of images; `side_by_side` runs share the cores.

    Args:
        attention: what the model's attention computes; None where it has none.
        images: the model reads them.
        machine: is asked for what the recipe leaves open, on a CPU.

    Raises:
        RecipeError: the recipe asks for a device or precision that is not here.
    """
    keep_few_kernels()
    device = config.device if config.device != "auto" else _best_device()
    _check_device(device, "set it to auto or cpu")
    if config.precision == "fp16" and device != "cuda":
        raise RecipeError(
            f"fp16 needs a CUDA GPU; this run is on {device}",
            where="train.precision",
            fix="set it to auto, bf16 or fp32",
        )
    if device == "cpu":
        tuned = _tune_cpu(config, attention, side_by_side, machine(), images)
    else:
        precision = config.precision if config.precision != "auto" else _gpu_precision(device)
        tuned = Tuned(device, precision, config.threads or max(1, physical_cores() // side_by_side))
    torch.set_num_threads(tuned.threads)
    return tuned


def tune_for(
    config: TrainConfig,
    located: LocatedModel,
    data: DataBundle,
    side_by_side: int = 1,
    stacks: bool = False,
    machine: Callable[[], Machine] = this_machine,
) -> Tuned:
    """The same for a model and the data that it learns from; where `stacks` is set, with how many runs train the
    fastest in one pass, of those that fit into memory."""
    attention = attention_of(located, data, config.dropout, config.max_length)
    tuned = tune(config, attention, side_by_side, machine, reads_images(data))
    if not stacks or attention is None or tuned.device != "cpu":
        return tuned
    if attention.drops and tuned.attention != "eager":  # torch's own draws other masks for several runs than for one
        return tuned
    torch.set_num_threads(1)
    with freed_memory_kept():  # as in training: a pass for several runs has larger blocks
        question = stack_question(attention, _rows_of_a_batch(config, attention), tuned.precision)
        fastest = int(machine().ask(question).choice)
    torch.set_num_threads(tuned.threads)
    return replace(tuned, stacked=max(1, min(fastest, runs_that_fit(located.path) // side_by_side)))


def _rows_of_a_batch(config: TrainConfig, attention: AttentionShape) -> int:
    return max(1, config.batch_tokens // attention.tokens) if config.batch_tokens else config.batch_size


def keep_few_kernels() -> None:
    """Bounds the compiled code that is kept for shapes, unless the environment says how much; torch and oneDNN look at
    their first product."""
    for name, count in KEPT_KERNELS.items():
        os.environ.setdefault(name, count)


def _tune_cpu(
    config: TrainConfig, attention: AttentionShape | None, side_by_side: int, machine: Machine, images: bool
) -> Tuned:
    """Formats, attention and the order of images are compared with one thread, so that a run alone and one beside
    others decide alike."""
    torch.set_num_threads(1)
    precision = config.precision if config.precision != "auto" else machine.ask(precision_question()).choice
    chosen = ["eager", "eager"]
    if attention is not None:
        questions = [attention_question(attention, training, precision) for training in (True, False)]
        chosen = [machine.ask(question).choice for question in questions]
    channels_last = images and machine.ask(layout_question(precision)).choice == "channels last"
    threads = config.threads or max(1, physical_cores() // side_by_side)
    if not config.threads and threads > 1:
        threads = int(machine.ask(threads_question(threads, precision)).choice)
    return Tuned("cpu", precision, threads, *chosen, channels_last)


def _check_device(device: str, fix: str) -> None:
    here = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if device in here and not here[device]():
        raise RecipeError(f"there is no '{device}' device here", where="train.device", fix=fix)


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _gpu_precision(device: str) -> str:
    """bf16 where the GPU multiplies it natively."""
    return "bf16" if device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
