"""`tunewise evaluate`: a trained model on new labelled rows."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from tunewise.cli.predicting import trained_on
from tunewise.cli.printing import print_scores
from tunewise.comparison.results import plain
from tunewise.data.prepare import load_split
from tunewise.evaluate.evaluator import Evaluator
from tunewise.recipe import recipe_from
from tunewise.tracking.record import read_record
from tunewise.types import Predictions


def evaluate_file(run: Path, data: Path, allow_code: bool, as_json: bool) -> None:
    """Prints every metric of the task with its interval."""
    config, schema = trained_on(run)
    recipe = recipe_from(read_record(run).recipe)
    evaluator = Evaluator(schema, recipe.evaluate, Path.cwd(), allow_code)
    split = load_split(config, str(data.resolve()), data.resolve().parent, schema, data.name, with_targets=True)
    from tunewise.engine.text_model import load

    model = load(run)
    scores = model.scores(split.texts, recipe.evaluate.batch_size)
    found = evaluator.score_with_intervals(Predictions(scores, model.decisions(scores), split.targets, split.rows))
    if as_json:
        print(json.dumps({"rows": len(split), "scores": plain({name: asdict(score) for name, score in found.items()})}))
        return
    print(f"{data}: {len(split):,} rows")
    print_scores(plain({name: asdict(score) for name, score in found.items()}))
