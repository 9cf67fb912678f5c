"""What the design asks of every module, read from the source: order of imports, no cycles, light start, no danger."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import tunewise

PACKAGE = Path(tunewise.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# From the bottom: a room imports only what stands before it. Rooms on one line do not know of each other.
ORDER = [
    ("errors", "types"),
    ("commit",),
    ("config",),
    ("cleaning", "chat"),
    ("data", "models"),
    ("methods", "objectives", "evaluate"),
    ("engine",),
    ("audit", "tracking"),
    ("report",),
    ("recipe",),
    ("language_combinations", "image_combinations"),
    ("combinations",),
    ("check",),
    ("run",),
    ("comparison", "conformance"),
    ("estimation", "verification"),
    ("api", "cli"),
]
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}
# The command line calls the Python interface, which shows progress as the command line does.
ALLOWED_BESIDE = {("api", "cli"), ("cli", "api")}

HEAVY = {
    "torch",
    "transformers",
    "peft",
    "datasets",
    "diffusers",
    "pandas",
    "sklearn",
    "scipy",
    "matplotlib",
    "plotly",
    "accelerate",
    "tensorboard",
    "safetensors",
    "tokenizers",
    "huggingface_hub",
    "cleanlab",
    "presidio_analyzer",
    "sacrebleu",
    "spacy",
}
STARTS = ["tunewise", "tunewise.recipe", "tunewise.check", "tunewise.cli.main", "tunewise.api"]


def module_name(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file) for file in FILES}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from nodes(child)


def imports(tree: ast.AST) -> Iterator[str]:
    """Modules that are imported, at the top or inside functions."""
    for node in nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else str(node.module) for name in inner)


def own_imports(file: Path) -> set[str]:
    found = set(imports(ast.parse(file.read_text(encoding="utf-8"))))
    return {name for name in found if name.split(".")[0] == "tunewise"}


def test_every_room_has_a_place_in_the_order():
    assert {room_of(module) for module in MODULES} - {""} == set(RANK)


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_imports_point_one_way(file):
    here = room_of(module_name(file))
    if not here:
        return  # the package itself loads `tunewise.api` when it is first asked for
    for name in own_imports(file) - {"tunewise"}:
        there = room_of(name)
        assert there == here or RANK[there] < RANK[here] or (here, there) in ALLOWED_BESIDE, f"{here} imports {name}"


def test_there_is_no_import_cycle():
    graph = {module_name(file): own_imports(file) - {"tunewise", module_name(file)} for file in FILES}
    del graph["tunewise"]
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as problem:
        pytest.fail(" -> ".join(problem.args[1]))


def test_the_two_checks_above_can_fail():
    tree = ast.parse("if TYPE_CHECKING:\n import a\ndef f():\n from tunewise.engine import loop\n import b.c")
    assert set(imports(tree)) == {"tunewise.engine.loop", "b.c"}


# ---------------------------------------------------------------- a light start


def loaded_after(code: str) -> set[str]:
    """Top-level names in sys.modules after the code ran in a fresh interpreter."""
    path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    script = f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("module", STARTS)
def test_nothing_heavy_is_imported_before_it_is_needed(module):
    assert loaded_after(f"import {module}") & HEAVY == set()


def test_the_package_itself_imports_nothing():
    assert loaded_after("import tunewise") & {"numpy", "pydantic", "yaml"} == set()


def test_a_recipe_is_checked_without_anything_heavy(tiny_bert, tmp_path):
    rows = [f"{text} number {number},{label}" for number in range(20) for text, label in (("good", "x"), ("bad", "y"))]
    (tmp_path / "data.csv").write_text("\n".join(["text,label", *rows]))
    code = f"""
from pathlib import Path
from tunewise.check import check
from tunewise.recipe import recipe_from
recipe = recipe_from({{"model": {str(tiny_bert)!r}, "data": {{"train": "data.csv", "label": "label"}}}})
checked = check(recipe, Path({str(tmp_path)!r}), recipe.all_methods)
"""
    assert loaded_after(code) & HEAVY == set()


# ---------------------------------------------------------------- security

PICKLING = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle", "_pickle"}
# What starts programs, takes calls from other machines, or unpacks archives onto the disk.
DOORS = {"subprocess", "runpy", "http.server", "socketserver", "xmlrpc", "tarfile", "zipfile", "ftplib", "telnetlib"}
# (file, what): reviewed uses. A user's own metric function runs only with --allow-code; the benchmarks start
# themselves, with arguments of their own.
REVIEWED = {
    ("tunewise/evaluate/own_code.py", "exec_module"),
    ("tunewise/models/torchvision_operators.py", "exec_module"),  # Python's own loader of the installed package
    ("benchmarks/process.py", "subprocess"),
    ("benchmarks/launch.py", "__import__("),
}
ROOT = PACKAGE.parent
PROGRAMS = [
    *FILES,
    *(file for room in ("benchmarks", "examples", "docs") for file in sorted((ROOT / room).rglob("*.py"))),
]
LOADERS = {
    ("torch", "load"),
    ("jit", "load"),
    ("hub", "load"),
    ("yaml", "load"),
    ("yaml", "load_all"),
    ("yaml", "full_load"),
    ("yaml", "unsafe_load"),
    ("yaml", "Loader"),
    ("yaml", "FullLoader"),
    ("yaml", "UnsafeLoader"),
    ("os", "system"),
    ("os", "popen"),
    ("os", "execv"),
    ("os", "spawnv"),
    ("tempfile", "mktemp"),
    ("socket", "create_server"),
}


def dangers(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from _imported(node)
        elif isinstance(node, ast.Attribute):
            owner = getattr(node.value, "id", getattr(node.value, "attr", ""))
            if (owner, node.attr) in LOADERS:
                yield f"{owner}.{node.attr}"
            elif node.attr in ("extractall", "exec_module", "read_pickle", "set_start_method"):
                yield node.attr
        elif isinstance(node, ast.Call):
            yield from _called(node)
        elif isinstance(node, ast.keyword) and node.arg in ("shell", "trust_remote_code", "allow_pickle"):
            if not (isinstance(node.value, ast.Constant) and node.value.value is False):
                yield f"{node.arg}="
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "0.0.0.0" in node.value:
            yield "0.0.0.0"
        elif isinstance(node, ast.Assert):
            yield "assert"  # gone under python -O, so never a guard


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    origin = getattr(node, "module", None)
    for alias in node.names:
        full = f"{origin}.{alias.name}" if origin else alias.name
        if full.split(".")[0] in PICKLING:
            yield full
        yield from (door for door in DOORS if full == door or full.startswith(f"{door}."))
        if tuple(full.rsplit(".", 1)) in LOADERS:
            yield full


def _called(node: ast.Call) -> Iterator[str]:
    name = getattr(node.func, "id", "")
    if name in ("eval", "exec", "compile", "__import__"):
        yield f"{name}("
    if ast.unparse(node.func) in ("np.load", "numpy.load") and "allow_pickle" not in {k.arg for k in node.keywords}:
        yield "np.load without allow_pickle=False"


def place_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("file", PROGRAMS, ids=place_of)
def test_nothing_runs_code_from_data(file):
    found = {(place_of(file), what) for what in dangers(ast.parse(file.read_text(encoding="utf-8")))}
    if file not in FILES:
        found = {(place, what) for place, what in found if what != "assert"}  # a benchmark's own check, not a guard
    assert found <= REVIEWED


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(f)",
        "yaml.load(f)",
        "run(x, shell=True)",
        "eval(x)",
        "archive.extractall()",
        "f(trust_remote_code=True)",
        "f(trust_remote_code=flag)",
        "np.load(f, allow_pickle=True)",
        "exec(x)",
        "os.system(x)",
        "bind('0.0.0.0')",
        "assert safe",
        "spec.loader.exec_module(m)",
        "__import__(x)",
        "from torch import load",
        "torch.jit.load(f)",
        "yaml.load_all(f)",
        "from yaml import UnsafeLoader",
        "np.load(f)",
        "import subprocess",
        "from http.server import HTTPServer",
        "from http import server",
        "import tarfile",
        "pd.read_pickle(f)",
        "listen = '0.0.0.0:8000'",
    ],
)
def test_the_gate_sees_each_danger(code):
    assert list(dangers(ast.parse(code)))
    sound = "model.eval(); load_file(f); yaml.safe_load(f); f(trust_remote_code=False); np.load(f, allow_pickle=False)"
    assert not list(dangers(ast.parse(sound)))


def test_every_reviewed_exception_is_still_there():
    for place, what in REVIEWED:
        assert what in dangers(ast.parse((ROOT / place).read_text(encoding="utf-8")))


def test_versions_with_known_holes_are_not_accepted():
    import tomllib

    from packaging.requirements import Requirement

    given = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    wanted = {line.name: line.specifier for line in map(Requirement, given)}
    for name, hole in {"torch": "2.9.1", "transformers": "5.2.9", "pyarrow": "14.0.0", "pyyaml": "5.4.1"}.items():
        assert not wanted[name].contains(hole), name


# ---------------------------------------------------------------- form


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_a_file_is_small_named_by_what_it_does_and_says_so(file):
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 400
    assert file.stem not in ("utils", "util", "helpers", "helper", "misc", "common")
    assert ast.get_docstring(tree), "a module says in one sentence what it is"
    assert len(tree.body) == 1 or "from __future__ import annotations" in text


def test_test_files_have_names_of_their_own():
    names = [file.name for file in Path(__file__).parent.rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
