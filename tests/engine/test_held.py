"""Frozen weights held in the format that training computes in: the same bits, and the originals afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from training_bench import At, Recorder, Setup, set_up

from tunewise.commit import Series
from tunewise.conformance.bench import Bench, Watch
from tunewise.conformance.language_bench import LanguageBench
from tunewise.conformance.models import FAMILIES, LANGUAGE_FAMILIES, TIMM
from tunewise.engine.device import Tuned
from tunewise.engine.events import Evaluated, Observers, Step
from tunewise.engine.handover import load_model, save_model
from tunewise.engine.held import HeldWeights
from tunewise.engine.kept import Spent
from tunewise.engine.stop import Stop
from tunewise.engine.train import descend, train
from tunewise.errors import Interrupted, ModelError
from tunewise.methods import find_method
from tunewise.models.blocks import named_tensors
from tunewise.models.original_weights import OriginalWeights, digest_of_values
from tunewise.tracking.jsonl_log import JsonlLog

Digests = Mapping[str, str]


@dataclass
class Seen:
    """The weights that were held at each beginning of a phase: by name of format, how many tensors; bytes saved."""

    formats: list[set[torch.dtype]] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """What `HeldWeights.begin` did."""
    found, begin = Seen(), HeldWeights.begin

    def watched(self: HeldWeights, *args: Any) -> Spent:
        spent = begin(self, *args)
        found.bytes.append(self.bytes)
        found.formats.append({parameter.dtype for parameter in self.net.model.parameters()})
        return spent

    monkeypatch.setattr(HeldWeights, "begin", watched)
    return found


@pytest.fixture
def in_fp32(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Called, it leaves frozen weights in fp32 from then on, as if nothing were held."""
    return lambda: monkeypatch.setattr(HeldWeights, "begin", lambda self, *args: Spent())


def digests(net_model: nn.Module) -> Digests:
    return {name: digest_of_values(tensor) for name, tensor in named_tensors(net_model).items()}


# ---- every family


def _trained(bench: Bench, method: str, folder: Path) -> tuple[list[tuple[float, float]], list[Any], Digests]:
    """Loss and norm of all gradients at each step, what validations said, and every weight at the end."""
    told, watch = Recorder(), Watch()
    config = bench.config.model_copy(update={"max_steps": 2, "evaluate_every": 2, "dropout": None})
    made = find_method(method)(find_method(method).Config())
    job = replace(bench.job(made, folder, watch), tuned=Tuned("cpu", "bf16", 1), config=config)
    job.observers = Observers([told])
    net = bench.net()
    images = getattr(bench, "images", None)
    done = train(net, made, job) if images is None else descend(net, made, job, images)
    steps = [(event.loss, event.grad_norm) for event in told.of(Step)]
    return steps, [event.scores for event in told.of(Evaluated)], digests(done.net.model)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bench]:
    made: dict[str, Bench] = {}

    def make(family: str) -> Bench:
        if family not in made:
            kind = LanguageBench if family in LANGUAGE_FAMILIES else Bench
            made[family] = kind.make(family, tmp_path_factory.mktemp(family))
        return made[family]

    return make


ALWAYS = ("bert", "gpt2", "vit", "llama-lm")
HOLDING = [family for family in FAMILIES if family not in ("resnet", "mobilenet_v2", *TIMM)]
"""Models of convolutions alone hold nothing."""


@pytest.mark.parametrize(
    "family", [family if family in ALWAYS else pytest.param(family, marks=pytest.mark.slow) for family in HOLDING]
)
def test_losses_gradients_and_weights_have_the_same_bits(
    family: str, bench: Callable[[str], Bench], seen: Seen, in_fp32: Callable[[], None], tmp_path: Path
) -> None:
    held = _trained(bench(family), "lora", tmp_path / "held")
    assert seen.bytes[0] > 0 and torch.bfloat16 in seen.formats[0], "nothing was held"
    in_fp32()
    assert held == _trained(bench(family), "lora", tmp_path / "plain")


# ---- the originals


def _plain(names: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """By the names that the model's folder has."""
    return {name.removeprefix("bert."): tensor for name, tensor in names.items()}


@pytest.mark.parametrize(("method", "options"), [("last_k", {"k": 1}), ("lora", {}), ("head", {})])
def test_frozen_tensors_handed_over_are_the_pretrained_ones(
    method: str, options: dict[str, Any], training: Callable[..., Setup], seen: Seen
) -> None:
    setup = training(method, options=options, precision="bf16", cache=False, epochs=1)
    trained = setup.train()
    assert seen.bytes[0] > 0
    here = _plain(named_tensors(trained.net.model))
    trains = {name for name, tensor in here.items() if tensor.requires_grad}
    folder, decision = setup.folder / "model", {"threshold": None, "positive": None}
    kind = setup.method.handover
    save_model(trained, kind, folder, setup.job.data.schema, decision, card=lambda size: "")
    if kind == "transformers":
        stored = _plain(load_file(folder / "model.safetensors"))
    else:
        stored = _plain(named_tensors(load_model(folder, torch.device("cpu"))[0].model))
    source = load_file(setup.net.located.path / "model.safetensors")
    untouched = source.keys() - trains
    assert len(untouched) >= 20
    for name in untouched:
        assert digest_of_values(stored[name]) == digest_of_values(here[name]) == digest_of_values(source[name]), name


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("gradual", {}),
        ("chain_thaw", {}),
        ("lp_ft", {}),
        ("adaptive", {"interval": 1.0, "rho": 1.0}),
        ("bitfit", {}),
        ("pattern", {"train": ["*.layer.1.output.*"]}),
    ],
)
def test_methods_that_plan_again_find_the_originals(
    method: str, options: dict[str, Any], training: Callable[..., Setup], seen: Seen, in_fp32: Callable[[], None]
) -> None:
    """What thaws trains from the original on, and what is measured is measured on originals."""
    made = training(method, options=options, precision="bf16", at="held", epochs=4)
    trained = made.train()
    assert max(seen.bytes) > 0
    if method in ("gradual", "chain_thaw", "lp_ft", "adaptive"):
        assert len(seen.bytes) > 1
    in_fp32()
    plain = training(method, options=options, precision="bf16", at="plain", epochs=4)
    assert trained.plans == plain.train().plans
    assert made.digest == plain.digest and _told(made) == _told(plain)
    assert {tensor.dtype for tensor in made.net.model.parameters()} == {torch.float32}


def _told(setup: Setup) -> list[Any]:
    return [(row.get("step"), row.get("loss"), row.get("grad_norm"), row.get("scores")) for row in setup.log()]


def test_predictions_are_those_in_fp32(training: Callable[..., Setup], seen: Seen, in_fp32: Callable[[], None]) -> None:
    """Those of the test rows, after training, are made with the originals."""
    said = []
    for at in ("held", "plain"):
        setup = training("lora", precision="bf16", at=at, epochs=1)
        trained = setup.train()
        said.append(trained.outputs_of(setup.job.data.splits["test"], 8, lambda: None))
        in_fp32()
    assert seen.bytes[0] > 0 and (said[0] == said[1]).all()


def test_a_resumed_training_has_the_same_bits(training: Callable[..., Setup], seen: Seen) -> None:
    whole = training("gradual", precision="bf16", at="whole", epochs=4)
    whole.train()
    stop = Stop()
    halt = At(13, lambda: setattr(stop, "requested", True))
    setup = training("gradual", precision="bf16", at="cut", epochs=4, stop=stop, observers=[halt])
    with pytest.raises(Interrupted):
        setup.train()
    again = training("gradual", precision="bf16", at="cut", epochs=4)
    again.train()
    assert max(seen.bytes) > 0 and again.digest == whole.digest


def test_nothing_is_held_in_fp32(training: Callable[..., Setup], seen: Seen) -> None:
    training("lora", epochs=1).train()
    assert seen.bytes == [0] and seen.formats == [{torch.float32}]


def test_checkpoints_hold_no_rounded_weights(training: Callable[..., Setup], seen: Seen, tmp_path: Path) -> None:
    """Also not of what trained in an earlier phase, and is frozen now."""
    formats: set[torch.dtype] = set()
    folder = tmp_path / "a" / "checkpoints"

    def look() -> None:
        latest = Series(folder).latest()
        formats.update(tensor.dtype for tensor in load_file(latest / "weights.safetensors").values())

    setup = training("chain_thaw", precision="bf16", epochs=4, save_steps=5, observers=[At(23, look)])
    setup.train()
    assert max(seen.bytes) > 0 and formats == {torch.float32}


# ---- what is left as it is, and what goes wrong


def test_weights_that_are_read_otherwise_stay(
    training: Callable[..., Setup], seen: Seen, in_fp32: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DoRA takes the norm of the frozen weights themselves, which its outputs, in bf16, hardly show."""
    held = training("dora", options={"targets": "attention"}, precision="bf16", at="held")
    layer = held.net.model.bert.encoder.layer[0]
    watched = {"read": layer.attention.self.query.weight, "plain": layer.output.dense.weight}
    formats: dict[str, torch.dtype] = {}
    look = At(2, lambda: formats.update({name: tensor.dtype for name, tensor in watched.items()}))
    held.job.observers = Observers([JsonlLog(held.folder / "log.jsonl"), look])
    held.train()
    assert formats == {"read": torch.float32, "plain": torch.bfloat16}
    in_fp32()
    plain = training("dora", options={"targets": "attention"}, precision="bf16", at="plain")
    plain.train()
    assert held.digest == plain.digest and _told(held) == _told(plain)


def test_a_model_that_asks_for_the_format_is_left_alone(training: Callable[..., Setup], seen: Seen) -> None:
    """Its outputs would be others."""
    setup = training("lora", precision="bf16", epochs=1)
    dense, forward = (layer := setup.net.model.bert.encoder.layer[0].output.dense), layer.forward
    dense.forward = lambda hidden: forward(hidden) * (1 if layer.weight.dtype == torch.float32 else 2)
    setup.train()
    assert seen.bytes == [0] and seen.formats == [{torch.float32}]
    assert any("does not give the same bits" in note and "bf16" in note for note in setup.net.notes)


def test_weights_that_are_not_the_folders_are_left_alone(training: Callable[..., Setup], seen: Seen) -> None:
    """PiSSA takes its factors out of them."""
    setup = training("pissa", precision="bf16", epochs=1)
    setup.train()
    assert seen.bytes[0] > 0
    assert any("they are not those of the model's folder" in note for note in setup.net.notes)


def _copied(setup_folder: Path, source: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> Path:
    folder = setup_folder / "copy"
    shutil.copytree(source, folder)
    weights = {name: change(tensor) for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_what_rounding_leaves_as_it_is_needs_no_folder(
    tiny_model: Callable[..., Path], toy_data: Callable[..., Any], tmp_path: Path, seen: Seen
) -> None:
    """A model published in bf16: its folder may be gone by the end."""
    folder = _copied(tmp_path, tiny_model("bert", 2), lambda tensor: tensor.bfloat16())
    source = load_file(folder / "model.safetensors")
    gone = At(2, lambda: shutil.rmtree(folder))
    setup = set_up(folder, toy_data(), tmp_path, "lora", precision="bf16", epochs=1, observers=[gone])
    here = _plain(named_tensors(setup.train().net.model))
    name = "encoder.layer.0.output.dense.weight"
    assert seen.bytes[0] > 0 and not folder.exists() and not setup.net.notes
    assert torch.equal(here[name], source[name].float()) and here[name].dtype == torch.float32


@pytest.mark.parametrize("harm", ["changed", "gone"])
def test_a_folder_that_changes_meanwhile_is_told(
    harm: str, tiny_model: Callable[..., Path], toy_data: Callable[..., Any], tmp_path: Path, seen: Seen
) -> None:
    """One bit of a frozen tensor, which rounding would not show."""
    folder = _copied(tmp_path, tiny_model("bert", 2), lambda tensor: tensor)
    file = folder / "model.safetensors"

    def spoil() -> None:
        weights = load_file(file)
        weights["encoder.layer.0.output.dense.weight"].view(torch.int32)[0, 0] ^= 1
        save_file(weights, file, metadata={"format": "pt"})

    act = spoil if harm == "changed" else lambda: shutil.rmtree(folder)
    setup = set_up(folder, toy_data(), tmp_path, "lora", precision="bf16", epochs=1, observers=[At(2, act)])
    with pytest.raises(ModelError, match="cannot be read again from the model folder") as problem:
        setup.train()
    assert "last checkpoint" in str(problem.value.fix) and seen.bytes[0] > 0


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16])
def test_an_original_is_read_as_transformers_reads_it(stored: torch.dtype, tmp_path: Path) -> None:
    values = torch.randn(5, 3).to(stored)
    save_file({"other": torch.ones(2), "encoder.w": values}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    originals = OriginalWeights(tmp_path, "bert")
    found = originals.of("bert.encoder.w", values.float())
    assert found is not None and torch.equal(found.read(), values.float())
    assert originals.of("bert.encoder.w", values.float() + 1) is None  # of that name, with other values
    assert originals.of("bert.encoder.v", values.float()) is None
    assert originals.of("bert.encoder.w", values.float().T) is None
