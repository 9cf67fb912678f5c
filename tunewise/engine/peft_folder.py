"""The PEFT folder of a trained model: saved so that peft itself loads it on the base model, and loaded again."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tunewise.engine.apply import insert
from tunewise.errors import ModelError
from tunewise.models.load import Net
from tunewise.types import ModuleInsert, Plan

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def save_adapter(net: Net, folder: Path) -> None:
    """Writes what peft inserted, and the output layers."""
    # Where this is left to peft, it asks the hub whether the vocabulary has grown; it never does here.
    net.model.save_pretrained(folder, save_embedding_layers=False)
    if net.adapter_start:
        _as_difference(folder, net.adapter_start)


def load_adapter(net: Net, plan: Plan | None, folder: Path) -> torch.nn.Module:
    """The net's model with the adapter of a PEFT folder, after what else the plan put into the base.

    Raises:
        ModelError: the folder has no weights.
    """
    from peft import PeftModel

    # Without this file peft would look for a pickle.
    if not (folder / WEIGHTS).is_file():
        raise ModelError(
            f"the adapter has no weights ({WEIGHTS})",
            where=str(folder),
            fix="train the model again, or restore the folder",
        )
    if plan is not None:
        modules = tuple(addition for addition in plan.inserts if isinstance(addition, ModuleInsert))
        insert(replace(plan, inserts=modules, reset=()), net, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft's own use of a name that transformers will drop
        warnings.filterwarnings("ignore", "Specified to not")  # VeRA without its matrices, as its option says
        return PeftModel.from_pretrained(net.model, folder, local_files_only=True)


def merge(model: torch.nn.Module) -> torch.nn.Module:
    """The model without peft: what was inserted is part of the weights, the trained output layers are in their place.

    peft's own `merge_and_unload` fails on all but LoRA where an output layer consists of several (RoBERTa, ResNet).
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    model.merge_adapter()
    base = model.get_base_model()
    for path, module in list(base.named_modules()):
        if isinstance(module, BaseTunerLayer):
            base.set_submodule(path, module.get_base_layer())
        elif isinstance(module, ModulesToSaveWrapper):
            base.set_submodule(path, module.modules_to_save["default"])
    return base


def _as_difference(folder: Path, start: Mapping[str, torch.Tensor]) -> None:
    """Makes a LoRA of twice the rank, for the original weights, of an adapter that was taken out of them:

        B A - B0 A0 = [B | -B0] [A ; A0]

    peft's own conversion (`path_initial_model_for_weight_conversion`) is the same, but leaves the output layers out.
    """
    adapter = load_file(folder / WEIGHTS)
    for name in adapter:
        if ".lora_A." in name:
            adapter[name] = torch.cat([adapter[name], start[name].cpu()], dim=0)
        elif ".lora_B." in name:
            adapter[name] = torch.cat([adapter[name], -start[name].cpu()], dim=1)
    save_file(adapter, folder / WEIGHTS, metadata={"format": "pt"})
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    config["r"] *= 2
    config["lora_alpha"] *= 2**0.5 if config["use_rslora"] else 2  # the scale stays
    config["init_lora_weights"] = True
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
