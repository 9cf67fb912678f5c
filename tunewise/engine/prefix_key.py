"""The name of what a frozen prefix gives: a sha256 over everything that decides its bits."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Iterable, Iterator
from typing import Any

import torch
import transformers

from tunewise.data.batches import sorted_batches
from tunewise.data.inputs import Inputs, sizes_of
from tunewise.engine.apply import prefix_modules
from tunewise.engine.kept import Context
from tunewise.engine.vocabulary import used_rows
from tunewise.models.blocks import named_tensors
from tunewise.models.load import Net
from tunewise.models.memory_format import has_channels_last
from tunewise.models.prefix import read_by_the_model

FORMAT = 1
ROWS_AT_ONCE = 256
# What a configuration says of the head, of training and of where the model came from.
_ELSEWHERE = re.compile(
    r"id2label|label2id|num_labels|problem_type|_name_or_path|transformers_version|architectures|dropout|_pdrop$"
    r"|layerdrop|initializer|torch_dtype|^dtype$|use_cache|return_dict|classifier_pooling"
)


def key_of(net: Net, context: Context, weights: str, inputs: Inputs, *, labels: bool = True, **more: Any) -> str:
    """The key of what a part of a net gives for inputs.

    Args:
        weights: sha256 over the tensors of that part.
        labels: it depends on which tokens are to be learnt, where inputs say that.
        more: what else decides the content, as plain data.
    """
    described = {
        "format": FORMAT,
        "weights": weights,
        "precision": context.precision,
        **surroundings(net, context.device),
        **more,
    }
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    _update_by_inputs(digest, inputs, labels)
    return digest.hexdigest()


def digest_of(tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    """sha256 over names and bytes."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        raw = memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(raw)
    return digest.hexdigest()


def surroundings(net: Net, device: torch.device) -> dict[str, Any]:
    """What decides the bits besides weights and inputs: the model's code and options, libraries, threads, processor."""
    config = {key: value for key, value in net.model.config.to_dict().items() if not _ELSEWHERE.search(key)}
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "family": net.map.family,
        "config": json.loads(json.dumps(config, default=str)),
        "attention": net.model.config._attn_implementation,
        "channels_last": has_channels_last(net.model),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
        "device": [device.type, gpu, platform.machine(), torch.backends.cpu.get_cpu_capability()],
    }


def prefix_tensors(net: Net, depth: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors and buffers of the embedding and the first blocks, by name."""
    wanted = {tensor.name for group in net.map.groups[: depth + 1] for tensor in group}
    whole = {module.weight: module.put_together() for module in used_rows(net.model)}
    for name, parameter in named_tensors(net.model).items():
        if name in wanted:
            yield name, whole.get(parameter, parameter)
    apart = {id(buffer) for module in used_rows(net.model) for buffer in module.buffers()}
    for place, module in enumerate(prefix_modules(net, depth)):
        for name, buffer in module.named_buffers():
            if id(buffer) not in apart:
                yield f"{place} {name}", buffer


def _update_by_inputs(digest: Any, inputs: Inputs, labels: bool) -> None:
    """Adds what the model reads of all rows, in batches; with `labels`, which tokens are to be learnt too."""
    for rows in sorted_batches(sizes_of(inputs), ROWS_AT_ONCE):
        batch = inputs.batch(rows) if labels else read_by_the_model(inputs.batch(rows))
        digest.update(rows.tobytes())
        digest.update(digest_of(sorted(batch.items())).encode())
