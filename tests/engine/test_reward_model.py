"""A reward model that is handed over, loaded, and asked for rewards."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from preference_rows import preferences
from training_bench import set_up

from tunewise.cli.predicting_rewards import reward_lines
from tunewise.data.settings import DataConfig
from tunewise.engine.handover import handover_kind, save_model
from tunewise.engine.text_model import TextModel, load
from tunewise.errors import DataError
from tunewise.types import DataBundle


def in_chat(data: DataBundle) -> DataBundle:
    """The same rows as messages."""

    def said(role: str, text: str) -> str:
        return json.dumps([{"role": role, "content": text}])

    splits = {
        name: replace(
            split,
            texts=tuple(
                (said("user", row[0]), said("assistant", row[1]), said("assistant", row[2])) for row in split.texts
            ),
        )
        for name, split in data.splits.items()
    }
    return replace(data, splits=splits, schema=replace(data.schema, form="chat"))


def trained(
    model: Path, folder: Path, method: str = "full", data: DataBundle | None = None
) -> tuple[TextModel, np.ndarray]:
    """The model as it is loaded again, and what it said of the test rows when its training ended, (n, 3)."""
    data = data or preferences(24, 8)
    setup = set_up(model, data, folder, method, objective={"reward": {}}, max_steps=3)
    done = setup.train()
    numbers = done.outputs_of(data.splits["test"], 8, lambda: None)
    kind = handover_kind(setup.method.handover, setup.method.merged)
    save_model(done, kind, folder / "model", data.schema, {"threshold": None, "positive": None}, lambda size: "")
    return load(folder), numbers


@pytest.mark.parametrize(
    ("family", "method"), [("llama", "full"), ("llama", "lora"), ("bert", "norms"), ("t5", "lora")]
)
def test_rewards_are_those_of_the_training(
    family: str, method: str, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    model, numbers = trained(tiny_model(family, 2), tmp_path, method)
    rows = preferences(24, 8).splits["test"].texts
    for place in (1, 2):
        found = model.scores([(row[0], row[place]) for row in rows])
        assert found.shape == (8,) and np.allclose(found, numbers[:, place - 1], atol=1e-5)
    assert np.ptp(numbers[:, :2]) > 1e-3


def test_conversations_are_judged(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    model, numbers = trained(tiny_model("llama", 2), tmp_path, data=in_chat(preferences(24, 8)))
    rows = preferences(24, 8).splits["test"].texts
    asked = [[{"role": "user", "content": row[0]}, {"role": "assistant", "content": row[1]}] for row in rows]
    assert np.allclose(model.scores(asked), numbers[:, 0], atol=1e-5)
    assert np.allclose(model.scores([row[:2] for row in rows]), numbers[:, 0], atol=1e-5)


def test_a_file_of_conversations_is_judged(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    """With tools too, which make the string of a row an object."""
    model, numbers = trained(tiny_model("llama", 2), tmp_path, data=in_chat(preferences(24, 8)))
    rows = preferences(24, 8).splits["test"].texts
    said = [[{"role": "user", "content": row[0]}, {"role": "assistant", "content": row[1]}] for row in rows]
    tools = [{"type": "function", "function": {"name": "pay", "parameters": {"type": "object", "properties": {}}}}]
    lines = [{"messages": messages, **({"tools": tools} if row == 0 else {})} for row, messages in enumerate(said)]
    file = tmp_path / "asked.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    count, (head, *found) = reward_lines(model, DataConfig(train="asked.jsonl"), model.schema, file, 4)
    assert (count, head) == (8, ["conversation", "reward"])
    assert np.allclose([row[1] for row in found[1:]], numbers[1:, 0], atol=1e-5)
    (with_tools,) = model.scores([(json.dumps({"messages": said[0][:1], "tools": tools}), rows[0][1])])
    assert found[0][1] == pytest.approx(float(with_tools), abs=1e-5)


def test_what_it_says_and_what_it_refuses(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    model, _ = trained(tiny_model("llama", 2), tmp_path)
    assert model.task == "preference" and model.scores([]).shape == (0,)
    (said,) = model.predict([("the", "good")])
    assert said == {"reward": pytest.approx(float(model.scores([("the", "good")])[0]))}
    with pytest.raises(DataError) as caught:
        model.scores([("the", "good"), "the good"])
    assert "row 2 is 'the good'" in caught.value.what and caught.value.fix == "give tuples of two strings"
