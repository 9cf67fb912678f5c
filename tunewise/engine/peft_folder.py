"""The PEFT folder of a trained model: saved so that peft itself loads it on the base model, and loaded again."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tunewise.engine.apply import insert
from tunewise.engine.peft_convolutions import pass_on
from tunewise.engine.peft_options import refused_option
from tunewise.errors import ModelError
from tunewise.models.folder_files import read_json
from tunewise.models.hub_kernels import import_bitsandbytes
from tunewise.models.load import Net
from tunewise.models.weights_files import read_header
from tunewise.types import ModuleInsert, Plan

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_PREFIX, _DOWN = "base_model.model.", ".lora_A."  # of the names in a PEFT file
_AGAIN = "train the model again, or restore the folder"


def save_adapter(net: Net, folder: Path) -> None:
    """Writes what peft inserted, and the output layers."""
    # Where this is left to peft, it asks the hub whether the vocabulary has grown; it never does here.
    net.model.save_pretrained(folder, save_embedding_layers=False)
    if net.adapter_start:
        _as_difference(folder, net.adapter_start)


def check_adapter(folder: Path, base: str) -> None:
    """Checks the adapter in a PEFT folder by its configuration and the header of its weights.

    Args:
        base: the name of the model that it is to stand on.

    Raises:
        ModelError: it has no weights, was made for another model, or would have peft read files or run code.
    """
    import_bitsandbytes()
    import peft

    # Without this file peft would look for a pickle.
    if not (folder / WEIGHTS).is_file():
        raise ModelError(f"the adapter has no weights ({WEIGHTS})", where=str(folder), fix=_AGAIN)
    header = read_header(folder / WEIGHTS)
    file = folder / CONFIG
    if not file.is_file():  # peft would ask the hub for it
        raise ModelError(f"the adapter has no {CONFIG}", where=str(folder), fix=_AGAIN)
    options = read_json(file)
    named = options.get("peft_type") if isinstance(options, dict) else None
    kind = peft.PEFT_TYPE_TO_CONFIG_MAPPING.get(named) if isinstance(named, str) else None
    if kind is None:
        raise ModelError(f"{CONFIG} names no kind of adapter that peft knows", where=str(file), fix=_AGAIN)
    if refused := refused_option(kind, options):
        raise ModelError(
            f"{CONFIG} has an option by which peft could open other files or run code: {refused}",
            where=str(file),
            fix="do not use this model",
        )
    if options.get("base_model_name_or_path") != base:
        raise ModelError(
            f"the adapter was made for the base model '{options.get('base_model_name_or_path')}', and this folder is "
            f"about '{base}'",
            where=str(file),
            fix=_AGAIN,
        )
    if told := _unlike(header, options):
        raise ModelError(
            f"the adapter's weights are not those of its configuration: {told}",
            where=str(folder / WEIGHTS),
            fix=_AGAIN,
        )


def _unlike(header: Mapping[str, Any], options: Mapping[str, Any]) -> str | None:
    """What tells that the weights belong to another configuration, as far as names and shapes can; None if nothing
    does."""
    down = {name: entry["shape"] for name, entry in header.items() if _DOWN in name}
    for name, shape in down.items():
        if shape[:1] != [options.get("r")]:
            return f"{CONFIG} says rank {options.get('r')}, and {name} has shape {shape}"
    layers = sorted({name.partition(_DOWN)[0].removeprefix(_PREFIX) for name in down})
    ends = options.get("target_modules") or ()
    if layers and (others := [layer for layer in layers if not any(_ends_with(layer, end) for end in ends)]):
        return f"they hold a '{others[0]}', which {CONFIG} does not name"
    if layers and (others := [end for end in ends if not any(_ends_with(layer, end) for layer in layers)]):
        return f"they hold no '{others[0]}'"
    return None


def _ends_with(layer: str, end: str) -> bool:
    """How peft finds a layer by a name."""
    return layer == end or layer.endswith(f".{end}")


def load_adapter(net: Net, plan: Plan | None, folder: Path) -> torch.nn.Module:
    """The net's model with the adapter of a PEFT folder, after what else the plan put into the base.

    Raises:
        ModelError: it does not fit the model: other layers, another rank, no output layers.
    """
    import_bitsandbytes()
    from peft import PeftModel

    if plan is not None:
        modules = tuple(addition for addition in plan.inserts if isinstance(addition, ModuleInsert))
        insert(replace(plan, inserts=modules, reset=()), net, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft's own use of a name that transformers will drop
        warnings.filterwarnings("ignore", "Specified to not")  # VeRA without its matrices, as its option says
        warnings.filterwarnings("ignore", "Found missing adapter keys")  # refused below
        try:
            model = pass_on(PeftModel.from_pretrained(net.model, folder, local_files_only=True))
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as problem:
            told = f"{WEIGHTS} lacks {problem}" if isinstance(problem, KeyError) else " ".join(str(problem).split())
            raise ModelError(
                f"the adapter does not fit the model: {told[:300]}",
                where=str(folder / WEIGHTS),
                fix=_AGAIN,
            ) from None
    _check_whole(model, folder / WEIGHTS)
    return model


def _check_whole(model: torch.nn.Module, file: Path) -> None:
    """peft would leave at random values what the file does not hold, and leave out what the model does not have."""
    from peft import get_peft_model_state_dict

    stored = set(read_header(file))
    wanted = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    for what, names in (("lacks", wanted - stored), ("holds what the model has not", stored - wanted)):
        if names:
            raise ModelError(
                f"the adapter does not fit the model: {file.name} {what}: {min(names)}"
                + (f" and {len(names) - 1} more" if len(names) > 1 else ""),
                where=str(file),
                fix=_AGAIN,
            )


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
