"""Whatever holds tensors bears every fault of the bench, whoever writes it in whatever language: checkpoints, entries
of the cache, model folders of every kind with their tokeniser."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from fault_bench import FAULTS, Job, check_damage_is_found
from safetensors.torch import load_file, save_file

from tunewise.commit import Cache, Series, sweep, verify
from tunewise.commit.leftovers import ABANDONED_SECONDS
from tunewise.conformance.models import make_tokenizer
from tunewise.data.ragged import Ragged
from tunewise.data.token_files import read_tokens, write_tokens
from tunewise.data.tokenise import Tokens
from tunewise.engine import handover
from tunewise.engine.checkpoint import load_checkpoint, save_checkpoint
from tunewise.engine.feature_head import FeatureHead
from tunewise.engine.handover import META, TENSORS, save_model
from tunewise.engine.kept import Context, Parts, kept_array
from tunewise.engine.stored_states import write_states
from tunewise.models.cost import StepFlops
from tunewise.models.memory import PassSize
from tunewise.types import CARD, Schema

VALUES = {"old": 1.0, "new": 2.0}
KEY = "a" * 64


def word_of(value: float) -> str:
    return {value: word for word, value in VALUES.items()}[float(value)]


# ---------------------------------------------------------------- checkpoints


def save(root: Path, word: str) -> None:
    tensors = {"layer.weight": torch.full((30, 10), VALUES[word])}
    save_checkpoint(
        Series(root / "c"),
        int(VALUES[word]),
        weights=tensors,
        best=tensors,
        optimizer={"0.exp_avg": torch.full((300,), VALUES[word])},
        state={"word": word},
        fingerprint="f",
    )


def read_checkpoint(root: Path, told: list[str]) -> str:
    sweep(root / "c")
    series = Series(root / "c")
    state, tensors = load_checkpoint(series.latest())
    told += series.warnings
    assert set(tensors) == {"weights", "best", "optimizer", "random"}
    assert state["word"] == word_of(tensors["weights"]["layer.weight"][0, 0])
    return state["word"]


# ---------------------------------------------------------------- entries of the cache


class Pass:
    """A prefix that gives the same for every row."""

    kind, flops, done_flops, size = "tokens", StepFlops(), 0.0, PassSize()

    def states_of(self, inputs: Rows, rows: np.ndarray) -> torch.Tensor:
        return torch.full((4, 5, 40), VALUES["new"])

    def vectors_of(self, lengths: np.ndarray) -> np.ndarray:
        return lengths


class Rows:
    lengths = np.full(4, 5)

    def __len__(self) -> int:
        return 4


def write_entry(folder: Path) -> None:
    write_states(folder, Pass(), Rows(), [np.arange(4)], {})


def read_entry(folder: Path) -> float:
    states = np.fromfile(folder / "states.bin", dtype=np.float32)
    assert len(states) == 800 and np.load(folder / "starts.npy").tolist() == [0, 5, 10, 15]
    return states[0]


def write_some_tokens(folder: Path) -> None:
    rows = Ragged.of([[2, 2, 2]] * 200, np.int32)
    write_tokens(folder, Tokens(ids=rows, kinds=rows, pad=0, cut=0, lost=0))


def of_cache(name: str, work: Callable[[Cache], bool], read: Callable[[Path], float]) -> Job:
    def found(root: Path, told: list[str]) -> str:
        for path in root.rglob("*"):
            os.utime(path, (time.time() - 2 * ABANDONED_SECONDS,) * 2)
        cache = Cache(root / "cache", 10**6, told.append)
        cache.put("b" * 64, lambda folder: (folder / "x").write_text("x") and None, {})
        folder = cache.get(KEY)
        return "old" if folder is None else word_of(read(folder))

    return Job(name, lambda root: None, lambda root: work(Cache(root / "cache", 10**6, lambda told: None)), found)


def keep_array(cache: Cache) -> bool:
    context = Context(cache, None, "fp32", torch.device("cpu"), "rows.csv")
    array, _ = kept_array(context, KEY, {}, lambda: Parts.whole(np.full(300, VALUES["new"]), 1.0))
    assert array[0] == VALUES["new"]  # a run has what it needs, whether it could be kept or not
    return cache.get(KEY) is not None


# ---------------------------------------------------------------- models


class Model(torch.nn.Linear):
    """Saves itself as transformers and peft do: safetensors, and a configuration as JSON."""

    files: ClassVar = {
        "transformers": ("model.safetensors", "config.json"),
        "peft": ("adapter_model.safetensors", "x.json"),
    }

    def __init__(self, word: str, kind: str):
        super().__init__(20, 20, bias=False)
        torch.nn.init.constant_(self.weight, VALUES[word])
        self.kind, self.config = kind, SimpleNamespace()

    def save_pretrained(self, folder: Path, **options: Any) -> None:
        weights, config = self.files[self.kind]
        save_file({"weight": self.weight.detach()}, folder / weights)
        (folder / config).write_text(json.dumps({"a": 1}))


TOKENIZER = make_tokenizer("bert")


def hand_over(kind: str, word: str) -> Callable[[Path], object]:
    net = SimpleNamespace(
        model=Model(word, kind),
        tokenizer=TOKENIZER,
        max_length=8,
        kept="head",
        located=SimpleNamespace(name="m", path=Path("m"), fingerprint="f"),
        adapter_start=None,
        map=SimpleNamespace(tensors=()),
        processor=None,
    )
    head = FeatureHead(((np.full((20, 20), VALUES[word], np.float32), np.zeros(20, np.float32)),))
    trained = SimpleNamespace(net=net, plan=SimpleNamespace(as_dict=dict), head=head)
    schema = Schema("classification", ("text",), "label", ("a", "b"))
    decision = {"threshold": None, "positive": None}
    return lambda root: save_model(trained, kind, root / "model", schema, decision, lambda size: f"{size} bytes")


def read_model(kind: str) -> Callable[[Path, list[str]], str]:
    file, tensor = {"tunewise": (TENSORS, "layer.0.weight")}.get(kind) or (Model.files[kind][0], "weight")

    def read(root: Path, told: list[str]) -> str:
        sweep(root)
        verify(root / "model", editable=(CARD,))
        assert json.loads((root / "model" / META).read_text())["kind"] == kind
        return word_of(load_file(root / "model" / file)[tensor][0, 0])

    return read


@pytest.fixture(autouse=True)
def no_base_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is none; what is written of it does not matter here."""
    monkeypatch.setattr(handover, "sample_digest", lambda path: "d")


JOBS = [
    Job("checkpoint", lambda root: save(root, "old"), lambda root: save(root, "new"), read_checkpoint),
    of_cache("states", lambda cache: cache.put(KEY, write_entry, {}) is not None, read_entry),
    of_cache(
        "tokens",
        lambda cache: cache.put(KEY, write_some_tokens, {}, size=9000) is not None,
        lambda folder: read_tokens(folder).ids.flat[0],
    ),
    of_cache("array", keep_array, lambda folder: np.load(folder / "array.npy")[0]),
    *(
        Job(f"{kind} folder", hand_over(kind, "old"), hand_over(kind, "new"), read_model(kind))
        for kind in ("transformers", "peft", "tunewise")
    ),
]
# One of each kind of writer: the others differ in what they put into the staged folder alone.
EACH_KIND = [JOBS[0], JOBS[1], JOBS[4]]
TRIED_ON_ALL = ("an operation fails", "the disk takes no more")
CASES = [(fault, job) for fault in FAULTS for job in (JOBS if fault in TRIED_ON_ALL else EACH_KIND)]


@pytest.mark.parametrize(("fault", "job"), CASES, ids=lambda part: part if isinstance(part, str) else part.name)
def test_no_fault_loses_tensors(fault: str, job: Job, tmp_path: Path) -> None:
    FAULTS[fault](job, tmp_path)


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_damage_of_tensors_is_found(job: Job, tmp_path: Path) -> None:
    check_damage_is_found(job, tmp_path, places=2)
