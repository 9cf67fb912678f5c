"""Nothing in the package or the benchmarks writes to disk but through the commit protocol: read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import tunewise

PACKAGE = Path(tunewise.__file__).parent
ROOT = PACKAGE.parent
FILES = [
    file
    for file in sorted([*PACKAGE.rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])
    if (PACKAGE / "commit") not in file.parents
]

STAGED = "puts files into a folder that commit_folder staged, and that it syncs, lists and renames"
SCRATCH = "a folder of the system's for temporary files: nothing in it outlives the process or is read by another"
# What writes outside of commit/, and why it may. (file, what): reason
REVIEWED = {
    ("tunewise/engine/checkpoint.py", "save_file"): STAGED,
    ("tunewise/engine/checkpoint.py", "write_text"): STAGED,
    ("tunewise/engine/handover.py", "save_file"): STAGED,
    ("tunewise/engine/handover.py", "save_pretrained"): STAGED,
    ("tunewise/engine/handover.py", "write_text"): STAGED,
    ("tunewise/engine/image_classifier.py", "save_pretrained"): STAGED,
    ("tunewise/engine/peft_folder.py", "save_file"): STAGED,
    ("tunewise/engine/peft_folder.py", "save_pretrained"): STAGED,
    ("tunewise/engine/peft_folder.py", "write_text"): STAGED,
    ("tunewise/engine/stored_states.py", "open"): STAGED,
    ("tunewise/engine/stored_states.py", "write_array"): STAGED,
    ("tunewise/engine/kept.py", "write_array_of"): STAGED,
    ("tunewise/engine/pixels.py", "write_array_of"): STAGED,
    ("tunewise/data/token_files.py", "write_array"): STAGED,
    ("tunewise/data/token_files.py", "write_text"): STAGED,
    ("tunewise/data/token_files.py", "save_pretrained"): SCRATCH,
    ("tunewise/data/token_files.py", "TemporaryDirectory"): SCRATCH,
    ("tunewise/data/write_splits.py", "write_bytes"): STAGED,
    ("tunewise/data/write_splits.py", "write_table"): "into memory",
    ("tunewise/tracking/predictions.py", "write_table"): STAGED,
    ("tunewise/conformance/checks.py", "write_text"): SCRATCH,
    ("tunewise/conformance/matrix.py", "TemporaryDirectory"): SCRATCH,
    ("tunewise/conformance/models.py", "save_pretrained"): SCRATCH,
    ("tunewise/conformance/language_models.py", "save_pretrained"): SCRATCH,
    ("tunewise/engine/merging.py", "save_pretrained"): STAGED,
    ("tunewise/engine/merging.py", "write_text"): STAGED,
    ("tunewise/models/diffusion.py", "save_pretrained"): STAGED,
    ("tunewise/cli/sampling.py", "write_text"): STAGED,
    ("tunewise/estimation/estimate.py", "mkdir"): SCRATCH,
    ("tunewise/verification/proving.py", "mkdir"): "a place for a trial, which is gone when the proof is",
    ("benchmarks/__main__.py", "TemporaryDirectory"): SCRATCH,
    ("benchmarks/__main__.py", "mkdir"): "the folder of the results, before hours of work",
    ("benchmarks/checks.py", "TemporaryDirectory"): SCRATCH,
    ("benchmarks/images/__main__.py", "TemporaryDirectory"): SCRATCH,
    ("benchmarks/images/__main__.py", "shutil.copytree"): SCRATCH,
    ("benchmarks/images/material.py", "mkdir"): SCRATCH,
    ("benchmarks/images/material.py", "save_pretrained"): SCRATCH,
    ("benchmarks/images/material.py", "shutil.copyfile"): SCRATCH,
    ("benchmarks/images/own.py", "TemporaryDirectory"): SCRATCH,
    ("benchmarks/images/own.py", "write_text"): SCRATCH,
    ("benchmarks/images/peers.py", "TemporaryDirectory"): SCRATCH,
    ("benchmarks/language_models/__main__.py", "TemporaryDirectory"): SCRATCH,
    ("benchmarks/language_models/material.py", "open"): SCRATCH,
    ("benchmarks/language_models/material.py", "save_pretrained"): SCRATCH,
    ("benchmarks/language_models/own.py", "TemporaryDirectory"): SCRATCH,
    ("benchmarks/language_models/own.py", "write_text"): SCRATCH,
    ("benchmarks/language_models/peers.py", "TemporaryDirectory"): SCRATCH,
    ("benchmarks/memory.py", "write_text"): "a switch of the system below /proc",
    ("benchmarks/own.py", "TemporaryDirectory"): SCRATCH,
    ("benchmarks/own.py", "write_text"): SCRATCH,
    ("benchmarks/peers/single_script.py", "TemporaryDirectory"): SCRATCH,
    ("benchmarks/rows.py", "open"): SCRATCH,
    ("benchmarks/stacked.py", "TemporaryDirectory"): SCRATCH,
    ("benchmarks/vocabulary.py", "save_pretrained"): SCRATCH,
}

ON_PATHS = {"write_text", "write_bytes", "touch", "mkdir", "unlink", "rmdir", "rename", "symlink_to", "hardlink_to"}
BY_LIBRARIES = {
    "save_file",
    "save_pretrained",
    "write_table",
    "to_csv",
    "to_parquet",
    "tofile",
    "write_array",
    "write_array_of",
}
OF_NUMPY = {"save", "savez", "savez_compressed", "savetxt"}
OF_OS = {
    *("open", "write", "rename", "renames", "replace", "unlink", "remove", "rmdir", "removedirs", "mkdir", "makedirs"),
    *("link", "symlink", "truncate", "ftruncate", "mkfifo", "mknod"),
}
OF_TEMPFILE = {"TemporaryDirectory", "NamedTemporaryFile", "TemporaryFile", "mkdtemp", "mkstemp"}
HARMLESS_OF_SHUTIL = {"disk_usage", "which", "get_terminal_size"}


def writes(tree: ast.AST) -> Iterator[str]:
    """Every call that may change the disk, by its name."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name, owner = _named(node.func)
        if name == "open" and owner != "os":
            if set(_mode(node, is_method=owner not in ("", "io", "codecs"))) & set("wax+"):
                yield "open"
        elif owner == "os" and name in OF_OS:
            yield f"os.{name}"
        elif owner == "shutil" and name not in HARMLESS_OF_SHUTIL:
            yield f"shutil.{name}"
        elif owner in ("np", "numpy") and name in OF_NUMPY:
            yield f"np.{name}"
        elif owner == "torch" and name == "save":
            yield "torch.save"
        elif (
            (owner and name in ON_PATHS)
            or name in BY_LIBRARIES
            or name in ("TemporaryDirectory", "NamedTemporaryFile", "mkdtemp", "mkstemp")
        ):
            yield name
        elif name == "memmap" and _keyword(node, "mode") not in ("r", "c"):
            yield "memmap"
        elif (owner, name) == ("json", "dump"):
            yield "json.dump"


def _named(function: ast.expr) -> tuple[str, str]:
    """(name, what stands before its dot, if anything)."""
    if isinstance(function, ast.Attribute):
        return function.attr, function.value.id if isinstance(function.value, ast.Name) else "?"
    return (function.id, "") if isinstance(function, ast.Name) else ("", "")


def _mode(call: ast.Call, is_method: bool) -> str:
    """The mode of an `open`, the worst where it cannot be told from the source; an `open` that is a method may be
    another one, whose argument is no text."""
    named = [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    (mode,) = (named or call.args[0 if is_method else 1 :] or [ast.Constant("r")])[:1]
    if isinstance(mode, ast.Constant) and isinstance(mode.value, str):
        return mode.value
    return "r" if is_method and not named else "w"


def _keyword(call: ast.Call, name: str) -> object:
    return next((k.value.value for k in call.keywords if k.arg == name and isinstance(k.value, ast.Constant)), None)


def found_in(file: Path) -> set[tuple[str, str]]:
    place = file.relative_to(ROOT).as_posix()
    return {(place, what) for what in writes(ast.parse(file.read_text(encoding="utf-8")))}


def test_whatever_writes_is_in_the_commit_room_or_reviewed() -> None:
    found = set().union(*map(found_in, FILES))
    assert found - REVIEWED.keys() == set(), "write through tunewise.commit, or have it reviewed"


def test_every_reviewed_writer_is_still_there() -> None:
    found = set().union(*map(found_in, FILES))
    assert REVIEWED.keys() - found == set()


@pytest.mark.parametrize(
    "code",
    [
        "open(p, 'w')",
        "open(p, mode='ab')",
        "open(p, mode)",
        "p.open('r+b')",
        "io.open(p, 'x')",
        "p.write_text(t)",
        "(folder / 'a').write_bytes(b)",
        "table.to_csv(p)",
        "save_file(t, p)",
        "np.save(p, a)",
        "a.tofile(p)",
        "np.memmap(p, mode='w+')",
        "os.replace(a, b)",
        "os.open(p, flags)",
        "shutil.rmtree(p)",
        "p.unlink()",
        "torch.save(x, p)",
        "json.dump(x, file)",
        "tempfile.mkdtemp()",
        "parquet.write_table(t, p)",
    ],
)
def test_the_gate_sees_each_way_to_write(code: str) -> None:
    assert list(writes(ast.parse(code)))


def test_the_gate_lets_reading_pass() -> None:
    reading = (
        "open(p); open(p, 'rb'); p.open('rb'); p.open(newline='', encoding='utf-8'); np.load(p); text.replace(a, b)"
    )
    assert not list(
        writes(ast.parse(reading + "; shutil.disk_usage(p); np.memmap(p, mode='c'); store.open(p, inputs)"))
    )
