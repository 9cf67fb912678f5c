"""The model handed over: a folder of transformers, diffusers, PEFT or tunewise; and how each is loaded again.

Every folder holds the tokeniser, a README.md (the model card) and `tunewise.json`, which says what tunewise needs to
predict with it. A transformers or PEFT folder is loaded by those libraries without it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from tunewise.commit import commit_folder
from tunewise.commit.room import bytes_in
from tunewise.config.reading import Chunks
from tunewise.engine.apply import insert
from tunewise.engine.feature_head import FeatureHead
from tunewise.engine.model_meta import format_of, plan_of, read_meta, schema_from
from tunewise.engine.peft_folder import check_adapter, load_adapter, merge, save_adapter
from tunewise.engine.train import Trained
from tunewise.engine.writing import settle_writing
from tunewise.errors import CorruptError, ModelError
from tunewise.models.batch_norm import running_statistics
from tunewise.models.blocks import named_tensors
from tunewise.models.from_runs import META, WHOLE
from tunewise.models.load import Net, load_net
from tunewise.models.locate import check_folder, locate
from tunewise.models.located import LocatedModel
from tunewise.models.memory_format import use_channels_first
from tunewise.models.weights_files import read_header, sample_digest
from tunewise.objectives.base import Answers
from tunewise.types import CARD, Handover, Plan, Schema

TENSORS = "tunewise.safetensors"
_AGAIN = "train the model again, or restore the folder"


def handover_kind(declared: Handover, merge: bool, answers: Answers = "labels") -> Handover:
    """What the folder will be: merged low-rank updates leave an ordinary transformers folder; a model that draws images
    is always a whole pipeline."""
    if answers == "images":
        return "diffusers"
    return "transformers" if declared == "peft" and merge else declared


def save_model(
    trained: Trained,
    kind: Handover,
    folder: Path,
    schema: Schema,
    decision: dict[str, Any],
    card: Callable[[int], str],
    clean: Sequence[str] = (),
    language: bool = False,
) -> int:
    """Commits the model folder and returns its size in bytes.

    Args:
        decision: `threshold` and `positive`, as chosen on validation.
        card: from the size of the model files in bytes to the text of README.md.
        clean: steps of `data.clean` (`cleaning.texts`) that its texts have to go through.
        language: the model gives the next token.
    """
    net = trained.net
    use_channels_first(net.model)
    if language:
        settle_writing(net)
    meta = {
        "format": format_of(net.kept, clean, language, bool(schema.image), draws=kind == "diffusers"),
        "kind": kind,
        "schema": asdict(schema),
        "max_length": net.max_length,
        "kept": asdict(net.kept) if isinstance(net.kept, Chunks) else net.kept,
        "base": _described(net.located, needed=kind not in WHOLE),
        "plan": None if kind in WHOLE else trained.plan.as_dict(),
        **decision,
        **({"clean": list(clean)} if clean else {}),
        **({"language": True} if language else {}),
    }

    def write(staging: Path) -> None:
        if kind == "tunewise":
            save_file(_own_tensors(trained), staging / TENSORS)
        elif kind == "peft":
            save_adapter(net, staging)
            if language:
                net.model.get_base_model().generation_config.save_pretrained(staging)
        else:
            model = merge(net.model) if _is_peft(net) else net.model
            if kind == "transformers":
                model.config.use_cache = True
            model.save_pretrained(staging)
        if net.tokenizer is not None:
            net.tokenizer.save_pretrained(staging)
        if net.processor is not None and net.processor.whole is not None:
            net.processor.whole.save_pretrained(staging)
        (staging / META).write_text(json.dumps(meta, indent=1), encoding="utf-8")
        size = sum(file.stat().st_size for file in staging.rglob("*") if file.is_file())
        (staging / CARD).write_text(card(size), encoding="utf-8")

    expected = sum(parameter.numel() * 4 for parameter in net.model.parameters()) if kind in WHOLE else None
    commit_folder(folder, write, {"kind": kind}, replace=True, size=expected)
    return bytes_in(folder)


def load_model(folder: Path, device: torch.device) -> tuple[Net, Plan, FeatureHead | None, dict[str, Any]]:
    """Loads a model folder of any kind: net, plan, head (for `features`), and the content of tunewise.json.

    Raises:
        StoreError: not a model of tunewise, or of a newer one.
        CorruptError: a file is not what was written; only the model card may be edited.
        ModelError: the base model is not there, or is another.
    """
    meta = read_meta(folder)
    schema, plan, head = schema_from(meta["schema"]), Plan(rules=(), learning_rate=0.0), None
    read = {"max_length": meta["max_length"], "kept": meta["kept"], "language": meta["language"]}
    if meta["kind"] in WHOLE:
        located = check_folder(str(folder), folder, reads_text=bool(schema.text))
        net = load_net(located, schema, **read)
    elif meta["kind"] == "peft":
        check_adapter(folder, meta["base"]["name"])
        net = load_net(_base(meta), schema, **read)
        net.model = load_adapter(net, plan_of(meta), folder)
    else:
        plan, stored = plan_of(meta), _own_stored(folder)
        net = load_net(_base(meta), schema, **read)
        head = _load_own(net, plan, stored, folder)
    if meta["language"]:
        settle_writing(net)
    net.to(device).model.eval()
    return net, plan, head, meta


def load_base(folder: Path) -> Net:
    """The net that the model in a folder was made from, as it was before training, in eval mode.

    Raises:
        StoreError, CorruptError: as `load_model`.
        ModelError: the base model is not there, or is another.
    """
    meta = read_meta(folder)
    read = {"max_length": meta["max_length"], "kept": meta["kept"], "language": meta["language"]}
    net = load_net(_base(meta), schema_from(meta["schema"]), **read)
    net.model.eval()
    return net


def _described(base: LocatedModel, needed: bool) -> dict[str, str]:
    """How to know the base model again, by a sample of its weights too where the model needs it."""
    described = {"name": base.name, "path": str(base.path), "fingerprint": base.fingerprint}
    return {**described, "weights": sample_digest(base.path)} if needed else described


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
    weights = base.get("weights")  # folders of earlier versions do not say it
    if located.fingerprint != base["fingerprint"] or (weights and weights != sample_digest(located.path)):
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
    tensors = named_tensors(trained.net.model)
    own = {name: tensor for name, tensor in tensors.items() if tensor.requires_grad or name in drawn}
    if trained.net.updates_batch_norm:
        own |= running_statistics(trained.net.model, own)
    return {name: tensor.detach().cpu().contiguous() for name, tensor in own.items()}


def _own_stored(folder: Path) -> dict[str, torch.Tensor]:
    file = folder / TENSORS
    try:
        read_header(file)
        return load_file(file)
    except (ModelError, OSError, SafetensorError) as problem:
        raise CorruptError(f"{TENSORS} cannot be read: {problem}", where=str(file), fix=_AGAIN) from None


def _load_own(net: Net, plan: Plan, stored: dict[str, torch.Tensor], folder: Path) -> FeatureHead | None:
    if plan.solver.name == "features":
        return _feature_head(stored, folder)
    try:
        insert(plan, net, seed=0)
    except (TypeError, ValueError, LookupError, AttributeError, RuntimeError, ArithmeticError) as problem:
        raise CorruptError(
            f"the plan in {META} does not fit the base model: {problem}", where=str(folder / META), fix=_AGAIN
        ) from None
    tensors = named_tensors(net.model)
    drawn = {tensor.name for tensor in net.map.tensors if not tensor.pretrained}
    wanted = {name for name in tensors if name in drawn or plan.rule_for(name)}
    tensors |= running_statistics(net.model, wanted)
    if lost := wanted - stored.keys():
        raise CorruptError(f"{TENSORS} lacks a tensor of the model: {min(lost)}", where=str(folder), fix=_AGAIN)
    with torch.no_grad():
        for name, value in stored.items():
            if name not in tensors or tensors[name].shape != value.shape:
                raise CorruptError(
                    f"{TENSORS} holds a tensor that the model has not: {name} {list(value.shape)}",
                    where=str(folder),
                    fix=_AGAIN,
                )
            tensors[name].copy_(value)
    return None


def _feature_head(stored: dict[str, torch.Tensor], folder: Path) -> FeatureHead:
    count = len(stored) // 2
    layers = [(stored.get(f"layer.{n}.weight"), stored.get(f"layer.{n}.bias")) for n in range(count)]
    if not layers or len(stored) % 2 or any(weight is None or bias is None for weight, bias in layers):
        raise CorruptError(f"{TENSORS} does not hold the layers of a head", where=str(folder), fix=_AGAIN)
    return FeatureHead(tuple((weight.numpy(), bias.numpy()) for weight, bias in layers))
