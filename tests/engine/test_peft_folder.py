"""PEFT folders: loaded by peft itself on the original model, in 4 bits, merged, and as tunewise saw them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_bench import At, Setup
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification, AutoTokenizer

from tunewise.conformance.bench import Bench, Watch
from tunewise.engine.apply import insert
from tunewise.engine.handover import handover_kind, save_model
from tunewise.engine.stop import Stop
from tunewise.engine.text_model import load
from tunewise.engine.train import Trained
from tunewise.errors import Interrupted
from tunewise.evaluate.scores import to_scores
from tunewise.methods import METHODS
from tunewise.models.blocks import named_tensors
from tunewise.models.load import load_net
from tunewise.models.locate import locate
from tunewise.types import Schema, Signals

NAMES = ["lora", "lora_plus", "dora", "pissa", "vera", "oft", "ia3"]
NOTHING = {"threshold": None, "positive": None}


def handed_over(setup: Setup) -> tuple[Trained, np.ndarray, Path]:
    """(trained, its outputs on the test split, model folder)."""
    trained = setup.train()
    logits_NC = trained.outputs(setup.job.data.splits["test"].texts, 7, lambda: None)
    kind = handover_kind(setup.method.handover, setup.method.merged)
    save_model(trained, kind, setup.folder / "model", setup.job.data.schema, NOTHING, lambda size: "card")
    return trained, logits_NC, setup.folder / "model"


def asked(model: torch.nn.Module, folder: Path, setup: Setup) -> np.ndarray:
    """Outputs by transformers alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [text for (text,) in setup.job.data.splits["test"].texts]
    with torch.no_grad():
        return model.eval()(**tokenizer(texts, padding=True, return_tensors="pt")).logits.numpy()


def base_of(setup: Setup, **options: Any) -> torch.nn.Module:
    """The base model by transformers, with another random head, which the adapter's own must replace."""
    torch.manual_seed(99)
    padding = setup.net.tokenizer.pad_token_id
    return AutoModelForSequenceClassification.from_pretrained(
        setup.net.located.path, num_labels=3, pad_token_id=padding, **options
    )


def close(one: np.ndarray, other: np.ndarray) -> None:
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- peft by itself


@pytest.mark.parametrize("family", ["bert", "gpt2", "roberta"])
@pytest.mark.parametrize("method", NAMES)
def test_peft_loads_every_folder_on_the_original_model(
    method: str, family: str, training: Callable[..., Setup]
) -> None:
    from peft import PeftModel

    if (method, family) == ("oft", "gpt2"):
        pytest.skip("refused: peft's OFT does not take its transposed layers")
    setup = training(method, family=family, max_steps=5, learning_rate=5e-3)
    _, logits_NC, folder = handed_over(setup)
    close(asked(PeftModel.from_pretrained(base_of(setup), folder), folder, setup), logits_NC)
    assert json.loads((folder / "adapter_config.json").read_text())["task_type"] == "SEQ_CLS"
    # And not only for the head's sake:
    assert np.abs(asked(base_of(setup), folder, setup) - logits_NC).max() > 0.05


@pytest.mark.parametrize("method", ["lora", "ia3"])
def test_names_in_the_file_are_in_order(method: str, training: Callable[..., Setup]) -> None:
    """peft keeps them in sets, whose order differs between processes."""
    _, _, folder = handed_over(training(method, max_steps=1))
    config = json.loads((folder / "adapter_config.json").read_text())
    lists = [config[key] for key in ("target_modules", "feedforward_modules") if config.get(key)]
    assert len(lists) == (2 if method == "ia3" else 1)
    assert all(names == sorted(names) and len(names) > 1 for names in lists)


@pytest.mark.parametrize(("rank", "alpha"), [(4, None), (4, 10.0)])
def test_pissa_becomes_a_lora_of_twice_the_rank_and_of_the_difference(
    rank: int, alpha: float | None, training: Callable[..., Setup]
) -> None:
    setup = training("pissa", options={"rank": rank, "alpha": alpha, "learning_rate": 5e-3}, max_steps=5)
    trained, _, folder = handed_over(setup)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["r"] == 2 * rank and config["init_lora_weights"] is True
    assert config["lora_alpha"] / config["r"] == (alpha or rank) / rank
    adapter, tensors = load_file(folder / "adapter_model.safetensors"), named_tensors(trained.net.model)
    query, scale = "bert.encoder.layer.1.attention.self.query", (alpha or rank) / rank
    down, up = (adapter[f"base_model.model.{query}.lora_{factor}.weight"] for factor in "AB")
    original = load_net(setup.net.located, setup.job.data.schema)
    before = named_tensors(original.model)[f"{query}.weight"]
    with torch.no_grad():
        now = tensors[f"{query}.weight"] + scale * tensors[f"{query}.lora_B.weight"] @ tensors[f"{query}.lora_A.weight"]
        assert torch.allclose(before + scale * up @ down, now, atol=1e-6)
        assert (now - before).abs().max() > 1e-3


def test_vera_without_its_matrices_draws_them_again(training: Callable[..., Setup]) -> None:
    sizes, options = [], {"rank": 64, "projection_seed": 3, "learning_rate": 2e-2}
    for keep in (True, False):
        setup = training("vera", options={**options, "save_projections": keep}, max_steps=4, at=str(keep))
        _, logits_NC, folder = handed_over(setup)
        close(load(folder).scores(setup.job.data.splits["test"].texts), to_scores("classification", logits_NC))
        sizes.append((folder / "adapter_model.safetensors").stat().st_size)
    assert sizes[0] - sizes[1] == pytest.approx(4 * 64 * (64 + 64), abs=300)


@pytest.mark.parametrize("method", NAMES)
def test_merged_folders_are_ordinary_models(method: str, training: Callable[..., Setup]) -> None:
    """RoBERTa's head consists of several layers, on which peft's own unloading fails for all but LoRA."""
    setup = training(method, family="roberta", options={"merge": True, "learning_rate": 5e-3}, max_steps=5)
    _, logits_NC, folder = handed_over(setup)
    assert not list(folder.glob("adapter*"))
    model, report = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    close(asked(model, folder, setup), logits_NC)
    close(load(folder).scores(setup.job.data.splits["test"].texts), to_scores("classification", logits_NC))


@pytest.mark.parametrize("family", ["vit", "resnet"])
def test_peft_loads_adapters_and_heads_of_image_models(family: str, tmp_path: Path) -> None:
    from peft import PeftModel

    bench = Bench.make(family, tmp_path)
    trained = bench.train(METHODS["lora"](METHODS["lora"].Config()), tmp_path, Watch())
    save_model(trained, "peft", tmp_path / "model", bench.data.schema, NOTHING, lambda size: "card")
    assert json.loads((tmp_path / "model" / "adapter_config.json").read_text())["task_type"] is None
    torch.manual_seed(99)
    base = AutoModelForImageClassification.from_pretrained(bench.located.path, num_labels=3)
    model = PeftModel.from_pretrained(base, tmp_path / "model").eval()
    pixels = bench.images["train"].batch(np.arange(6))
    with torch.no_grad():
        close(model(**pixels).logits.numpy(), bench.logits(trained.net)[:6])


def test_token_classification_is_named_to_peft(tiny_bert: Path) -> None:
    from transformers import AutoModelForTokenClassification

    net = load_net(locate(str(tiny_bert), tiny_bert), Schema("classification", ("m",), "l", ("a", "b")))
    net.model = AutoModelForTokenClassification.from_pretrained(tiny_bert, num_labels=2)
    insert(METHODS["lora"](METHODS["lora"].Config()).plan(net.map, Signals()), net, 0)
    assert net.model.peft_config["default"].task_type == "TOKEN_CLS"


# ---------------------------------------------------------------- in a training


@pytest.mark.parametrize("method", [name for name in METHODS if METHODS[name].handover == "peft"])
def test_it_learns_at_its_own_default_rate(method: str, training: Callable[..., Setup]) -> None:
    for package in METHODS[method].packages:
        pytest.importorskip(package)
    setup = training(method, max_steps=40, learning_rate=None, dropout=0.0, keep_best=False)
    losses = [row["loss"] for row in _steps(setup)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-6:]) < 0.9 * np.mean(losses[:6])


def _steps(setup: Setup) -> list[dict[str, Any]]:
    setup.train()
    return [row for row in setup.log() if row["event"] == "step"]


@pytest.mark.parametrize("method", ["lora_plus", "dora", "pissa", "vera", "oft", "ia3", "qlora"])
def test_a_resumed_training_is_the_one_that_never_stopped(method: str, training: Callable[..., Setup]) -> None:
    for package in METHODS[method].packages:
        pytest.importorskip(package)
    options: dict[str, Any] = {"max_steps": 8, "save_steps": 4, "dropout": 0.1}
    whole = training(method, at="a", **options)
    expected = whole.train().outputs(whole.job.data.splits["test"].texts, 16, lambda: None)
    stop = Stop()
    with pytest.raises(Interrupted):
        halt = At(5, lambda: setattr(stop, "requested", True))
        training(method, at="b", stop=stop, observers=[halt], **options).train()
    resumed = training(method, at="b", **options)
    again = resumed.train().outputs(resumed.job.data.splits["test"].texts, 16, lambda: None)
    assert np.array_equal(again, expected) and resumed.digest == whole.digest


# ---------------------------------------------------------------- in 4 bits


def quantised(weight: torch.Tensor, double_quant: bool) -> torch.Tensor:
    """A weight as NF4 keeps it, by bitsandbytes' functions."""
    functions = pytest.importorskip("bitsandbytes").functional
    packed, state = functions.quantize_4bit(weight, quant_type="nf4", compress_statistics=double_quant)
    return functions.dequantize_4bit(packed, state)


@pytest.mark.parametrize("double_quant", [True, False])
@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "t5"])
def test_qlora_starts_as_the_rounded_model(family: str, double_quant: bool, training: Callable[..., Setup]) -> None:
    pytest.importorskip("bitsandbytes")
    setup = training("qlora", family=family, options={"double_quant": double_quant}, dropout=0.0)
    plan = setup.method.plan(setup.net.map, Signals())
    rounded = load_net(setup.net.located, setup.job.data.schema, dropout=0.0)
    original = {name: tensor.detach().clone() for name, tensor in named_tensors(rounded.model).items()}
    with torch.no_grad():
        for path in plan.inserts[0].where:
            layer = rounded.model.get_submodule(path)
            transposed = type(layer).__name__ == "Conv1D"
            weight = quantised(layer.weight.T.contiguous() if transposed else layer.weight.data, double_quant)
            layer.weight.copy_(weight.T if transposed else weight)
    insert(plan, setup.net, 0)
    tensors = named_tensors(setup.net.model)
    whole = {name for name in original if tensors[name].shape == original[name].shape}
    assert {name.removesuffix(".weight") for name in original.keys() - whole} == set(plan.inserts[0].where)
    assert all(torch.equal(tensors[name], original[name]) for name in whole)
    assert not any(path.endswith("wo") for path in plan.inserts[0].where)
    batch = setup.net.tokenizer(["my refund is late", "thanks"], padding=True, return_tensors="pt")
    batch.pop("token_type_ids", None)
    with torch.no_grad():
        logits, expected = (net.model.eval()(**batch).logits for net in (setup.net, rounded))
    assert torch.allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_double_quantisation_changes_the_scales_and_saves_memory(tiny_bert: Path) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    from tunewise.methods.qlora import in_four_bits

    torch.manual_seed(0)
    layer = torch.nn.Linear(512, 256)
    held = []
    for double_quant in (True, False):
        small = in_four_bits(layer, double_quant)
        assert isinstance(small, bitsandbytes.nn.Linear4bit) and small.weight.quant_type == "nf4"
        state = small.weight.quant_state
        scales = [state.absmax, *([state.state2.absmax] if state.nested else [])]
        held.append(small.weight.nbytes + sum(tensor.nbytes for tensor in scales))
        assert small.weight.nbytes == 512 * 256 // 2 and small.bias is layer.bias
    # Bits per weight: 4 + 8/64 + 32/(64 x 256), and 4 + 32/64.
    assert [8 * size / (512 * 256) for size in held] == pytest.approx([4.127, 4.5], abs=2e-3)


def test_peft_loads_qlora_on_a_base_that_transformers_has_put_in_4_bits(training: Callable[..., Setup]) -> None:
    pytest.importorskip("bitsandbytes")
    from peft import PeftModel
    from transformers import BitsAndBytesConfig

    setup = training("qlora", options={"learning_rate": 5e-3}, max_steps=6)
    _, logits_NC, folder = handed_over(setup)
    exact = load(folder).scores(setup.job.data.splits["test"].texts, batch_size=7)
    np.testing.assert_array_equal(exact, to_scores("classification", logits_NC))
    four_bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
        llm_int8_skip_modules=["classifier", "bert.pooler"],
    )
    base = base_of(setup, quantization_config=four_bits, dtype=torch.float32)
    for module in base.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # it would compute in bf16
    np.testing.assert_allclose(
        asked(PeftModel.from_pretrained(base, folder), folder, setup), logits_NC, rtol=1e-4, atol=1e-4
    )


def test_weights_in_4_bits_are_counted_as_weights(training: Callable[..., Setup]) -> None:
    pytest.importorskip("bitsandbytes")
    counts = []
    for method in ("lora", "qlora"):
        trained = training(method, max_steps=1, at=method).train()
        counts.append((trained.trainable_parameters, trained.total_parameters, trained.forward_flops))
    assert counts[0] == counts[1]
