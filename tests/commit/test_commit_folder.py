from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from tunewise.commit import commit_folder, read_manifest, sealed, sweep, verify
from tunewise.errors import CorruptError, StoreError


def two_files(folder: Path) -> None:
    (folder / "weights.bin").write_bytes(bytes(range(64)))
    (folder / "sub").mkdir()
    (folder / "sub" / "vocabulary.txt").write_text("a b c")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    commit_folder(tmp_path / "model", two_files, {"step": 7})
    return tmp_path / "model"


def test_manifest_lists_every_file(saved: Path) -> None:
    manifest = verify(saved)
    assert manifest == read_manifest(saved)
    assert manifest["about"] == {"step": 7}
    assert manifest["files"] == {
        "sub/vocabulary.txt": {"sha256": hashlib.sha256(b"a b c").hexdigest(), "size": 5},
        "weights.bin": {"sha256": hashlib.sha256(bytes(range(64))).hexdigest(), "size": 64},
    }


def test_what_people_may_edit_is_not_compared(saved: Path) -> None:
    vocabulary = "sub/vocabulary.txt"
    for change in (lambda path: path.write_text("my own words"), Path.unlink):
        change(saved / vocabulary)
        assert verify(saved, editable=(vocabulary, "notes.txt"))["about"] == {"step": 7}
        with pytest.raises(CorruptError, match=vocabulary):
            verify(saved)
    (saved / "notes.txt").write_text("added")
    verify(saved, editable=(vocabulary, "notes.txt"))
    (saved / "weights.bin").write_bytes(bytes(64))
    with pytest.raises(CorruptError, match=r"weights\.bin"):
        verify(saved, editable=(vocabulary, "notes.txt"))


def test_a_folder_that_is_there_is_not_written_over(saved: Path) -> None:
    with pytest.raises(StoreError, match="model is already there"):
        commit_folder(saved, two_files, {})
    assert verify(saved)["about"] == {"step": 7}


def test_replace(saved: Path) -> None:
    commit_folder(saved, lambda to: (to / "one.txt").write_text("1"), {"step": 8}, replace=True)
    assert list(verify(saved)["files"]) == ["one.txt"]
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_new_version_that_does_not_verify_gives_way_to_the_old(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        real(source, target)
        if Path(target) == saved and ".tmp-" in str(source):
            (saved / "weights.bin").write_bytes(b"torn")

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(CorruptError, match=r"weights\.bin"):
        commit_folder(saved, two_files, {"step": 8}, replace=True)
    monkeypatch.undo()
    assert verify(saved)["about"] == {"step": 7}
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_every_flipped_bit_is_found_and_the_file_named(saved: Path) -> None:
    good = verify(saved)
    for name in ("weights.bin", "sub/vocabulary.txt", "manifest.json"):
        raw = (saved / name).read_bytes()
        for place in range(0, len(raw), 3):
            (saved / name).write_bytes(raw[:place] + bytes([raw[place] ^ 1 << place % 8]) + raw[place + 1 :])
            with pytest.raises(CorruptError, match=Path(name).name.replace(".", r"\.")):
                verify(saved)
        for length in (0, len(raw) // 2, len(raw) - 2):
            (saved / name).write_bytes(raw[:length])
            with pytest.raises(CorruptError, match=Path(name).name.replace(".", r"\.")):
                verify(saved)
        (saved / name).write_bytes(raw)
    assert verify(saved) == good


def test_missing_and_extra_files_are_named(saved: Path) -> None:
    (saved / "notes.txt").write_text("hello")
    with pytest.raises(CorruptError, match=r"not saved with the rest: notes\.txt"):
        verify(saved)
    (saved / "notes.txt").unlink()
    (saved / "sub" / "vocabulary.txt").unlink()
    with pytest.raises(CorruptError, match=r"a file is missing: sub/vocabulary\.txt"):
        verify(saved)
    (saved / "manifest.json").unlink()
    with pytest.raises(CorruptError, match=r"no manifest\.json"):
        verify(saved)


@pytest.mark.parametrize("name", ["../other.txt", "/etc/passwd", "sub/../../x", "", "C:\\x", "\\\\host\\x"])
def test_names_outside_the_folder_are_refused(saved: Path, name: str) -> None:
    manifest = {"format": 1, "about": {}, "files": {name: {"sha256": "0" * 64, "size": 1}}}
    (saved / "manifest.json").write_text(sealed(manifest))
    with pytest.raises(CorruptError, match="outside its folder"):
        verify(saved)


def test_links_and_devices_are_refused(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(bytes(range(64)))
    (saved / "weights.bin").unlink()
    (saved / "weights.bin").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorruptError, match="a link or a device"):
        verify(saved)
    (saved / "weights.bin").unlink()
    os.mkfifo(saved / "weights.bin")
    with pytest.raises(CorruptError, match="a link or a device"):
        verify(saved)
    with pytest.raises(CorruptError, match="a link or a device"):
        commit_folder(tmp_path / "b", lambda to: (to / "a").symlink_to(saved / "manifest.json"), {})
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("manifest", [{}, {"format": "1", "files": {}}, {"format": 1, "files": []}])
def test_manifest_of_another_kind(saved: Path, manifest: dict) -> None:
    (saved / "manifest.json").write_text(sealed(manifest))
    with pytest.raises(CorruptError, match="does not say what files there are"):
        verify(saved)


def test_newer_format_is_refused(saved: Path) -> None:
    manifest = json.loads((saved / "manifest.json").read_text())
    del manifest["sha256"]
    (saved / "manifest.json").write_text(sealed({**manifest, "format": 2}))
    with pytest.raises(StoreError, match="format 2, and this tunewise reads up to 1") as caught:
        verify(saved)
    assert not isinstance(caught.value, CorruptError)


def test_the_manifest_name_is_taken(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be one of the files"):
        commit_folder(tmp_path / "m", lambda to: (to / "manifest.json").write_text("{}"), {})


def test_sweep_leaves_what_is_not_its_own(saved: Path) -> None:
    parent = saved.parent
    (parent / ".tmp-mine").mkdir()
    (parent / ".tmp-0123456789abcdef0123456789abcdef").write_text("half")
    (parent / ".old-0123456789abcdef0123456789abcdef-model").mkdir()
    done = sweep(parent)
    assert sorted(path.name for path in parent.iterdir()) == [".tmp-mine", "model"]
    assert len(done) == 2 and "removed .tmp-" in done[1] and "removed .old-" in done[0]
    assert sweep(parent) == []


def test_sweep_puts_the_old_version_back(saved: Path) -> None:
    aside = saved.with_name(".old-0123456789abcdef0123456789abcdef-model")
    saved.rename(aside)
    assert "put model back" in sweep(saved.parent)[0]
    assert verify(saved)["about"] == {"step": 7}


def test_sweep_deletes_no_version_while_the_other_is_bad(saved: Path) -> None:
    aside = saved.with_name(".old-0123456789abcdef0123456789abcdef-model")
    saved.rename(aside)
    saved.mkdir()
    assert "kept the earlier model" in sweep(saved.parent)[0]
    assert verify(aside)["about"] == {"step": 7}
