"""`tunewise cache`: what is kept, in a table and as JSON, and how to be rid of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tunewise.cli.main import app
from tunewise.commit import default_cache

ABOUT = {
    "kind": "prefix",
    "what": "tokens",
    "model": "a/model",
    "data": "rows.csv",
    "depth": 4,
    "blocks": 6,
    "precision": "bf16",
    "rows": 2000,
    "kept_rows": 1800,
}


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNEWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TUNEWISE_CACHE_LIMIT", "2MB")
    return tmp_path / "cache"


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["cache", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def fill() -> None:
    for number, about in enumerate((ABOUT, {"kind": "features", "model": "[b]odd\x1b[0m", "rows": 7})):
        default_cache().put(f"{number:064x}", lambda folder: (folder / "x").write_bytes(b"x" * 1500) and None, about)


def test_an_empty_cache(fresh_cache: Path) -> None:
    assert run().strip() == f"cache: {fresh_cache}, 0 B of 2.0 MB used, 0 entries"


def test_what_is_kept_is_listed() -> None:
    fill()
    shown = run()
    assert "3.0 kB of 2.0 MB used, 2 entries" in shown
    (line,) = [line for line in shown.splitlines() if "prefix" in line]
    for part in ("4 of 6 blocks, tokens, bf16", "a/model", "rows.csv", "1,800 of 2,000", "1.5 kB"):
        assert part in line
    assert "[b]odd" in shown and "\x1b[0m" not in shown


def test_the_same_as_json(fresh_cache: Path) -> None:
    fill()
    told = json.loads(run("--json"))
    assert (told["root"], told["limit"], told["used"]) == (str(fresh_cache), 2_000_000, 3000)
    assert {entry["key"] for entry in told["entries"]} == {f"{number:064x}" for number in range(2)}
    assert [entry["about"] for entry in told["entries"] if entry["bytes"] == 1500][-1]["kind"] in ("prefix", "features")


def test_clear(fresh_cache: Path) -> None:
    fill()
    assert run("clear").strip() == f"removed 2 entries, 3.0 kB, from {fresh_cache}"
    assert json.loads(run("clear", "--json")) == {"root": str(fresh_cache), "removed": 0, "bytes": 0}
    assert default_cache().entries() == []


def test_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEWISE_CACHE_LIMIT", "0")
    assert "switched off by TUNEWISE_CACHE_LIMIT" in run()


@pytest.mark.parametrize(("arguments", "told"), [(["wipe"], "'wipe'"), ([], "is not a size")])
def test_wrong_input(arguments: list[str], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEWISE_CACHE_LIMIT", "much")
    result = CliRunner().invoke(app, ["cache", *arguments])
    assert result.exit_code == 2 and told in result.output
