"""Invented comparisons, with the real statistics on simulated predictions: what the report's tests are run on."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tunewise.comparison.disagreements import disagreements
from tunewise.comparison.recommend import choose, mean_scores, recommend
from tunewise.comparison.statistics import bootstrap, compare_pairs, summarise
from tunewise.evaluate.decide import decide
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.sample import confusion_matrix
from tunewise.evaluate.settings import EvaluateConfig
from tunewise.types import Predictions, Schema

INTENTS = (
    "account_access",
    "billing",
    "cancellation",
    "complaint",
    "delivery",
    "product_question",
    "refund",
    "technical_issue",
)
# method: (skill, luck of the seed, train seconds, trainable parameters, saved bytes, FLOPs)
METHODS = {
    "features": (1.75, 0.02, 2.1, 3_080, 40_000, 2.1e11),
    "head": (1.55, 0.03, 4.9, 150_920, 90_900_000, 6.3e11),
    "last_k(layers=2)": (2.2, 0.06, 11.2, 3_700_000, 90_900_000, 1.4e12),
    "full": (2.62, 0.1, 38.4, 22_700_000, 90_900_000, 3.9e12),
    "layerwise": (2.65, 0.08, 38.9, 22_700_000, 90_900_000, 3.9e12),
    "gradual": (2.5, 0.09, 29.6, 22_700_000, 90_900_000, 3.1e12),
    "lora": (2.6, 0.08, 27.5, 1_330_000, 3_400_000, 3.0e12),
    "adapter": (2.45, 0.1, 25.9, 900_000, 3_900_000, 2.9e12),
    "scratch": (0.55, 0.05, 38.2, 22_700_000, 90_900_000, 3.9e12),
}
KINDS = {"majority": "baseline", "mean": "baseline", "tfidf": "baseline", "scratch": "control"}
WORDS = (
    "my",
    "card",
    "was",
    "charged",
    "twice",
    "and",
    "the",
    "parcel",
    "still",
    "has",
    "not",
    "come",
    "please",
    "look",
)


def comparison(
    task: str = "classification",
    methods: tuple[str, ...] = tuple(METHODS),
    baselines: tuple[str, ...] = ("tfidf", "majority"),
    seeds: int = 3,
    labels: tuple[str, ...] = INTENTS,
    rows: int = 180,
    metric: str = "f1_macro",
    tests: tuple[str, ...] = ("test",),
    failed: tuple[tuple[str, int], ...] = (),
    interrupted: tuple[tuple[str, int], ...] = (),
) -> dict[str, Any]:
    """The content of a comparison.json; `failed` and `interrupted` name runs by method and seed."""
    schema = Schema(task, ("message",), "intent", labels if task != "regression" else ())
    evaluator = Evaluator(schema, EvaluateConfig(resamples=200), Path())
    rng = np.random.default_rng(7)
    splits = {
        name: _Split(task, schema, count, rng) for name, count in (("validation", rows), *((t, rows) for t in tests))
    }
    runs, predictions = [], {name: {} for name in splits}
    for method in (*methods, *baselines):
        kind = KINDS.get(method, "method")
        for seed in range(1 if kind == "baseline" else seeds):
            run = _run(method, seed, kind)
            runs.append(run)
            status = "failed" if (method, seed) in failed else "interrupted" if (method, seed) in interrupted else ""
            if status:
                run |= {"status": status, "scores": {}, "validation": {}, "costs": {}, "marginal": {}, "confusion": {}}
                run["error"] = {
                    "what": "the loss was NaN at step 12" if status == "failed" else "stopped by the user",
                    "where": "train.learning_rate: 0.05",
                    "fix": "lower the learning rate",
                }
                continue
            for name, split in splits.items():
                said = split.predict(*_skill(method), np.random.default_rng([seed, len(method), len(name)]))
                predictions[name].setdefault(method, []).append(said)
                scores = {key: asdict(each) for key, each in evaluator.score_with_intervals(said).items()}
                if name == "validation":
                    run["validation"] = scores
                else:
                    run["scores"][name] = scores
                    run["confusion"][name] = confusion_matrix(said).tolist() if task == "classification" else None
            run["confusion"] = {name: matrix for name, matrix in run["confusion"].items() if matrix}
            run["curve"] = _curve(method, seed, run["validation"][metric]["value"])
    boot = bootstrap(predictions[tests[0]], evaluator, metric)
    validation = mean_scores(predictions["validation"], evaluator, metric)
    costs = {name: _mean_costs(name, runs)["train_seconds"] for name in predictions[tests[0]]}
    pairs = compare_pairs(boot, choose(validation, boot.greater_is_better, KINDS, costs), KINDS)
    summaries = {summary.method: summary for summary in summarise(boot)}
    found = recommend(validation, boot, pairs, costs, KINDS)
    texts = [" ".join(rng.choice(WORDS, size=rng.integers(4, 28))) + "." for _ in range(rows)]
    whole = {
        "format": 1,
        "created": "2026-03-14T09:26:53+00:00",
        "recipe": {
            "model": "sentence-transformers/all-MiniLM-L6-v2",
            "data": {"train": "tickets.csv", "text": "message", "label": "intent"},
            "methods": [name.partition("(")[0] for name in methods],
            "train": {"epochs": 3, "batch_size": 16},
            "seeds": seeds,
        },
        "metric": metric,
        "greater_is_better": evaluator.greater_is_better(metric),
        "data": {
            "fingerprint": "9f2c41d07be3a8556c1e0d94b7fa2238" * 2,
            "rows": {"train": 612, **{name: rows for name in splits}},
            "schema": asdict(schema),
            "steps": [
                {"name": "read", "rows_in": 906, "rows_out": 906, "reason": "tickets.csv"},
                {"name": "empty", "rows_in": 906, "rows_out": 900, "reason": "no text in rows 14, 97, 203 and 3 more"},
            ],
        },
        "environment": {
            "python": "3.11.9",
            "cpu": "an 8-core processor",
            "cores": 8,
            "memory_bytes": 17_179_869_184,
            "gpus": [],
            "packages": {"torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.2"},
        },
        "runs": runs,
        "summary": [
            _summary(name, summaries.get(name), validation.get(name), runs, tests[0]) for name in (*methods, *baselines)
        ],
        "recommendation": asdict(found) if found else None,
        "pairs": [asdict(pair) for pair in pairs],
        "disagreements": [
            asdict(each) | {"text": texts[each.index]} for each in disagreements(predictions[tests[0]], schema, 12)
        ],
    }
    return json.loads(json.dumps(_without_nan(whole), allow_nan=False))


class _Split:
    """Targets, and for each row what makes it hard for every method."""

    def __init__(self, task: str, schema: Schema, rows: int, rng: np.random.Generator):
        self.schema, self.rows = schema, np.arange(1, rows + 1)
        outputs = len(schema.labels)
        if task == "regression":
            self.targets = rng.random(rows).astype(np.float32)
        elif task == "multilabel":
            self.targets = (rng.random((rows, outputs)) < 0.3).astype(np.float32)
        else:
            self.targets = rng.integers(outputs, size=rows)
        self.noise = rng.normal(size=(rows, max(outputs, 1)))

    def predict(self, skill: float, luck: float, rng: np.random.Generator) -> Predictions:
        skill = skill + rng.normal() * luck
        noise = 0.8 * self.noise + 0.45 * rng.normal(size=self.noise.shape)
        if self.schema.task == "regression":
            scores = self.targets + 0.35 / (0.6 + skill) * noise[:, 0] if skill else np.full(len(self.targets), 0.5)
            return Predictions(scores, scores, self.targets, self.rows)
        if self.schema.task == "multilabel":
            logits = 1.4 * skill * (self.targets - 0.5) + noise if skill else np.full(noise.shape, -1.0)
            scores = 1 / (1 + np.exp(-2 * logits))
        else:
            logits = (
                1.6 * noise + 1.65 * skill * np.eye(noise.shape[1])[self.targets]
                if skill
                else np.eye(noise.shape[1])[0]
            )
            weights = np.exp(logits + np.zeros(noise.shape))
            scores = weights / weights.sum(axis=1, keepdims=True)
        return Predictions(scores, decide(scores, self.schema), self.targets, self.rows)


def _skill(method: str) -> tuple[float, float]:
    return {"majority": (0.0, 0.0), "mean": (0.0, 0.0), "tfidf": (1.3, 0.0)}.get(method) or METHODS[method][:2]


def _run(method: str, seed: int, kind: str) -> dict[str, Any]:
    model = "sentence-transformers/all-MiniLM-L6-v2"
    own = METHODS.get(method)
    seconds = own[2] * (1 + 0.03 * seed) if own else {"tfidf": 0.9}.get(method, 0.0004)
    costs: dict[str, Any] = {
        "train_seconds": seconds,
        "total_seconds": seconds + (9.5 if own else 0.1),
        "predict_ms_per_example": 1.9 + 0.1 * seed if own else 0.05,
        "trainable_parameters": own[3] if own else 31_200,
        "total_parameters": 22_700_000 if own else 31_200,
    }
    if own:
        costs |= {
            "peak_memory_bytes": 620_000_000 + 24 * own[3],
            "forward_flops": own[5] / 3,
            "backward_flops": 2 * own[5] / 3,
            "saved_bytes": own[4],
        }
    return {
        "id": f"{method}-{seed}",
        "method": method,
        "model": model,
        "seed": seed,
        "status": "finished",
        "kind": kind,
        "scores": {},
        "validation": {},
        "costs": costs,
        "marginal": {**costs, "total_seconds": seconds + 1.2},
        "plan": [],
        "curve": [],
        "confusion": {},
        "folder": f"runs/{method}-{seed}",
        "error": None,
        "warnings": ["training and validation part: over-fitting"] if (method, seed) == ("full", 1) else [],
    }


def _curve(method: str, seed: int, end: float) -> list[dict[str, Any]]:
    if (method in KINDS and method != "scratch") or method == "features":
        return []
    points = []
    for step in range(1, 13):
        part = 1 - math.exp(-3.5 * step / 12)
        wave = 0.012 * math.sin(2.1 * step + seed)
        points.append(
            {
                "step": step * 10,
                "epoch": step / 4,
                "train_loss": 2.05 - 1.75 * part * abs(end) + wave,
                "validation_loss": 2.0 - 1.5 * part * abs(end) - wave,
                "metric": end * part / (1 - math.exp(-3.5)) + wave if step % 2 == 0 else None,
            }
        )
    return points


def _finished(name: str, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [run for run in runs if run["method"] == name and run["status"] == "finished"]


def _mean_costs(name: str, runs: list[dict[str, Any]]) -> dict[str, float]:
    finished = _finished(name, runs)
    keys = finished[0]["costs"] if finished else ()
    return {key: float(np.mean([run["costs"][key] for run in finished])) for key in keys}


def _summary(
    name: str, summary: Any, validation: float | None, runs: list[dict[str, Any]], test: str
) -> dict[str, Any]:
    finished = _finished(name, runs)
    scores = {}
    for metric in finished[0]["scores"][test] if finished else ():
        values = [run["scores"][test][metric]["value"] for run in finished]
        scores[metric] = {"mean": np.mean(values), "sd": np.std(values, ddof=1) if len(values) > 1 else None}
    return {
        "method": name,
        "model": "sentence-transformers/all-MiniLM-L6-v2",
        "kind": KINDS.get(name, "method"),
        "runs": sum(run["method"] == name for run in runs),
        "finished": len(finished),
        **{key: getattr(summary, key, None) for key in ("mean", "sd", "low", "high")},
        "validation_mean": validation,
        "costs": _mean_costs(name, runs),
        "scores": scores,
    }


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&</style>\x1b[31m\u202e{{7*7}} %{x} =cmd|'/c calc'!A1"
)


def hostile() -> dict[str, Any]:
    """A comparison in which every text that a user can write is meant to break out."""
    plain = comparison(methods=("full", "head"), seeds=2, labels=("a", HOSTILE, "c"), rows=60, tests=("test", HOSTILE))
    text = json.dumps(plain).replace('"full"', json.dumps(HOSTILE)).replace('"tfidf"', json.dumps(HOSTILE + "b"))
    whole = json.loads(text)
    whole["data"]["steps"][0]["reason"] = whole["environment"]["cpu"] = whole["recipe"]["data"]["train"] = HOSTILE
    whole["runs"][0] |= {"warnings": [HOSTILE], "folder": HOSTILE, "model": HOSTILE}
    whole["runs"].append(
        {
            **whole["runs"][0],
            "status": "failed",
            "scores": {},
            "confusion": {},
            "curve": [],
            "error": {"what": HOSTILE, "where": HOSTILE, "fix": HOSTILE},
        }
    )
    for row in whole["disagreements"]:
        row["text"] = HOSTILE
    return whole
