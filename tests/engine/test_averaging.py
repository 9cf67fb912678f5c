"""Means of weights: by hand, of equals, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

from tunewise.conformance.models import IMAGE, TEXT
from tunewise.engine.averaging import check_holds, check_same_shapes, check_same_statistics, mean_of, pour, weights_of
from tunewise.errors import ModelError


def moved(model: nn.Module, folder: Path, seed: int) -> Path:
    """A folder of the model with every weight moved at random; batch norms keep their statistics."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def three(tiny_bert: Path, tmp_path: Path) -> list[Path]:
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    return [moved(model, tmp_path / str(seed), seed) for seed in range(3)]


def poured(folders: list[Path]) -> dict[str, torch.Tensor]:
    model = AutoModelForSequenceClassification.from_pretrained(folders[0])
    pour(model, folders)
    return model.state_dict()


def test_mean_of_three_is_numpys(three: list[Path]) -> None:
    stored = [load_file(folder / "model.safetensors") for folder in three]
    found = poured(three)
    assert stored[0].keys() <= found.keys()
    for name in stored[0]:
        exact = np.mean([each[name].numpy().astype(np.float64) for each in stored], axis=0)
        np.testing.assert_array_equal(found[name].numpy(), exact.astype(np.float32))


@pytest.mark.parametrize("count", [2, 3, 7, 49])
def test_mean_of_equals_is_each_of_them_bit_for_bit(three: list[Path], count: int) -> None:
    stored = load_file(three[0] / "model.safetensors")
    found = poured([three[0]] * count)
    assert all(torch.equal(found[name].view(torch.int32), stored[name].view(torch.int32)) for name in stored)


def test_mean_keeps_extremes_and_formats(tmp_path: Path) -> None:
    """fp32 would overflow in the sum of two largest numbers, and loses 1 beside 2^24."""
    largest = float(np.finfo(np.float32).max)
    for name, values in (("a", [largest, 2.0**24, -0.0]), ("b", [largest, 2.0, 0.0])):
        (tmp_path / name).mkdir()
        tensors = {"x": torch.tensor(values), "half": torch.tensor(values[1:]).to(torch.float64)}
        save_file(tensors, tmp_path / name / "model.safetensors")
    with weights_of([tmp_path / "a", tmp_path / "b"]) as members:
        assert mean_of(members, "x").tolist() == [largest, 2.0**23 + 1, 0.0]
        assert mean_of(members, "half").dtype == torch.float64
        assert members[0]["half"].tolist() == [2.0**24, -0.0]  # the sum is not made in what was read


def test_other_tensors_are_refused(three: list[Path], tiny_model, tmp_path: Path) -> None:
    check_same_shapes(three)
    wider = AutoModelForSequenceClassification.from_pretrained(three[0], num_labels=5, ignore_mismatched_sizes=True)
    wider.save_pretrained(tmp_path / "wider")
    with pytest.raises(ModelError, match=r"not the same tensors: classifier.bias is \[2\].* \[5\] here"):
        check_same_shapes([*three, tmp_path / "wider"])
    deeper = AutoModelForSequenceClassification.from_pretrained(tiny_model("bert", 5))
    deeper.save_pretrained(tmp_path / "deeper")
    with pytest.raises(ModelError, match=r"none in .*, \[.*\] here"):
        check_same_shapes([three[0], tmp_path / "deeper"])


def test_running_statistics_that_differ_are_refused(tiny_model, tmp_path: Path) -> None:
    model = AutoModelForImageClassification.from_pretrained(tiny_model("resnet"))
    folders = [moved(model, tmp_path / str(seed), seed) for seed in range(2)]
    check_same_statistics(folders)
    name, buffer = next((name, buffer) for name, buffer in model.named_buffers() if name.endswith("running_var"))
    buffer += 0.01
    model.save_pretrained(tmp_path / "updated")
    with pytest.raises(ModelError, match=name) as caught:
        check_same_statistics([*folders, tmp_path / "updated"])
    assert "batch_norm: frozen" in caught.value.fix


@pytest.mark.parametrize("family", sorted([*TEXT, *IMAGE]))
def test_loaded_models_of_all_families_hold_their_tensors_by_name(family: str, tiny_model, tmp_path: Path) -> None:
    kind = AutoModelForImageClassification if family in IMAGE else AutoModelForSequenceClassification
    folder = moved(kind.from_pretrained(tiny_model(family)), tmp_path / "moved", 1)
    check_holds(kind.from_pretrained(folder), folder)


def test_a_model_that_holds_something_else_is_refused(three: list[Path]) -> None:
    with pytest.raises(ModelError, match="does not hold what its files hold"):
        check_holds(AutoModelForSequenceClassification.from_pretrained(three[1]), three[0])
