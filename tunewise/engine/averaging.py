"""Means of the weights of several models of one architecture, read from their files tensor by tensor.

A tensor is summed up in float64, in the order of the models, divided by their number and rounded once: the mean of
equal tensors is that tensor bit for bit. However many models there are, the means and one model that takes them are in
memory, and one tensor of a file at a time.
Source: Wortsman et al. (2022), Model soups.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from tunewise.errors import ModelError
from tunewise.models.weights_files import check_weights

STATISTICS = (".running_mean", ".running_var")
Shapes = dict[str, tuple[str, tuple[int, ...]]]


class WeightFiles:
    """The tensors in the weight files of a model folder, each read when it is asked for."""

    def __init__(self, folder: Path, stack: ExitStack):
        self.folder = folder
        self._file_of: dict[str, Any] = {}
        for name, header in check_weights(folder).items():
            file = stack.enter_context(safe_open(folder / name, "pt"))
            self._file_of |= dict.fromkeys(header, file)

    def __iter__(self) -> Iterator[str]:
        return iter(self._file_of)

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._file_of[name].get_tensor(name)


@contextmanager
def weights_of(folders: Sequence[Path]) -> Iterator[list[WeightFiles]]:
    """The weight files of model folders, open inside."""
    with ExitStack() as stack:
        yield [WeightFiles(folder, stack) for folder in folders]


def shapes_of(folder: Path) -> Shapes:
    """By tensor its number format and shape, from the headers of the weight files."""
    headers = check_weights(folder).values()
    return {name: (entry["dtype"], tuple(entry["shape"])) for each in headers for name, entry in each.items()}


def check_same_shapes(folders: Sequence[Path]) -> None:
    """Raises ModelError where a model has other tensors than the first, or of another shape or number format."""
    first = shapes_of(folders[0])
    for folder in folders[1:]:
        other = shapes_of(folder)
        if other == first:
            continue
        name = min(name for name in first.keys() | other.keys() if first.get(name) != other.get(name))
        ours, theirs = (list(of[name][1]) if name in of else "none" for of in (first, other))
        raise ModelError(
            f"the models have not the same tensors: {name} is {ours} in {folders[0]}, {theirs} here",
            where=str(folder),
            fix="make soups of runs of one base model and one task",
        )


def check_same_statistics(folders: Sequence[Path]) -> None:
    """Raises ModelError where running statistics of batch norms differ: the mean of two models gives other activations
    than either, whose statistics are not the mean of theirs."""
    with weights_of(folders) as (first, *others):
        names = [name for name in first if name.endswith(STATISTICS)]
        for other in others:
            for name in names:
                if not torch.equal(first[name], other[name]):
                    raise ModelError(
                        f"batch norms have other running statistics ({name}), and their mean is not that of the "
                        "averaged weights",
                        where=str(other.folder),
                        fix="train the runs with `train.batch_norm: frozen`, as by default",
                    )


def check_holds(model: nn.Module, folder: Path) -> None:
    """Raises ModelError where the tensors in the files, put into a model, do not give the one that was loaded."""
    held, again = model.state_dict(), mean_model(model, [folder]).state_dict()
    for name, value in again.items():
        if name not in held or not torch.equal(held[name].cpu(), value):
            raise ModelError(
                f"the loaded model does not hold what its files hold ({name}), so it cannot be averaged",
                where=str(folder),
                fix="leave it out, or train it again",
            )


@torch.no_grad()
def pour(model: nn.Module, folders: Sequence[Path]) -> None:
    """Gives a model the mean of the weights in these folders, which have the same tensors (`check_same_shapes`)."""
    held = model.state_dict()
    for name, value in mean_model(model, folders).state_dict().items():
        held[name].copy_(value)


def mean_model(model: nn.Module, folders: Sequence[Path]) -> nn.Module:
    """A model of the same kind with the mean of the weights in these folders, on the CPU. Tensors may bear other names
    in files than in modules, so that transformers puts them in.

    Raises:
        ModelError: the files do not hold the whole model, or more than it.
    """
    with weights_of(folders) as members:
        means = {name: mean_of(members, name) for name in members[0]}
    made, report = type(model).from_pretrained(
        None, config=deepcopy(model.config), state_dict=means, dtype=torch.float32, output_loading_info=True
    )
    for what, keys in (("lack", report["missing_keys"]), ("also hold", report["unexpected_keys"])):
        if keys:
            raise ModelError(f"the weight files {what} {min(keys)}", where=str(folders[0]), fix="train the run again")
    return made


def mean_of(members: Sequence[WeightFiles], name: str) -> torch.Tensor:
    """The mean of a tensor over models, in its own number format; of whole numbers (steps that were counted) the
    first's."""
    first = members[0][name]
    if not first.is_floating_point():
        return first
    total = first.to(torch.float64, copy=True)
    for member in members[1:]:
        total += member[name]
    return (total / len(members)).to(first.dtype)
