"""What is wrong with a recipe is found before weights load and before anything heavy is imported."""

from __future__ import annotations

import importlib.util
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunewise import check as room
from tunewise.check import Checked, check, check_data, only_choice
from tunewise.data.fingerprint import fingerprint
from tunewise.errors import DataError, MethodError, ModelError, RecipeError
from tunewise.methods import DEFAULT
from tunewise.methods.full import Full
from tunewise.methods.support import SupportMatrix
from tunewise.recipe import Recipe, recipe_from

CLASSES = "message,label\n" + "".join(f"text {row} {'ab'[row % 2]},{'ab'[row % 2]}\n" for row in range(40))
NUMBERS = "message,label\n" + "".join(f"text {row},{row / 7}\n" for row in range(40))
ROWS = {table: {"train": f"{table}.csv", "label": "label"} for table in ("classes", "numbers")}
BALANCED = {"train": {"balanced_batches": True}}


@pytest.fixture
def recipe(tiny_model: Callable[..., Path], tmp_path: Path) -> Callable[..., Recipe]:
    (tmp_path / "classes.csv").write_text(CLASSES)
    (tmp_path / "numbers.csv").write_text(NUMBERS)

    def make(table: str = "classes", **changes: Any) -> Recipe:
        given = {"model": str(tiny_model("bert", 2)), "data": {"train": f"{table}.csv", "label": "label"}, **changes}
        return recipe_from(given)

    return make


def checked(recipe: Recipe, folder: Path) -> Checked:
    return check(recipe, folder, recipe.all_methods)


def test_what_is_found(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    found = checked(recipe(), tmp_path)
    assert (found.metric, found.data.schema.labels, len(found.models)) == ("f1_macro", ("a", "b"), 1)
    assert checked(recipe("numbers"), tmp_path).metric == "r2"
    assert checked(recipe(metric="roc_auc"), tmp_path).metric == "roc_auc"


def test_what_was_found_before_is_not_read_again(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    wanted = recipe()
    first = checked(wanted, tmp_path)
    (name,) = first.models
    assert first.found.seconds == first.found.data_seconds + first.found.model_seconds[name] > 0
    (tmp_path / "classes.csv").unlink()
    sent = pickle.loads(pickle.dumps(first.found.only(name)))  # as multiprocessing sends it to a process
    again = check(wanted, tmp_path, wanted.all_methods, found=sent)
    assert again.data.fingerprint == fingerprint(again.data.schema, again.data.splits) == first.data.fingerprint
    assert again.models == first.models and again.metric == first.metric and again.found is sent
    with pytest.raises(RecipeError, match="did you mean 'f1_macro'"):
        check(recipe(metric="f1_marco"), tmp_path, wanted.all_methods, found=sent)
    with pytest.raises(DataError):
        checked(wanted, tmp_path)


@pytest.mark.parametrize(("might_be_images", "with_tokeniser"), [(False, [True]), (True, [False, True])])
def test_checking_the_data_looks_for_a_tokeniser_later_only_where_rows_might_be_images(
    might_be_images: bool,
    with_tokeniser: list[bool],
    recipe: Callable[..., Recipe],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, real = [], room.locate
    monkeypatch.setattr(room, "locate", lambda *given, **how: asked.append(how["reads_text"]) or real(*given, **how))
    monkeypatch.setattr(room, "may_hold_pictures", lambda *_: might_be_images)
    check_data(recipe(), tmp_path)
    assert asked == with_tokeniser


def test_only_the_model_of_a_run(recipe: Callable[..., Recipe], tmp_path: Path, tiny_model) -> None:
    models = [str(tiny_model("bert", 2)), str(tiny_model("distilbert"))]
    found = checked(recipe(model=None, models=models), tmp_path).found
    assert list(found.models) == models
    only = found.only(models[1])
    assert list(only.models) == list(only.model_seconds) == [models[1]] and only.data is found.data
    assert only.seconds < found.seconds


@pytest.mark.parametrize("cut", ["tail", "both", "chunks"])
def test_entities_are_read_from_the_beginning(cut: str, recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    (tmp_path / "train.conll").write_text("".join(f"a{row} B-x\nb O\n\n" for row in range(40)))
    data = {"train": "train.conll"}
    with pytest.raises(RecipeError, match="entities are found from the beginning of a text") as told:
        checked(recipe(data=data, train={"cut": cut}), tmp_path)
    assert (told.value.where, told.value.fix) == ("train.cut", "leave it out")
    assert checked(recipe(data=data, train={"cut": "head"}), tmp_path).data.schema.task == "token_classification"
    assert checked(recipe(train={"cut": cut}), tmp_path).metric == "f1_macro"


@pytest.mark.parametrize(
    ("table", "changes", "kind", "told"),
    [
        ("numbers", {"objective": {"label_smoothing": 0.1}}, RecipeError, "label smoothing is for classification"),
        ("numbers", {"objective": {"class_weights": "balanced"}}, RecipeError, "class weights are for classes"),
        ("numbers", {"objective": {"focal_gamma": 2.0}}, RecipeError, "focal loss is for classes"),
        ("numbers", {"data": {**ROWS["numbers"], "balance": "over"}}, DataError, "balance is for classification"),
        (
            "classes",
            {"data": {**ROWS["classes"], "balance": "under"}, "objective": {"class_weights": "effective"}},
            RecipeError,
            "with data.balance every class has as many training rows, and effective class weights are all 1",
        ),
        ("numbers", BALANCED, RecipeError, "balanced batches are for classification; the task is regression"),
        (
            "classes",
            {"data": {**ROWS["classes"], "balance": "over"}, **BALANCED},
            RecipeError,
            "with data.balance every class has as many training rows already",
        ),
        (
            "classes",
            {"objective": {"class_weights": "balanced"}, **BALANCED},
            RecipeError,
            "balanced batches with balanced class weights correct twice",
        ),
        ("classes", {"objective": {"class_weights": {"aa": 2.0}}}, RecipeError, "there is no class 'aa'"),
        ("classes", {"metric": "f1_marco"}, RecipeError, "did you mean 'f1_macro'"),
        ("classes", {"metric": "r2"}, RecipeError, "the metric 'r2' is for regression"),
        ("classes", {"model": "nowhere/../x"}, ModelError, "there is no model folder"),
        ("classes", {"data": {"train": "classes.csv", "label": "lable"}}, DataError, "lable"),
        ("absent", {}, DataError, "absent.csv"),
    ],
)
def test_what_is_wrong(
    table: str, changes: dict[str, Any], kind: type[Exception], told: str, recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    with pytest.raises(kind, match=told):
        checked(recipe(table, **changes), tmp_path)


def test_what_can_be_combined(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    """Weights given as numbers go with balanced rows or batches, and focal loss with all."""
    given: dict[str, Any] = {"objective": {"class_weights": {"a": 2.0}, "focal_gamma": 2.0}}
    for changes in (BALANCED, {"data": {**ROWS["classes"], "balance": "over"}}):
        assert checked(recipe(**given, **changes), tmp_path).objective.weights.tolist() == [2.0, 1.0]
    both = {"class_weights": "effective", "effective_beta": 0.9, "focal_gamma": 2.0}
    assert checked(recipe(objective=both), tmp_path).objective.weights.tolist() == [1.0, 1.0]


def test_methods_that_cannot_be(recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Full, "tasks", ("regression",))
    with pytest.raises(MethodError, match="the method 'full' is for regression; the task is classification"):
        checked(recipe(method="full"), tmp_path)
    with pytest.raises(MethodError, match="the method 'visual_prompt' is for images; the data is texts") as caught:
        checked(recipe(method="visual_prompt"), tmp_path)
    assert caught.value.instead == "prompt_tuning"
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "peft" else real(name, *rest))
    with pytest.raises(MethodError, match="needs the package peft, which is not installed") as caught:
        checked(recipe(methods=["head", "lora"]), tmp_path)
    assert caught.value.fix == "pip install peft"


def test_a_pair_that_does_not_work_is_refused_before_weights_load(
    recipe: Callable[..., Recipe], tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    llama = str(tiny_model("llama"))
    with pytest.raises(
        MethodError, match=r"the method 'bitfit' does not work with a 'llama' model: .* no biases"
    ) as told:
        checked(recipe(model=llama, methods=["full", {"bitfit": {"learning_rate": 1e-3}}]), tmp_path)
    assert (told.value.instead, told.value.where) == ("norms", llama)
    assert told.value.fix == "take the method 'norms'"
    assert checked(recipe(model=llama, methods=["full", "norms"]), tmp_path).left_out == ()
    assert checked(recipe(method="bitfit"), tmp_path).left_out == ()  # BERT has biases


def test_other_options_may_suit_a_model_that_the_usual_ones_do_not(
    recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = {"method": "lora", "model": "bert", "status": "refused", "reason": "it cannot", "instead": "full"}
    matrix = SupportMatrix({"pairs": [pair], "made_with": {}})
    monkeypatch.setattr("tunewise.check.support_matrix", lambda: matrix)
    for options in ({}, {"learning_rate": 1e-3}, {"rate_scale": 2.0}):
        with pytest.raises(MethodError, match="the method 'lora' does not work with a 'bert' model: it cannot"):
            checked(recipe(method={"lora": options}), tmp_path)
    assert checked(recipe(method={"lora": {"targets": "attention"}}), tmp_path).left_out == ()


def test_methods_that_the_recipe_does_not_name_are_left_out_where_they_cannot_work(
    recipe: Callable[..., Recipe], tiny_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    llama, bert = str(tiny_model("llama")), str(tiny_model("bert", 2))
    found = checked(recipe(model=None, models=[llama, bert], methods="all"), tmp_path)
    reasons = {(entry.method, entry.model): entry.reason for entry in found.left_out}
    assert reasons["visual_prompt", bert] == "the method 'visual_prompt' is for images; the data is texts"
    assert "does not work with a 'llama' model" in reasons["bitfit", llama]
    assert found.runs("bitfit", bert) and not found.runs("bitfit", llama)
    assert all(found.runs(name, model) for name in DEFAULT for model in (llama, bert))
    assert checked(recipe(), tmp_path).left_out == ()
    monkeypatch.setattr(Full, "tasks", ("regression",))
    (left_out,) = checked(recipe(), tmp_path).left_out
    assert (left_out.method, left_out.model) == ("full", bert) and "is for regression" in left_out.reason


def test_only_choice(recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(RecipeError, match="train takes one method; the recipe names 9: features, head") as caught:
        only_choice(recipe())
    assert "--method" in caught.value.fix
    with pytest.raises(RecipeError, match="train takes one model; the recipe names 2: a, b"):
        only_choice(recipe(model=None, models=["a", "b"], method="full"))
    single = only_choice(recipe(methods=["lora"], models=[]))
    assert (single.method.name, single.methods, single.all_seeds) == ("lora", [], [0])


def test_nothing_heavy_is_imported(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from tunewise.check import check; from tunewise.recipe import recipe_from\n"
        f"recipe = recipe_from({recipe().as_dict()!r})\n"
        f"check(recipe, Path({str(tmp_path)!r}), recipe.all_methods)\n"
        "heavy = {'torch', 'transformers', 'peft', 'datasets', 'pandas', 'sklearn', 'matplotlib', 'plotly'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
