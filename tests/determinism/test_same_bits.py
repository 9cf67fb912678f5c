"""The same recipe gives the same bits: in other processes, hash seeds, folders, locales, orders of files, and with
the cache empty, full or off."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunewise.conformance.toy_data import TELLING, telling_words, with_filler
from tunewise.verification.evidence import differences

METHODS = ("full", {"lora": {"rank": 2}}, "head", "features", "adaptive")
MORE = ("gradual", "vera", "ia3", "adapter", "ladder", "prompt_tuning", "fisher_norms", "bitfit", "scratch")

CHILD = """
import json, sys
from pathlib import Path
import tunewise
from tunewise.verification.evidence import evidence_of
here, out, methods, again = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]), int(sys.argv[4])
found = {}
for method in methods:
    name = method if isinstance(method, str) else next(iter(method))
    for time in range(again):
        run = out / f"{name}-{time}"
        tunewise.train(here / "recipe.yaml", run, method=method, quiet=True)
        found[f"{name}-{time}"] = evidence_of(run)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Path]) -> Path:
    """A folder with a model, three shards of data, and a recipe."""
    here = tmp_path_factory.mktemp("determinism")
    shutil.copytree(tiny_model("bert", 2), here / "model")
    write_shards(here)
    recipe = {
        "model": "model",
        "data": {"train": "shards", "text": "text", "label": "label"},
        "train": {"epochs": 2, "batch_size": 8, "threads": 1, "precision": "fp32"},
        "evaluate": {"resamples": 100},
    }
    (here / "recipe.yaml").write_text(json.dumps(recipe))
    return here


def write_shards(here: Path, backwards: bool = False) -> None:
    import pyarrow
    from pyarrow import parquet

    generator, names = np.random.default_rng(3), list(TELLING)
    rows = [(with_filler(telling_words(row % 3, generator), generator), names[row % 3]) for row in range(60)]
    (here / "shards").mkdir()
    for number in range(2, -1, -1) if backwards else range(3):
        texts, labels = zip(*rows[number::3], strict=True)
        table = pyarrow.table({"text": list(texts), "label": list(labels)})
        parquet.write_table(table, here / "shards" / f"part-{number}.parquet")


def turned_round(here: Path) -> None:
    """The same files at the same paths, made in the other order: folders often list them as they were made."""
    files = {path.name: path.read_bytes() for path in sorted((here / "model").iterdir(), reverse=True)}
    shutil.rmtree(here / "model")
    shutil.rmtree(here / "shards")
    (here / "model").mkdir()
    for name, content in files.items():
        (here / "model" / name).write_bytes(content)
    write_shards(here, backwards=True)


def trained(
    here: Path, out: Path, methods: tuple[Any, ...], *, times: int = 1, umask: int = 0o022, **environment: str
) -> dict[str, dict[str, str]]:
    """What a process of its own, started in the folder `out`, leaves for each method."""
    out.mkdir()
    given = {
        key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "TUNEWISE_", "RAYON"))
    }
    given |= {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, "-c", CHILD, str(here), str(out), json.dumps(methods), str(times)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=given, cwd=out, umask=umask, errors="replace"
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


HERE = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "TZ": "UTC", "RAYON_NUM_THREADS": "1"}
ELSEWHERE = {
    "PYTHONHASHSEED": "1",
    "LC_ALL": "C",
    "TZ": "Asia/Kolkata",
    "RAYON_NUM_THREADS": "4",
    "TOKENIZERS_PARALLELISM": "true",
    "PYTHONIOENCODING": "latin-1",
}
OFF = {"TUNEWISE_CACHE_LIMIT": "0"}


def another_cache(cache: Path, folder: Path) -> str:
    """An empty cache of the same machine: what was measured of it decides how a run computes."""
    folder.mkdir()
    if (cache / "machine.json").is_file():
        shutil.copy(cache / "machine.json", folder)
    return str(folder)


def test_other_processes_hash_seeds_locales_folders_and_caches(desk: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    here = trained(desk, tmp_path / "a", METHODS, times=2, TUNEWISE_CACHE=str(cache), **HERE)
    turned_round(desk)
    empty = another_cache(cache, tmp_path / "empty")
    there = trained(desk, tmp_path / "b", METHODS[::-1], umask=0o077, TUNEWISE_CACHE=empty, **ELSEWHERE)
    for method in METHODS:
        name = method if isinstance(method, str) else next(iter(method))
        first, cached, other = here[f"{name}-0"], here[f"{name}-1"], there[f"{name}-0"]
        assert differences(first, cached) == [], f"{name}: the second run, which found the cache of the first"
        assert differences(first, other) == [], f"{name}: another process"
        assert {"log", "record: scores"} < first.keys() and any(part.startswith("model/") for part in first)
    assert here["full-0"] != here["head-0"], "else the evidence says nothing"


@pytest.mark.slow
@pytest.mark.parametrize("off", [{}, OFF], ids=["cache", "no cache"])
@pytest.mark.parametrize("seed", ["1", "2", "random"])
def test_every_kind_of_handover_under_any_hash_seed(seed: str, off: dict[str, str], desk: Path, tmp_path: Path) -> None:
    """Without the cache batches are padded otherwise, and round otherwise: it is off in both, or in neither."""
    cache = tmp_path / "cache"
    first = trained(desk, tmp_path / "a", (*METHODS, *MORE), TUNEWISE_CACHE=str(cache), **HERE, **off)
    empty = another_cache(cache, tmp_path / "empty")
    elsewhere = {**ELSEWHERE, **off, "PYTHONHASHSEED": seed, "TUNEWISE_CACHE": empty}
    other = trained(desk, tmp_path / "b", (*MORE[::-1], *METHODS), **elsewhere)
    assert {name: differences(first[name], other[name]) for name in first} == {name: [] for name in first}


@pytest.mark.slow
def test_rows_with_several_labels(desk: Path, tmp_path: Path) -> None:
    """Sets of names have another order in every process."""
    desk = Path(shutil.copytree(desk, tmp_path / "desk"))
    names = list(TELLING)
    lines = [
        f"{' '.join(TELLING[name][0] for name in chosen)} number {row},{'|'.join(chosen)}"
        for row in range(60)
        for chosen in [[names[row % 3], names[(row // 3) % 3]][: 1 + (row % 3 != (row // 3) % 3)]]
    ]
    (desk / "several.csv").write_text("text,labels\n" + "\n".join(lines) + "\n")
    recipe = json.loads((desk / "recipe.yaml").read_text())
    recipe["data"] = {"train": "several.csv", "text": "text", "label": "labels", "label_separator": "|"}
    (desk / "recipe.yaml").write_text(json.dumps(recipe))
    cache = str(tmp_path / "cache")
    found = [
        trained(desk, tmp_path / seed, ("head",), TUNEWISE_CACHE=cache, **{**HERE, "PYTHONHASHSEED": seed})["head-0"]
        for seed in ("0", "1", "2")
    ]
    assert [differences(found[0], other) for other in found[1:]] == [[], []]
