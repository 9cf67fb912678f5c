"""The model handed over: a transformers folder, a PEFT folder, or a tunewise folder; and how each is loaded again.

Every folder holds the tokeniser, a README.md (the model card) and `tunewise.json`, which says what tunewise needs to
predict with it. A transformers or PEFT folder is loaded by those libraries without it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tunewise.commit import commit_folder, verify
from tunewise.engine.apply import insert
from tunewise.engine.feature_head import FeatureHead
from tunewise.engine.peft_folder import load_adapter, merge, save_adapter
from tunewise.engine.train import Trained
from tunewise.errors import CorruptError, ModelError, StoreError
from tunewise.models.blocks import named_tensors
from tunewise.models.load import Net, load_net
from tunewise.models.locate import LocatedModel, check_folder, locate
from tunewise.types import Handover, Plan, Schema

FORMAT = 1
META = "tunewise.json"
CARD = "README.md"
TENSORS = "tunewise.safetensors"


def handover_kind(declared: Handover, merge: bool) -> Handover:
    """What the folder will be: merged low-rank updates leave an ordinary transformers folder."""
    return "transformers" if declared == "peft" and merge else declared


def save_model(
    trained: Trained, kind: Handover, folder: Path, schema: Schema, decision: dict[str, Any], card: Callable[[int], str]
) -> int:
    """Commits the model folder and returns its size in bytes.

    Args:
        decision: `threshold` and `positive`, as chosen on validation.
        card: from the size of the model files in bytes to the text of README.md.
    """
    net = trained.net
    meta = {
        "format": FORMAT,
        "kind": kind,
        "schema": asdict(schema),
        "max_length": net.max_length,
        "base": {"name": net.located.name, "path": str(net.located.path), "fingerprint": net.located.fingerprint},
        "plan": None if kind == "transformers" else trained.plan.as_dict(),
        **decision,
    }

    def write(staging: Path) -> None:
        if kind == "tunewise":
            save_file(_own_tensors(trained), staging / TENSORS)
        elif kind == "peft":
            save_adapter(net, staging)
        else:
            model = merge(net.model) if _is_peft(net) else net.model
            model.config.use_cache = True
            model.save_pretrained(staging)
        if net.tokenizer is not None:
            net.tokenizer.save_pretrained(staging)
        (staging / META).write_text(json.dumps(meta, indent=1), encoding="utf-8")
        size = sum(file.stat().st_size for file in staging.rglob("*") if file.is_file())
        (staging / CARD).write_text(card(size), encoding="utf-8")

    expected = sum(parameter.numel() * 4 for parameter in net.model.parameters()) if kind == "transformers" else None
    commit_folder(folder, write, {"kind": kind}, replace=True, size=expected)
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def load_model(folder: Path, device: torch.device) -> tuple[Net, Plan, FeatureHead | None, dict[str, Any]]:
    """Loads a model folder of any kind: net, plan, head (for `features`), and the content of tunewise.json.

    Raises:
        StoreError: not a model of tunewise, or of a newer one.
        CorruptError: a file is not what was written; only the model card may be edited.
        ModelError: the base model is not there, or is another.
    """
    meta = _read_meta(folder)
    schema = schema_from(meta["schema"])
    plan, head = Plan(rules=(), learning_rate=0.0), None
    if meta["kind"] == "transformers":
        located = check_folder(str(folder), folder, reads_text=bool(schema.text))
        net = load_net(located, schema, max_length=meta["max_length"])
    else:
        net = load_net(_base(meta), schema, max_length=meta["max_length"])
        if meta["kind"] == "peft":
            net.model = load_adapter(net, Plan.from_dict(meta["plan"]) if meta["plan"] else None, folder)
        else:
            plan = Plan.from_dict(meta["plan"])
            head = _load_own(net, plan, folder)
    net.to(device).model.eval()
    return net, plan, head, meta


def _read_meta(folder: Path) -> dict[str, Any]:
    file = folder / META
    if not file.is_file():
        raise StoreError(
            f"this is not the folder of a model that tunewise made: it has no {META}",
            where=str(folder),
            fix="name the run's folder, or its `model` folder",
        )
    verify(folder, editable=(CARD,))
    meta = json.loads(file.read_text(encoding="utf-8"))
    if meta["format"] > FORMAT:
        raise StoreError(
            f"the model was made by a newer tunewise (format {meta['format']}, this one reads {FORMAT})",
            where=str(file),
            fix="update tunewise",
        )
    return meta


def _base(meta: dict[str, Any]) -> LocatedModel:
    base = meta["base"]
    try:
        name = base["path"] if Path(base["path"]).is_dir() else base["name"]
        located = locate(name, Path.cwd(), reads_text=bool(meta["schema"]["text"]))
    except ModelError as problem:
        raise ModelError(
            f"this model stands on a base model, '{base['name']}', which cannot be had: {problem.what}",
            where=problem.where,
            fix=f"put it back at {base['path']}; {problem.fix}",
        ) from None
    if located.fingerprint != base["fingerprint"]:
        raise ModelError(
            "the base model is not the one this model was made from: its config or weights changed",
            where=str(located.path),
            fix=f"put the original '{base['name']}' back",
        )
    return located


def _is_peft(net: Net) -> bool:
    return hasattr(net.model, "merge_and_unload")


def _own_tensors(trained: Trained) -> dict[str, torch.Tensor]:
    if trained.head is not None:
        return {
            f"layer.{number}.{name}": torch.from_numpy(values).contiguous()
            for number, layer in enumerate(trained.head.layers)
            for name, values in zip(("weight", "bias"), layer, strict=True)
        }
    drawn = {tensor.name for tensor in trained.net.map.tensors if not tensor.pretrained}
    return {
        name: parameter.detach().cpu().contiguous()
        for name, parameter in named_tensors(trained.net.model).items()
        if parameter.requires_grad or name in drawn
    }


def _load_own(net: Net, plan: Plan, folder: Path) -> FeatureHead | None:
    stored = load_file(folder / TENSORS)
    if plan.solver.name == "features":
        count = len(stored) // 2
        return FeatureHead(
            tuple((stored[f"layer.{n}.weight"].numpy(), stored[f"layer.{n}.bias"].numpy()) for n in range(count))
        )
    insert(plan, net, seed=0)
    tensors = named_tensors(net.model)
    with torch.no_grad():
        for name, value in stored.items():
            if name not in tensors or tensors[name].shape != value.shape:
                raise CorruptError(
                    f"{TENSORS} holds a tensor that the model has not: {name} {list(value.shape)}",
                    where=str(folder),
                    fix="train the model again, or restore the folder",
                )
            tensors[name].copy_(value)
    return None


def schema_from(stored: dict[str, Any]) -> Schema:
    """The schema that `asdict` gave."""
    return Schema(stored["task"], tuple(stored["text"]), stored["label"], tuple(stored["labels"]))
