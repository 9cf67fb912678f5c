"""Much text is encoded once, and read where it was kept."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from training_bench import Setup, set_up

from tunewise.commit import Cache, default_cache
from tunewise.data.token_files import read_tokens, tokens_key, write_tokens
from tunewise.data.tokenise import Tokens, tokenise
from tunewise.engine import encode as room
from tunewise.engine.encode import encode
from tunewise.engine.kept import Context
from tunewise.engine.train import outputs
from tunewise.models.load import Net

TEXTS = [(" ".join(["thanks for the parcel"] * (1 + number % 5)),) for number in range(40)]


def context(root: Path, limit: int = 10**9) -> Context:
    return Context(Cache(root, limit), nullcontext, "fp32", torch.device("cpu"), "toy.csv")


def same(one: Tokens, other: Tokens) -> bool:
    pairs = [(getattr(one, name), getattr(other, name)) for name in ("ids", "kinds", "words")]
    numbers = [(tokens.pad, tokens.cut, tokens.lost, tokens.opens) for tokens in (one, other)]
    assert np.array_equal(one.cut_rows, other.cut_rows)
    return numbers[0] == numbers[1] and all(
        mine is theirs or (mine.flat.dtype == theirs.flat.dtype and [*map(list, mine)] == [*map(list, theirs)])
        for mine, theirs in pairs
    )


@pytest.fixture
def net(training: Callable[..., Setup]) -> Net:
    return training().net


@pytest.fixture
def always_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "KEPT_LETTERS", 1)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of each call of the tokeniser."""
    seen: list[int] = []
    monkeypatch.setattr(room, "tokenise", lambda texts, *a, **k: (seen.append(len(texts)), tokenise(texts, *a, **k))[1])
    return seen


@pytest.mark.parametrize("by_word", [False, True])
@pytest.mark.parametrize("max_length", [8, 64])
def test_files_hold_the_tokens(max_length: int, by_word: bool, net: Net, tmp_path: Path) -> None:
    tokens = tokenise(TEXTS, net.tokenizer, max_length, by_word=by_word)
    write_tokens(tmp_path, tokens)
    read = read_tokens(tmp_path)
    assert same(read, tokens) and isinstance(read.ids.flat, np.memmap)
    ours, theirs = read.batch([3, 0, 7]), tokens.batch([3, 0, 7])
    assert ours.keys() == theirs.keys() and all(ours[name].equal(theirs[name]) for name in ours)


@pytest.mark.usefixtures("always_kept")
def test_kept_once_and_read_by_whoever_comes_later(net: Net, tmp_path: Path, calls: list[int]) -> None:
    first, second = (encode(TEXTS, net, context(tmp_path)) for _ in range(2))
    assert calls == [40]
    assert same(first, second) and same(first, tokenise(TEXTS, net.tokenizer, net.max_length))
    assert first.elsewhere_seconds == 0.0 <= second.elsewhere_seconds
    (entry,) = context(tmp_path).store.entries()
    assert (entry.about["kind"], entry.about["rows"], entry.about["data"]) == ("tokens", 40, "toy.csv")


def test_little_text_is_not_kept(net: Net, tmp_path: Path) -> None:
    encode(TEXTS, net, context(tmp_path))
    assert not context(tmp_path).store.entries()


@pytest.mark.usefixtures("always_kept")
@pytest.mark.parametrize("limit", [0, 500])
def test_without_room_tokens_are_made_each_time(limit: int, net: Net, tmp_path: Path, calls: list[int]) -> None:
    for _ in range(2):
        assert same(encode(TEXTS, net, context(tmp_path, limit)), tokenise(TEXTS, net.tokenizer, net.max_length))
    assert calls == [40, 40]


@pytest.mark.usefixtures("always_kept")
def test_an_entry_that_goes_while_it_is_opened(
    net: Net, tmp_path: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    encode(TEXTS, net, context(tmp_path))

    def gone(folder: Path) -> Tokens:
        raise FileNotFoundError(folder)

    monkeypatch.setattr(room, "read_tokens", gone)
    assert same(encode(TEXTS, net, context(tmp_path)), tokenise(TEXTS, net.tokenizer, net.max_length))
    assert calls == [40, 40]


def test_the_key_is_of_all_that_decides(net: Net, training: Callable[..., Setup]) -> None:
    key = tokens_key(TEXTS, net.tokenizer, 64, False)
    assert key == tokens_key(list(TEXTS), training().net.tokenizer, 64, False)
    net.tokenizer(TEXTS[0][0], truncation=True, max_length=5)
    assert key == tokens_key(TEXTS, net.tokenizer, 64, False)
    others = {
        tokens_key(TEXTS[:-1], net.tokenizer, 64, False),
        tokens_key(TEXTS, net.tokenizer, 63, False),
        tokens_key(TEXTS, net.tokenizer, 64, True),
        tokens_key(TEXTS, net.tokenizer, 64, False, "tail"),
        tokens_key(TEXTS, net.tokenizer, 64, False, "both"),
        tokens_key([(*row, "") for row in TEXTS], net.tokenizer, 64, False),
        tokens_key(TEXTS, training(family="roberta").net.tokenizer, 64, False),
    }
    net.tokenizer.add_tokens(["parcel"])
    assert len({key, *others, tokens_key(TEXTS, net.tokenizer, 64, False)}) == 9


def test_slow_tokenisers_have_keys_too() -> None:
    from transformers import ByT5Tokenizer

    keys = {tokens_key(TEXTS, ByT5Tokenizer(extra_ids=count), 64, False) for count in (0, 5, 5)}
    assert len(keys) == 2


@pytest.mark.usefixtures("always_kept")
@pytest.mark.parametrize("method", ["head", "features"])
def test_runs_that_read_kept_tokens_are_the_same(method: str, tiny_bert: Path, toy_data, tmp_path: Path) -> None:
    def scores(name: str, **settings: object) -> np.ndarray:
        setup = set_up(tiny_bert, toy_data(), tmp_path / name, method, **settings)
        return setup.train().outputs(toy_data().splits["test"].texts, 8, lambda: None)

    plain, first, second = scores("plain", cache=False), scores("first"), scores("second")
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(plain, first, atol=1e-5)


@pytest.mark.usefixtures("always_kept")
def test_what_a_trained_model_is_given_to_predict_is_not_kept(tiny_bert: Path, toy_data, tmp_path: Path) -> None:
    def kept() -> set[str]:
        return {entry.key for entry in default_cache().entries() if entry.about["kind"] == "tokens"}

    setup = set_up(tiny_bert, toy_data(), tmp_path, "full", max_steps=2, evaluate_every=2)
    trained, before = setup.train(), kept()
    outputs(trained.net, trained.plan, None, TEXTS, 8)
    assert kept() == before
    trained.outputs(TEXTS, 8, lambda: None)
    assert len(kept()) == len(before) + 1


THREADS = """
import os, torch
from tokenizers import Tokenizer, models, pre_tokenizers
from tunewise.engine.encode import _as_many_threads_as_torch
torch.set_num_threads(3)
made = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
made.pre_tokenizer = pre_tokenizers.Whitespace()
before = set(os.listdir("/proc/self/task"))
with _as_many_threads_as_torch():
    made.encode_batch(["a " * 50] * 2000)
print(len(set(os.listdir("/proc/self/task")) - before), os.environ.get("RAYON_NUM_THREADS"))
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts the threads that Linux lists")
def test_a_tokeniser_takes_the_threads_of_its_run() -> None:
    ours = ("RAYON_NUM_THREADS", "TOKENIZERS_PARALLELISM")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run([sys.executable, "-c", THREADS], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "None"]
