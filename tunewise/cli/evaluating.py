"""`tunewise evaluate`: a trained model on new labelled rows."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tunewise.cli.predicting import trained_on
from tunewise.cli.printing import print_scores
from tunewise.comparison.results import plain
from tunewise.data.prepare import load_split
from tunewise.evaluate.evaluator import Evaluator
from tunewise.recipe import recipe_from
from tunewise.tracking.record import read_record
from tunewise.types import DataBundle, Predictions, Split

if TYPE_CHECKING:
    from tunewise.engine.language_model import LanguageModel
    from tunewise.recipe import Recipe


def _of_language_model(model: LanguageModel, split: Split, recipe: Recipe) -> Predictions:
    """What the objective that the model was trained by makes of each row."""
    from tunewise.evaluate.scores import to_scores
    from tunewise.objectives import make_objective

    objective = make_objective(recipe.objective, DataBundle({split.name: split}, model.schema, (), ""))
    numbers_NK = model.outputs(split, objective, recipe.evaluate.batch_size)
    scores = to_scores(model.task, objective.unscale(numbers_NK))
    return Predictions(scores, scores, split.targets, split.rows)


def evaluate_file(run: Path, data: Path, allow_code: bool, as_json: bool) -> None:
    """Prints every metric of the task with its interval."""
    config, schema = trained_on(run)
    recipe = recipe_from(read_record(run).recipe)
    evaluator = Evaluator(schema, recipe.evaluate, Path.cwd(), allow_code)
    split = load_split(config, str(data.resolve()), data.resolve().parent, schema, data.name, with_targets=True)
    from tunewise.engine.text_model import load

    model = load(run)
    if hasattr(model, "generate"):
        predictions = _of_language_model(model, split, recipe)
    else:
        scores = model.scores(split.texts, recipe.evaluate.batch_size)
        predictions = Predictions(scores, model.decisions(scores), split.targets, split.rows)
    found = evaluator.score_with_intervals(predictions)
    if as_json:
        print(json.dumps({"rows": len(split), "scores": plain({name: asdict(score) for name, score in found.items()})}))
        return
    print(f"{data}: {len(split):,} rows")
    print_scores(plain({name: asdict(score) for name, score in found.items()}))
