"""What a resumed run needs to go on as if it had never stopped: tensors as safetensors, the rest as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tunewise.commit import Series


def save_checkpoint(
    series: Series,
    step: int,
    *,
    weights: Mapping[str, torch.Tensor],
    best: Mapping[str, torch.Tensor] | None,
    optimizer: Mapping[str, torch.Tensor],
    state: Mapping[str, Any],
    fingerprint: str,
    drawn: Mapping[str, torch.Tensor] | None = None,
) -> Path:
    """Commits a checkpoint: every tensor that has trained so far, the best ones, the optimiser's, the random numbers'
    state, what the steps read in the place of the data, and `state` as JSON."""
    files = {"weights": weights, "optimizer": optimizer, "random": random_state()}
    if best is not None:
        files["best"] = best
    if drawn:
        files["drawn"] = drawn
    size = sum(tensor.numel() * tensor.element_size() for tensors in files.values() for tensor in tensors.values())

    def write(folder: Path) -> None:
        for name, tensors in files.items():
            plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
            save_file(plain, folder / f"{name}.safetensors")
        (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")

    return series.save(step, write, {"kind": "checkpoint", "recipe": fingerprint}, size=size)


def load_checkpoint(folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, torch.Tensor]]]:
    """The JSON state, and the tensors by file: weights, optimizer, random; best and drawn where there are such."""
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    return state, {file.stem: load_file(file) for file in sorted(folder.glob("*.safetensors"))}


def set_random_state(random: Mapping[str, torch.Tensor]) -> None:
    torch.set_rng_state(random["cpu"])
    for name, state in random.items():
        if name.startswith("cuda") and int(name[4:]) < torch.cuda.device_count():
            torch.cuda.set_rng_state(state, int(name[4:]))
    if "mps" in random and torch.backends.mps.is_available():
        torch.mps.set_rng_state(random["mps"])


def random_state() -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states |= {f"cuda{number}": state for number, state in enumerate(torch.cuda.get_rng_state_all())}
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return states
