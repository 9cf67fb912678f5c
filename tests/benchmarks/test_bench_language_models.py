"""The benchmarks of language models: what they count, what each side is told, and that sides which must agree do."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.language_models import __main__ as command
from benchmarks.language_models import dpo, grpo, material, own, peers, reward, sft
from benchmarks.language_models.asked import Asked, Found
from tunewise.recipe import recipe_from

Bench = Callable[..., Asked]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Rows and a small model of an objective."""
    for name, value in (("VOCABULARY", 300), ("WIDTH", 32), ("LAYERS", 1), ("LONGEST", 12)):
        monkeypatch.setattr(material, name, value)

    def make(objective: str, **more: Any) -> Asked:
        measured = command.OBJECTIVES[objective]
        given = {"rows": 4, "batch": 2, "steps": 2, "rate": 1e-3, "samples": 2, "new_tokens": 5, **more}
        material.write_rows(tmp_path, measured.columns, given["rows"], measured.others)
        material.write_model(tmp_path / "model", given.get("ends", 0) if measured.ends else None)
        return Asked(str(tmp_path), **given)

    return make


def write(folder: Path, *rows: dict[str, str]) -> None:
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_tokens_are_words_and_the_ends_of_answers(tmp_path: Path) -> None:
    write(tmp_path, {"prompt": " w1 w2", "completion": " w3"}, {"prompt": " w1", "completion": " w2 w3 w4"})
    assert sft.tokens_of(tmp_path) == (2 + 2) + (1 + 4)
    pairs = [("w1 w2", "w3", "w4 w5"), ("w1", "w2 w3 w4 w5", "w6")]
    write(tmp_path, *(dict(zip(dpo.COLUMNS, row, strict=True)) for row in pairs))
    assert dpo.tokens_of(tmp_path) == (2 + 2 + 3) + (1 + 5 + 2)
    assert dpo.longest_of(tmp_path) == 1 + 5


def test_no_row_of_the_benchmark_is_cut(tmp_path: Path) -> None:
    assert dpo.END + 2 * material.LONGEST < own.LONGEST_READ
    material.write_rows(tmp_path, dpo.COLUMNS, 32, 2)
    assert 200 < dpo.longest_of(tmp_path) <= dpo.END + 2 * material.LONGEST
    assert 32 * 150 < dpo.tokens_of(tmp_path) < 32 * 300  # means of a log-normal are above its medians, 20, 60, 60


def test_the_rows_are_the_same_each_time(tmp_path: Path) -> None:
    for name, others in (("one", 2), ("two", 8)):
        (tmp_path / name).mkdir()
        material.write_rows(tmp_path / name, sft.COLUMNS, 5, others)
    one, two = ((tmp_path / name / "train.jsonl").read_text() for name in ("one", "two"))
    assert one == two
    assert len((tmp_path / "two" / "test.jsonl").read_text().splitlines()) == 8


def test_the_model_ends_as_often_as_is_asked(tmp_path: Path, bench: Bench) -> None:
    from transformers import AutoModelForCausalLM

    ids_BT = torch.randint(4, 300, (8, 12), generator=torch.Generator().manual_seed(5))
    for ends in (4, 0):
        asked = bench("grpo", ends=ends)
        model = AutoModelForCausalLM.from_pretrained(asked.file("model"))
        with torch.no_grad():
            odds_BT = model(input_ids=ids_BT).logits.softmax(-1)[..., material.END]
        if ends:
            assert float(odds_BT.mean()) == pytest.approx(1 / ends, rel=0.1)
            assert float(odds_BT.std()) < 0.05
        else:
            assert float(odds_BT.max()) < 1e-9


def test_the_reward_counts_even_words() -> None:
    assert reward.even(prompts=["", ""], completions=["w2 w3 w4 <unk>", ""], more=["", ""]) == [2 / 3, 0.0]


def test_what_is_asked_where_nothing_is_said() -> None:
    objective, sides, rounds, given = command.options(["--objective", "dpo", "--rows", "8"])
    assert (objective, rounds, given["rows"], given["batch"]) == ("dpo", 2, 8, 4)
    assert sides == ["defaults", "tuned", "ours", "ours, prompts shared", "ours, checkpointing"]
    objective, sides, _, given = command.options([])
    assert (objective, given["rows"], given["batch"], given["steps"], given["rate"]) == ("sft", 64, 8, 3, 1e-3)
    assert "ours, packed" in sides
    Asked(folder="", **given)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--rows", "9", "--batch", "4"], "not a multiple"),
        (["--sides", "theirs"], "sft has no side 'theirs': 'defaults', 'tuned', 'ours'"),
        (["--objective", "grpo", "--ends", "1"], "0, or 2 and more"),
    ],
)
def test_what_cannot_be_measured(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.options(arguments)
    assert told in capsys.readouterr().err


def test_all_sides_take_the_same_steps(bench: Bench) -> None:
    asked = bench("dpo", rows=6, batch=2, precision="bf16")
    ours = recipe_from(own.recipe(asked, {}, objective="dpo")).train
    theirs = peers.settings(asked, "out")
    assert (ours.batch_size, ours.accumulate, ours.max_steps) == (2, 3, 2)
    assert ours.batch_size == theirs["per_device_train_batch_size"]
    assert ours.accumulate == theirs["gradient_accumulation_steps"]
    assert (ours.max_steps, ours.schedule) == (theirs["max_steps"], theirs["lr_scheduler_type"])
    assert (
        ours.precision == "bf16"
        and peers.tuned(asked)["bf16"]
        and not peers.tuned(replace(asked, precision="fp32"))["bf16"]
    )
    assert grpo.writing(asked)["per_device_train_batch_size"] == 2 * asked.samples
    told = dpo.tuning(asked)
    assert told["precompute_ref_log_probs"] and not told["gradient_checkpointing"]


def test_a_line_for_each_side_in_turns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    measured = []

    def measure(module: str, argument: dict[str, Any]) -> dict[str, Any]:
        folder = Path(argument["asked"]["folder"])
        measured.append((module, argument["objective"], argument["side"], len(material.words_of(folder, "prompt"))))
        assert (folder / "model" / "config.json").is_file()
        figures = [{"length": 5.0, "reward": 0.25}, {"length": 4.5, "reward": 0.5}]
        return {**asdict(Found(2.0, 3 * 2**20, [0.5, 0.4], figures)), "command_seconds": 9.0}

    monkeypatch.setattr(command, "measure_in_process", measure)
    monkeypatch.setattr(material, "VOCABULARY", 50)
    arguments = ["--objective", "grpo", "--rows", "4", "--samples", "3", "--sides", "ours", "tuned"]
    assert command.main(arguments) == 0
    assert measured == [(command.MODULE, "grpo", side, 4) for side in ("ours", "tuned")] * 2
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    told = {"seconds_per_step": 1.0, "tokens_per_second": 57.0, "above_mib": 3}
    assert lines[0] == {"side": "ours", **told, "written": [60, 54], "rewards": [0.25, 0.5]}
    assert [line["side"] for line in lines] == ["ours", "tuned"] * 2


def test_useful_tokens_are_those_of_all_steps(tmp_path: Path) -> None:
    write(tmp_path, {"prompt": "w1", "completion": "w3 w4"})
    asked = Asked(str(tmp_path), rows=1, batch=1, steps=3, rate=1.0)
    assert sft.line(asked, Found(2.0, None, [1.0, 2.0, 3.0])) == {
        "tokens_per_second": 6.0, "above_mib": 0, "losses": [1.0, 2.0, 3.0]
    }  # fmt: skip


def test_our_sides_of_preferences(bench: Bench) -> None:
    asked = bench("dpo")
    plain, shared = (dpo.DPO.sides[side](asked) for side in ("ours", "ours, prompts shared"))
    assert plain.losses[0] == pytest.approx(math.log(2), abs=1e-6) and len(plain.losses) == 2
    np.testing.assert_allclose(plain.losses, shared.losses, atol=1e-5)
    assert plain.losses[1] < plain.losses[0] and plain.seconds > 0


def test_our_side_writes_as_long_as_is_asked(bench: Bench) -> None:
    found = grpo.ours(bench("grpo"))
    line = grpo.line(bench("grpo"), found)
    assert line["written"] == [4 * 2 * 5] * 2 and all(0 < value < 1 for value in line["rewards"])


def test_a_process_measures_what_it_is_told(bench: Bench) -> None:
    asked = bench("sft")
    told = json.loads(command.answer({"objective": "sft", "side": "ours, packed", "asked": asdict(asked)}))
    assert len(told["losses"]) == asked.steps and told["losses"][0] == pytest.approx(math.log(300), abs=0.5)
    assert set(told) == {"seconds", "above_bytes", "losses", "figures"}


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["sft", "dpo"])
def test_sides_have_the_same_losses(objective: str, bench: Bench) -> None:
    pytest.importorskip("trl")
    asked, sides = bench(objective, rows=6), command.OBJECTIVES[objective].sides
    expected = sides["ours"](asked).losses
    for side, run in sides.items():
        close = 0.02 if side == "defaults" else 1e-4  # as it comes, it computes in bf16
        np.testing.assert_allclose(run(asked).losses, expected, atol=close, err_msg=side)
    if objective == "dpo":
        assert expected[0] == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.slow
def test_the_reference_that_is_made_before_the_steps_counts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    trl = pytest.importorskip("trl")
    monkeypatch.setattr(trl.DPOTrainer, "_precompute_ref_logps", _slowly(trl.DPOTrainer._precompute_ref_logps))
    assert dpo.trl(bench("dpo", steps=1), tuned=True).seconds > 3


def _slowly(compute: Callable[..., Any]) -> Callable[..., Any]:
    def slowly(*args: Any) -> Any:
        time.sleep(3)
        return compute(*args)

    return slowly


@pytest.mark.slow
@pytest.mark.parametrize("ends", [0, 3])
def test_sides_write_as_much(ends: int, bench: Bench) -> None:
    pytest.importorskip("trl")
    asked = bench("grpo", new_tokens=6, samples=16, ends=ends)
    answers = asked.rows * asked.samples
    for side, run in grpo.GRPO.sides.items():
        written = grpo.line(asked, run(asked))["written"]
        assert len(written) == asked.steps, side
        if ends:  # a geometric length with 1/3, at most 6
            mean = sum((2 / 3) ** place for place in range(6))
            assert np.mean(written) / answers == pytest.approx(mean, abs=0.6), side
        else:
            assert written == [6 * answers] * asked.steps, side
