from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tunewise.engine import cores, device
from tunewise.engine.candidates import stack_question
from tunewise.engine.cores import cpu_flags, cpu_name, gpu_is_here, physical_cores, runs_that_fit
from tunewise.engine.device import Tuned, tune, tune_for
from tunewise.engine.machine import Answer, Machine, Question
from tunewise.engine.settings import TrainConfig
from tunewise.errors import RecipeError
from tunewise.models.attention import AttentionShape
from tunewise.models.load import load_net
from tunewise.models.locate import check_folder
from tunewise.types import Schema

SHAPE = AttentionShape(heads=4, head_width=8, tokens=16, drops=True)


@pytest.fixture(autouse=True)
def threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def told() -> Callable[..., Callable[[], Machine]]:
    """`told(precision="bf16")`: a machine that answers so to questions whose names begin so; `asked` lists them."""

    def make(**answers: str) -> Callable[[], Machine]:
        class Told(Machine):
            def ask(self, question: Question) -> Answer:
                make.asked.append(question.name)
                choice = next(
                    (value for key, value in answers.items() if question.name.startswith(key.replace("_", " "))),
                    question.default,
                )
                return Answer(choice, "told by the test")

        return lambda: Told(Path("nowhere"), {})

    make.asked = []
    return make


def test_what_the_recipe_leaves_open_is_asked_of_the_machine(no_gpu, told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "physical_cores", lambda: 4)
    answers = {"precision": "bf16", "attention_in_training": "sdpa", "threads": "2"}
    assert tune(TrainConfig(), SHAPE, machine=told(**answers)) == Tuned("cpu", "bf16", 2, "sdpa", "eager")
    assert told.asked == [
        "precision",
        "attention in training, 4 heads of 8, 16 tokens, dropout, bf16",
        "attention in prediction, 4 heads of 8, 16 tokens, fp32",
        "threads of 4, bf16",
    ]
    assert torch.get_num_threads() == 2


def test_what_the_recipe_says_is_not_asked(no_gpu, told) -> None:
    config = TrainConfig(precision="bf16", threads=2, device="cpu")
    assert tune(config, machine=told(precision="fp32", threads="1")) == Tuned("cpu", "bf16", 2, "eager", "eager")
    assert told.asked == [] and torch.get_num_threads() == 2


def test_the_order_of_images_is_asked_where_a_model_reads_them(no_gpu, told) -> None:
    config, answers = TrainConfig(precision="bf16", threads=1), {"order_of_images": "channels last"}
    assert tune(config, machine=told(**answers), images=True).channels_last
    assert told.asked == ["order of images in memory, bf16"]
    assert not tune(config, machine=told(), images=True).channels_last
    assert not tune(config, machine=told(**answers)).channels_last and len(told.asked) == 2


def test_runs_side_by_side_share_the_cores(no_gpu, told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "physical_cores", lambda: 6)
    found = [tune(TrainConfig(), side_by_side=number, machine=told()).threads for number in (1, 2, 4, 9)]
    assert found == [6, 3, 1, 1]


@pytest.mark.parametrize(
    ("answer", "fit", "side_by_side", "stacks", "expected"),
    [("4", 99, 1, True, 4), ("4", 7, 2, True, 3), ("4", 1, 2, True, 1), ("1", 99, 1, True, 1), ("4", 99, 1, False, 1)],
)
def test_how_many_runs_train_in_one_pass(
    told, tiny_bert, toy_data, monkeypatch, answer: str, fit: int, side_by_side: int, stacks: bool, expected: int
) -> None:
    monkeypatch.setattr(device, "runs_that_fit", lambda path: fit)
    config = TrainConfig(precision="fp32", threads=2, device="cpu")
    found = tune_for(
        config, check_folder("bert", tiny_bert), toy_data(), side_by_side, stacks, told(runs_in_one_pass=answer)
    )
    assert found.stacked == expected and torch.get_num_threads() == 2
    asked = [name for name in told.asked if not name.startswith("attention")]
    assert asked == (["runs in one pass, 4 heads of 8, 16 rows of 16 tokens, fp32"] if stacks else [])


@pytest.mark.parametrize(("dropout", "expected"), [(0.0, 4), (0.1, 1)])
def test_runs_stay_what_they_are_alone(told, tiny_bert, toy_data, dropout: float, expected: int) -> None:
    """torch's fused attention draws its own dropout, for a stack another than for one run."""
    machine = told(runs_in_one_pass="4", attention="sdpa")
    config = TrainConfig(precision="fp32", threads=1, device="cpu", dropout=dropout)
    found = tune_for(config, check_folder("bert", tiny_bert), toy_data(), stacks=True, machine=machine)
    assert (found.attention, found.stacked) == ("sdpa", expected)


def test_what_is_asked_of_stacks_is_real_work() -> None:
    question = stack_question(SHAPE, 4, "fp32")
    assert set(question.work()) == {"1", "4"} and question.default == "1"
    for carry_out in question.work().values():
        carry_out()


def test_a_gpu_is_not_timed(told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for native, precision in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, native=native: native)
        assert tune(TrainConfig(threads=1), SHAPE, machine=told()) == Tuned("cuda", precision, 1, None, None)
    assert told.asked == []


def test_a_device_that_is_not_here(no_gpu: None) -> None:
    for name in ("cuda", "mps"):
        with pytest.raises(RecipeError, match=f"there is no '{name}' device here"):
            tune(TrainConfig(device=name))
        with pytest.raises(RecipeError, match=f"there is no '{name}' device here") as caught:
            Tuned(name, "fp32", 1).apply()
        assert "the run was begun on it" in caught.value.fix


def test_fp16_needs_a_gpu(no_gpu: None) -> None:
    with pytest.raises(RecipeError, match="fp16 needs a CUDA GPU; this run is on cpu"):
        tune(TrainConfig(precision="fp16"))


def test_autocast() -> None:
    matrix = torch.ones(4, 4)
    with Tuned("cpu", "bf16", 1).autocast():
        assert (matrix @ matrix).dtype == torch.bfloat16
    with Tuned("cpu", "fp32", 1).autocast():
        assert (matrix @ matrix).dtype == torch.float32


def test_tuned_as_dict_makes_it_again() -> None:
    tuned = Tuned("cpu", "bf16", 3, "sdpa", "eager")
    assert Tuned.from_dict(tuned.as_dict()) == tuned


def test_tuning_stored_before_attention_was_measured() -> None:
    stored = {"device": "cpu", "precision": "bf16", "threads": 3}
    assert Tuned.from_dict(stored) == Tuned("cpu", "bf16", 3, "eager", "eager")
    assert Tuned.from_dict({**stored, "device": "cuda"}) == Tuned("cuda", "bf16", 3, None, None)


@pytest.mark.parametrize(("family", "turned"), [("bert", True), ("distilbert", True), ("deberta-v2", False)])
def test_a_trained_model_turns_to_prediction(family: str, turned: bool, tiny_model: Callable[..., Path]) -> None:
    """Where the family has both; the outputs are those of a model that was loaded so."""
    folder, schema = tiny_model(family), Schema("classification", ("text",), "label", ("a", "b"))
    located, batch = check_folder(family, folder), {"input_ids": torch.tensor([[2, 7, 9, 3]])}
    net = load_net(located, schema, attention="eager")
    Tuned("cpu", "fp32", 1, "eager", "sdpa").turn_to_prediction(net.model.eval())
    assert net.model.config._attn_implementation == ("sdpa" if turned else "eager")
    fresh = load_net(located, schema, attention="sdpa")
    assert fresh.model.config._attn_implementation == ("sdpa" if turned else "eager")
    with torch.no_grad():
        assert torch.equal(net.model(**batch).logits, fresh.model.eval()(**batch).logits)


def test_the_attention_that_a_method_has_put_in_stays(tiny_bert: Path) -> None:
    net = load_net(check_folder("bert", tiny_bert), Schema("classification", ("text",), "label", ("a", "b")))
    for tuned in (Tuned("cpu", "fp32", 1, "eager", "sdpa"), Tuned("cpu", "fp32", 1)):
        net.model.config._attn_implementation_internal = "of_a_method"
        tuned.turn_to_prediction(net.model)
        assert net.model.config._attn_implementation == "of_a_method"


def test_cores_are_those_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    for logical, found in ((2, 2), (16, 4), (None, 4)):
        monkeypatch.setattr(psutil, "cpu_count", lambda logical, found=logical: found)
        assert physical_cores() == found
    assert isinstance(gpu_is_here(), bool)


def test_runs_that_fit_count_six_copies_of_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    (tmp_path / "model.safetensors").write_bytes(b"x" * 1_000_000)
    (tmp_path / "other.bin").write_bytes(b"x" * 1_000_000)
    each = cores.BYTES_OF_A_PROCESS + 6 * 1_000_000
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 3 * each + 1})())
    assert runs_that_fit(tmp_path) == 3


def test_the_cpu_as_linux_tells_it(tmp_path: Path) -> None:
    x86, arm = tmp_path / "x86", tmp_path / "arm"
    x86.write_text("processor\t: 0\nmodel name\t: Abacus: 3000 @ 2 GHz\nflags\t\t: fpu avx512f avx512_bf16\n")
    arm.write_text("Features\t: fp asimd bf16\n")
    assert cpu_name(x86) == "Abacus: 3000 @ 2 GHz" and cpu_flags(x86) == {"fpu", "avx512f", "avx512_bf16"}
    assert cpu_name(arm) == cpu_name(tmp_path / "absent") != "" and cpu_flags(arm) == {"fp", "asimd", "bf16"}
    assert cpu_flags(tmp_path / "absent") == frozenset()


def test_few_kernels_are_kept_unless_the_environment_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "7")
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "0")  # so that it is put back afterwards
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY")
    Tuned("cpu", "fp32", 1).apply()
    assert os.environ["LRU_CACHE_CAPACITY"] == "7"
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == device.KEPT_KERNELS["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]
