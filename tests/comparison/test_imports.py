"""What the fork server imports for all runs."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import transformers

from tunewise.comparison import PRELOAD_VARIABLE, preload
from tunewise.comparison.imports import CORE, all_packages, model_code, packages_of
from tunewise.models.located import LocatedModel
from tunewise.recipe import recipe_from


def located(family: str) -> LocatedModel:
    return LocatedModel(family, Path(family), {"model_type": family}, "0" * 64)


@pytest.mark.parametrize("family", ["bert", "distilbert", "xlm-roberta", "deberta-v2", "llama", "t5", "data2vec-text"])
def test_the_module_with_the_code_of_a_family(family: str) -> None:
    config = transformers.AutoConfig.for_model(family)
    model = transformers.AutoModelForSequenceClassification
    if type(config) in model._model_mapping:
        assert model_code(family) == (model._model_mapping[type(config)].__module__,)


def test_an_unknown_family_has_none() -> None:
    assert model_code("no-such-family") == () and model_code("*") != ("transformers.models.bert.modeling_bert",)


def test_no_transformers_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert model_code("bert") == ()


def test_each_run_names_its_own_and_the_server_imports_them_all() -> None:
    recipe = recipe_from({"models": ["a", "b"], "methods": ["head", "lora"], "data": {"train": "t.csv", "label": "y"}})
    models = {"a": located("bert"), "b": located("gpt2")}
    bert, gpt2 = "transformers.models.bert.modeling_bert", "transformers.models.gpt2.modeling_gpt2"
    assert packages_of("head", models["a"]) == (*CORE, bert)
    assert packages_of("lora", models["b"]) == (*CORE, "peft", gpt2)
    checked = SimpleNamespace(models=models, runs=lambda method, model: (method, model) != ("head", "b"))
    assert all_packages(recipe, checked) == (*CORE, bert, "peft", gpt2)
    assert all_packages(recipe, SimpleNamespace(models=models, runs=lambda method, model: method == "head")) == (
        *CORE,
        bert,
        gpt2,
    )


def test_the_list_is_made_without_importing_any_of_it() -> None:
    code = "import sys; from tunewise.comparison.imports import model_code; model_code('bert'); print(*sys.modules)"
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert not {"torch", "transformers"} & set(done.stdout.split())


def test_preloading_goes_on_where_a_module_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PRELOAD_VARIABLE, "json,no_such_module_anywhere,csv")
    try:
        importlib.reload(preload)
        assert list(preload.SECONDS) == ["json", "no_such_module_anywhere", "csv"]
        assert all(seconds >= 0 for seconds in preload.SECONDS.values())
    finally:
        monkeypatch.undo()
        importlib.reload(preload)


LOOK = """
import json, os, sys
def look(task, pipe):
    imported, threads = [name for name in task if name in sys.modules], os.listdir("/proc/self/task")
    pipe.send({"imported": imported, "threads": len(threads)})
"""

ASK = """
import json
from looking import look
from tunewise.comparison.imports import CORE, model_code
from tunewise.comparison.schedule import Pool
packages = (*CORE, *model_code("bert"))
print(json.dumps([packages, Pool(packages).ask(look, packages)]))
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted where Linux lists them")
def test_a_process_starts_with_everything_imported_and_one_thread(tmp_path: Path) -> None:
    """A thread of torch would not survive the fork: an operation before it would leave the run without."""
    (tmp_path / "looking.py").write_text(LOOK)
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True, env=environment)
    packages, found = json.loads(done.stdout)
    assert found == {"imported": packages, "threads": 1}
