"""Known traps of the libraries below, each with a test."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tunewise.conformance.bench import Bench, Watch
from tunewise.conformance.models import IMAGE, POSITIONS, TEXT
from tunewise.engine.handover import save_model
from tunewise.engine.peft_convolutions import pass_on
from tunewise.engine.train import Trained
from tunewise.methods import METHODS
from tunewise.models.blocks import named_tensors
from tunewise.models.load import load_net


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory):
    made: dict[str, Bench] = {}

    def make(family: str) -> Bench:
        if family not in made:
            made[family] = Bench.make(family, tmp_path_factory.mktemp(family))
        return made[family]

    return make


def trained_by(name: str, bench: Bench, folder: Path, **options) -> Trained:
    return bench.train(METHODS[name](METHODS[name].Config(**options)), folder, Watch())


def handed_over(trained: Trained, bench: Bench, folder: Path) -> Path:
    decision = {"threshold": None, "positive": None}
    save_model(trained, METHODS["lora"].handover, folder / "model", bench.data.schema, decision, lambda size: "")
    return folder / "model"


def test_batch_norm_with_lora_comes_back_from_disk(benches, tmp_path):
    """Running statistics are in no adapter: had training moved them, the base under the adapter would not have them."""
    bench = benches("resnet")
    base = bench.net()
    norms = [module for module in base.model.modules() if isinstance(module, _BatchNorm)]
    assert norms and all(norm.running_mean.abs().max() > 0.01 for norm in norms), "statistics that say something"

    trained = trained_by("lora", bench, tmp_path)
    kept = {name.rpartition(".")[2]: buffer for name, buffer in base.model.named_buffers()}
    assert {"running_mean", "running_var", "num_batches_tracked"} <= set(kept)
    now = [module for module in trained.net.model.modules() if isinstance(module, _BatchNorm)]
    for before, after in zip(norms, now, strict=True):
        assert torch.equal(before.running_mean, after.running_mean)
        assert torch.equal(before.running_var, after.running_var)

    import peft

    again = peft.PeftModel.from_pretrained(bench.net().model, handed_over(trained, bench, tmp_path)).eval()
    logits = again(**bench.images["train"].batch(range(24))).logits.detach().numpy()
    assert np.allclose(logits, bench.logits(trained.net), atol=1e-5)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("family", [*TEXT, *IMAGE])
def test_the_head_is_saved_with_the_adapter(family, benches, tmp_path):
    """Loaded by peft alone onto a base whose new output layer has other values, it gives the same."""
    import peft

    bench = benches(family)
    trained = trained_by("lora", bench, tmp_path)
    folder = handed_over(trained, bench, tmp_path)
    stored, tensors = load_file(folder / "adapter_model.safetensors"), named_tensors(trained.net.model)
    for tensor in trained.net.map.head:
        held = [value for name, value in stored.items() if name.endswith(f".{tensor.name}")]
        assert len(held) == 1 and torch.equal(held[0], tensors[tensor.name]), tensor.name

    other = load_net(bench.located, bench.data.schema, seed=5)
    output = [t.name for t in other.map.head if not t.pretrained and len(t.shape) == 2][-1]
    assert not torch.equal(named_tensors(other.model)[output], named_tensors(bench.net().model)[output])
    other.model = peft.PeftModel.from_pretrained(other.model, folder)
    if family == "mobilenet_v2":  # it asks a convolution for its stride, which peft's layer does not have
        with pytest.raises(AttributeError, match="stride"):
            bench.logits(other)
        pass_on(other.model)
    assert np.allclose(bench.logits(other), bench.logits(trained.net), atol=1e-5)


def test_low_rank_updates_of_a_transposed_layer_are_transposed(benches, tmp_path):
    """GPT-2's Conv1D keeps its weight as (in, out): the update is (B A)^T there, in use and when merged."""
    bench = benches("gpt2")
    trained = trained_by("lora", bench, tmp_path, rank=3, alpha=6.0)
    tensors, name = named_tensors(trained.net.model), "transformer.h.1.attn.c_attn"
    weight, bias = (tensors[f"{name}.{part}"].detach() for part in ("weight", "bias"))
    down, up = (tensors[f"{name}.lora_{part}.weight"].detach() for part in "AB")
    assert weight.shape == (32, 96) and down.shape == (3, 32) and up.shape == (96, 3) and up.abs().max() > 0
    merged = weight + (6.0 / 3) * (up @ down).T
    hidden = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    layer = trained.net.model.get_submodule(f"base_model.model.{name}")
    with torch.no_grad():
        assert torch.allclose(layer(hidden), hidden @ merged + bias, rtol=1e-4, atol=1e-4)
    plain = trained.net.model.merge_and_unload()
    assert torch.allclose(plain.get_submodule(name).weight, merged, rtol=1e-5, atol=1e-5)


PROMPTS = [name for name in METHODS if METHODS[name](METHODS[name].Config()).positions]


def test_there_are_methods_that_take_positions():
    assert {"prompt_tuning", "p_tuning"} <= set(PROMPTS)


@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_a_text_as_long_as_the_table_of_positions(name, family, benches, tmp_path):
    """What the method takes is taken from the text, and that is told; nothing reads beyond the table."""
    bench = benches(family)
    texts = tuple((f"{text} " + "the " * 2 * POSITIONS,) for (text,) in bench.data.splits["train"].texts)
    splits = {name: replace(split, texts=texts[: len(split)]) for name, split in bench.data.splits.items()}
    long = replace(bench, data=replace(bench.data, splits=splits))
    method = METHODS[name](METHODS[name].Config())
    trained = long.train(method, tmp_path, Watch())
    assert 0 < method.positions < POSITIONS
    assert trained.net.max_length == POSITIONS - method.positions
    tables = [m for path, m in trained.net.model.named_modules() if path.endswith(("position_embeddings", "wpe"))]
    assert all(isinstance(table, nn.Embedding) for table in tables) and len(tables) == 1
    read: list[int] = []
    tables[0].register_forward_hook(lambda module, inputs, output: read.append(int(inputs[0].max())))
    logits = long.logits(trained.net, trained.plan)
    assert np.isfinite(logits).all() and math.prod(logits.shape) == 72
    assert max(read) == len(tables[0].weight) - 1, "the whole table is used, and no more"
