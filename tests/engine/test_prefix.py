"""What is read in the place of a frozen prefix is what the prefix would give, or it is refused with a reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_bench import set_up

from tunewise.commit import Cache
from tunewise.conformance.models import IMAGE
from tunewise.conformance.toy_data import toy_images
from tunewise.data.batches import sorted_batches
from tunewise.data.inputs import Inputs
from tunewise.engine.apply import choose_trained
from tunewise.engine.device import Tuned
from tunewise.engine.encode import encode
from tunewise.engine.feed import safe_depth
from tunewise.engine.kept import Context
from tunewise.engine.prefix import FrozenPrefix
from tunewise.engine.stored_states import ROWS_AT_ONCE, StoredInputs
from tunewise.models.load import Net, load_net
from tunewise.models.locate import locate
from tunewise.types import DataBundle, Plan, Rule

BLOCKS = 4
# Kind of model, and what is kept where all blocks are frozen.
FAMILIES = {
    "bert": "first",
    "roberta": "first",
    "distilbert": "first",
    "electra": "first",
    "mpnet": "first",
    "modernbert": "first",
    "deberta-v2": "first",
    "gpt2": "last",
    "llama": "last",
    "vit": "whole",
    "resnet": "whole",
}


def upper_plan(net: Net, depth: int) -> Plan:
    """Trains all blocks from `depth` on, and the head."""
    rules = [Rule(f"{block.path}.*") for block in net.map.blocks[depth:]]
    return Plan((*rules, *(Rule(tensor.name) for tensor in net.map.head)), learning_rate=1e-3)


def context_of(folder: Path, precision: str = "fp32", limit: int = 10**9, told: list[str] | None = None) -> Context:
    tuned = Tuned("cpu", precision, 1)
    warn = (told if told is not None else []).append
    return Context(Cache(folder, limit), tuned.autocast, precision, torch.device("cpu"), "toy.csv", warn=warn)


@pytest.fixture
def case(
    tiny_model: Callable[..., Path], toy_data: Callable[..., DataBundle], tagged_data: Callable[..., DataBundle]
) -> Callable[..., tuple[Net, Inputs, torch.Tensor]]:
    """`case(family, depth, task)`: a net of which the blocks from `depth` on train, rows for it and their targets."""

    def make(family: str, depth: int, tagged: bool = False) -> tuple[Net, Inputs, torch.Tensor]:
        torch.set_num_threads(1)
        if family in IMAGE:
            data, images = toy_images(24, 6)
            inputs: Inputs = images["train"]
        else:
            data = tagged_data() if tagged else toy_data()
        folder = tiny_model(family, BLOCKS)
        net = load_net(locate(str(folder), folder, reads_text=family not in IMAGE), data.schema, attention="eager")
        if family not in IMAGE:
            inputs = encode(data.splits["train"].texts, net)
        choose_trained(upper_plan(net, depth), net)
        return net, inputs, torch.as_tensor(data.splits["train"].targets)

    return make


def loss_and_gradients(
    net: Net, inputs: Inputs, rows: np.ndarray, targets: torch.Tensor, context: Context
) -> list[torch.Tensor]:
    net.model.zero_grad()
    torch.manual_seed(0)
    with context.autocast():
        logits = net.model(**inputs.batch(rows)).logits
    loss = torch.nn.functional.cross_entropy(logits.float(), targets[rows], reduction="sum")
    loss.backward()
    return [loss.detach(), *(p.grad for p in net.model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("depth", [1, 3, BLOCKS])
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_and_gradients_are_the_same(family: str, depth: int, case: Any, tmp_path: Path) -> None:
    net, inputs, targets = case(family, depth)
    assert len(set(inputs.lengths)) > 1 or family in IMAGE
    context = context_of(tmp_path)
    prefix = FrozenPrefix(net, depth, context, inputs)
    kind = FAMILIES[family] if depth == BLOCKS else ("whole" if family in IMAGE else "tokens")
    assert (prefix.kind, prefix.refused) == (kind, None)
    stored, spent = prefix.open(inputs)
    assert isinstance(stored, StoredInputs) and spent.flops > 0
    rows = np.array([3, 11, 7, 20, 5, 0, 13, 1])
    plain = loss_and_gradients(net, inputs, rows, targets, context)
    with prefix.watched():
        cached = loss_and_gradients(net, stored, rows, targets, context)
    assert len(plain) == len(cached) > 2
    largest = max(float(gradient.abs().max()) for gradient in plain[1:])  # some gradients are rounding and no more
    for one, two in zip(plain, cached, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-5 * largest)
    again = loss_and_gradients(net, inputs, rows, targets, context)
    assert all(torch.equal(one, two) for one, two in zip(plain, again, strict=True))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", ["bert", "gpt2", "modernbert", "llama", "vit"])
def test_bit_for_bit_on_identical_batches(family: str, precision: str, case: Any, tmp_path: Path) -> None:
    """The pass that fills goes over the same batch that is then read: its first, of rows of different length."""
    net, inputs, targets = case(family, 2)
    context = context_of(tmp_path, precision)
    prefix = FrozenPrefix(net, 2, context, inputs)
    stored, _ = prefix.open(inputs)
    rows = sorted_batches(inputs.lengths, ROWS_AT_ONCE)[0]
    assert len(set(inputs.lengths[rows])) > 1 or family == "vit"
    plain = loss_and_gradients(net, inputs, rows, targets, context)
    with prefix.watched():
        cached = loss_and_gradients(net, stored, rows, targets, context)
    assert all(torch.equal(one, two) for one, two in zip(plain, cached, strict=True))


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_answers_for_words(family: str, case: Any, tmp_path: Path) -> None:
    net, inputs, _ = case(family, BLOCKS, tagged=True)
    prefix = FrozenPrefix(net, BLOCKS, context_of(tmp_path), inputs)
    assert prefix.kind == "tokens"  # every word's token is read
    stored, _ = prefix.open(inputs)
    net.model.eval()
    rows = np.arange(9)
    plain = net.model(**inputs.batch(rows)).logits
    with prefix.watched():
        cached = net.model(**stored.batch(rows)).logits
    torch.testing.assert_close(cached, plain, rtol=1e-5, atol=1e-5, equal_nan=True)


# ---------------------------------------------------------------- refusals


def test_an_encoder_decoder_is_refused(case: Any, tmp_path: Path) -> None:
    net, inputs, _ = case("t5", 2)
    prefix = FrozenPrefix(net, 2, context_of(tmp_path), inputs)
    assert prefix.kind is None and "encoder-decoder" in prefix.refused
    assert prefix.open(inputs)[0] is inputs


def test_shared_layers_are_refused(tiny_model: Any, toy_data: Any, tmp_path: Path) -> None:
    """ALBERT runs the same block several times: what it gives the first time is not what the head reads."""
    data, folder = toy_data(), tiny_model("albert", 3)
    net = load_net(locate(str(folder), folder), data.schema)
    inputs, depth = encode(data.splits["train"].texts, net), len(net.map.blocks)
    choose_trained(upper_plan(net, depth), net)
    prefix = FrozenPrefix(net, depth, context_of(tmp_path), inputs)
    assert prefix.kind is None and "does not give the same bits" in prefix.refused


def test_noise_in_the_prefix_is_refused(case: Any, tmp_path: Path) -> None:
    net, inputs, _ = case("bert", 2)
    net.model.get_submodule("bert.encoder.layer.0").register_forward_hook(
        lambda module, args, output: output + torch.randn_like(output) if torch.is_tensor(output) else output
    )
    prefix = FrozenPrefix(net, 2, context_of(tmp_path), inputs)
    assert prefix.kind is None and "something random runs" in prefix.refused


def test_what_reads_below_is_refused_even_where_it_starts_at_zero(case: Any, tmp_path: Path) -> None:
    """A gate of zero lets nothing through: outputs are the same with and without the states; its gradient is not."""
    net, inputs, _ = case("bert", 2)
    gate, read = torch.nn.Parameter(torch.zeros(())), []
    net.model.get_submodule("bert.encoder.layer.2").register_parameter("gate", gate)
    net.model.get_submodule("bert.encoder.layer.0").register_forward_hook(lambda m, a, out: read.append(out))
    net.model.get_submodule("bert.encoder.layer.3").register_forward_hook(lambda m, a, out: out + gate * read.pop())
    prefix = FrozenPrefix(net, 2, context_of(tmp_path), inputs)
    assert prefix.kind is None and "does not give the same bits" in prefix.refused
    gate.requires_grad_(False)
    read.clear()
    assert FrozenPrefix(net, 2, context_of(tmp_path), inputs).kind == "tokens"


def test_what_trains_beside_the_blocks_leaves_no_safe_depth(case: Any) -> None:
    net, _, _ = case("bert", 2)
    head = [tensor.name for tensor in net.map.head]
    top = f"{net.map.blocks[3].path}.output.dense.weight"
    plan = Plan((), learning_rate=1e-3)
    assert safe_depth([top, *head], net.map, plan) == 3
    assert safe_depth(head, net.map, plan) == BLOCKS
    assert safe_depth([*head, f"{net.map.chains[0].name}.ladder.gate"], net.map, plan) == 0
    assert safe_depth([*head, net.map.embedding[0].name], net.map, plan) == 0


def test_the_proof_leaves_no_trace(case: Any, tmp_path: Path) -> None:
    net, inputs, _ = case("bert", 2)
    modes = [module.training for module in net.model.modules()]
    weights = {name: value.clone() for name, value in net.model.state_dict().items()}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    prefix = FrozenPrefix(net, 2, context_of(tmp_path), inputs)
    stored, _ = prefix.open(inputs)
    assert torch.equal(torch.get_rng_state(), state)
    with prefix.watched():
        net.model(**stored.batch(np.arange(3)))
        with pytest.raises(RuntimeError):
            net.model(**stored.batch(np.arange(3)) | {"prefix_states": torch.zeros(3, 5, 7)})
    assert [module.training for module in net.model.modules()] == modes
    assert all(torch.equal(value, net.model.state_dict()[name]) for name, value in weights.items())
    assert not any("forward" in vars(module) for module in net.model.modules())
    assert all(parameter.grad is None for parameter in net.model.parameters())


# ---------------------------------------------------------------- the store


def test_a_second_run_reads_what_the_first_has_made(case: Any, tmp_path: Path) -> None:
    net, inputs, _ = case("bert", 2)
    first, made = FrozenPrefix(net, 2, context_of(tmp_path), inputs).open(inputs)
    other, _, _ = case("bert", 2)
    second, read = FrozenPrefix(other, 2, context_of(tmp_path), inputs).open(inputs)
    assert len(context_of(tmp_path).store.entries()) == 1
    rows = np.arange(8)
    assert torch.equal(first.batch(rows)["prefix_states"], second.batch(rows)["prefix_states"])
    assert made.flops > 0 == made.elsewhere_flops and made.elsewhere_seconds == 0
    assert read.flops == 0 and read.elsewhere_flops == made.flops and read.forward_seconds == made.forward_seconds > 0
    about = context_of(tmp_path).store.entries()[0].about
    assert read.seconds + read.elsewhere_seconds == pytest.approx(about["seconds"])
    assert about["depth"] == 2 and about["blocks"] == BLOCKS and about["kept_rows"] == len(inputs) == about["rows"]


def test_other_weights_inputs_depth_or_precision_have_other_entries(case: Any, tmp_path: Path) -> None:
    net, inputs, _ = case("bert", 2)
    store = context_of(tmp_path).store
    FrozenPrefix(net, 2, context_of(tmp_path), inputs).open(inputs)
    FrozenPrefix(net, 1, context_of(tmp_path), inputs).open(inputs)
    FrozenPrefix(net, 2, context_of(tmp_path, "bf16"), inputs).open(inputs)
    fewer = encode([("my refund is late",), ("thanks",)], net)
    FrozenPrefix(net, 2, context_of(tmp_path), fewer).open(fewer)
    assert len(store.entries()) == 4
    with torch.no_grad():  # above the prefix: the same entry
        net.model.get_submodule("bert.encoder.layer.2").output.dense.weight.mul_(2)
        net.model.classifier.weight.mul_(2)
    FrozenPrefix(net, 2, context_of(tmp_path), inputs).open(inputs)
    assert len(store.entries()) == 4
    with torch.no_grad():
        net.model.get_submodule("bert.encoder.layer.1").output.dense.weight[0, 0] += 1e-6
    FrozenPrefix(net, 2, context_of(tmp_path), inputs).open(inputs)
    assert len(store.entries()) == 5


@pytest.mark.parametrize(("depth", "share"), [(2, 0.55), (BLOCKS, 0.55)])
def test_where_not_all_rows_fit_the_others_are_computed(depth: int, share: float, case: Any, tmp_path: Path) -> None:
    net, inputs, _ = case("bert", depth)
    long = encode([(text,) for text in ["my refund is late and the box is great"] * 100], net)
    told: list[str] = []
    whole, _ = FrozenPrefix(net, depth, context_of(tmp_path / "all"), inputs).open(long)
    size = context_of(tmp_path / "all").store.entries()[0].bytes
    context = context_of(tmp_path / "some", limit=int(share * size), told=told)
    prefix = FrozenPrefix(net, depth, context, inputs)
    part, spent = prefix.open(long)
    kept = part.about["kept_rows"]
    assert 0 < kept < 100 and f"room for {kept} of 100 rows" in told[0]
    assert spent.flops > 0 and context.store.entries()[0].bytes <= share * size
    rows = np.array([0, 99, 50, 98, 1])
    one, two = (stored.batch(rows)["prefix_states"] for stored in (whole, part))
    torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-5)
    missing = part.missing_flops(rows)
    assert missing > 0 == whole.missing_flops(rows) and missing == part.missing_flops(rows)


def test_no_room_at_all_is_told(case: Any, tmp_path: Path) -> None:
    net, inputs, _ = case("bert", 2)
    told: list[str] = []
    fed, spent = FrozenPrefix(net, 2, context_of(tmp_path, limit=1000, told=told), inputs).open(inputs)
    assert fed is inputs and spent.flops == 0 and "no room" in told[0]


def test_a_damaged_entry_is_made_again(case: Any, tmp_path: Path) -> None:
    net, inputs, _ = case("bert", 2)
    prefix = FrozenPrefix(net, 2, context_of(tmp_path), inputs)
    first, _ = prefix.open(inputs)
    rows = np.arange(8)
    states = first.batch(rows)["prefix_states"].clone()
    (file,) = tmp_path.glob("*/states.bin")
    raw = bytearray(file.read_bytes())
    raw[1000] ^= 1
    file.write_bytes(raw)
    with pytest.warns(UserWarning, match="damaged"):
        second, spent = prefix.open(inputs)
    assert spent.flops > 0 and torch.equal(second.batch(rows)["prefix_states"], states)


def test_an_adapter_in_the_upper_blocks_keeps_the_prefix(tiny_model: Any, toy_data: Any, tmp_path: Path) -> None:
    """LoRA by peft: the names of blocks and the model's own forward pass are wrapped."""
    options = {"targets": ["encoder.layer.1.attention.self.query"]}
    setup = set_up(tiny_model("bert", 2), toy_data(), tmp_path, "head")
    import peft

    config = peft.LoraConfig(
        task_type="SEQ_CLS", r=2, target_modules=options["targets"], modules_to_save=["classifier"]
    )
    net = setup.net
    net.model = peft.get_peft_model(net.model, config)
    plan = Plan((Rule("*lora_*"), Rule("classifier.*")), learning_rate=1e-3)
    trained = [tensor.name for tensor in choose_trained(plan, net)]
    assert any("lora_" in name for name in trained) and safe_depth(trained, net.map, plan) == 1
    inputs = encode(setup.job.data.splits["train"].texts, net)
    prefix = FrozenPrefix(net, 1, context_of(tmp_path / "cache"), inputs)
    assert (prefix.kind, prefix.refused) == ("tokens", None)
    stored, _ = prefix.open(inputs)
    net.model.eval()
    plain = net.model(**inputs.batch(np.arange(8))).logits
    with prefix.watched():
        cached = net.model(**stored.batch(np.arange(8))).logits
    torch.testing.assert_close(cached, plain, rtol=1e-5, atol=1e-5)
