"""The model card: README.md of a model folder, in the form that the hub reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunewise.report.card_code import loading_code
from tunewise.report.cost_columns import share
from tunewise.report.drawing_card import TAG as DRAWING
from tunewise.report.drawing_card import drawing_in_words, draws_images
from tunewise.report.entries import last_part
from tunewise.report.figures import (
    count,
    flops,
    interval,
    is_number,
    metric_name,
    milliseconds,
    plain,
    score,
    seconds,
    size,
)
from tunewise.report.image_card import TAG, image_task_in_words, is_for_images
from tunewise.report.language_card import pipeline_tag, task_in_words
from tunewise.report.metric_words import default_metric
from tunewise.report.soups import card_line
from tunewise.types import LANGUAGE_TASKS

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_MARKDOWN = re.compile(r"([\\`*_\[\]#|~$<>&])")
_LABELS_SHOWN = 100
_TASKS = {
    "classification": "classifies texts",
    "multilabel": "gives texts any number of labels",
    "regression": "gives texts a number",
    "token_classification": "finds entities in texts: it gives each word a tag",
}


def model_card(record: Mapping[str, Any]) -> str:
    """The card of a finished run.

    Args:
        record: what `RunRecord.as_dict()` gives; `handover.kind` decides how the model is loaded.
    """
    parts = [
        f"---\n{_front_matter(record)}---",
        f"# {text(last_part(record['model']['name']))}, tuned with {text(record['method'])}",
        _what(record),
        f"## How to load\n\n{loading_code(record)}",
        f"## Scores\n\n{_scores(record)}",
        f"## What it cost\n\n{_costs(record)}",
        f"## Data\n\n{_data(record['data'])}",
        f"## Training\n\n{_training(record)}",
        f"## Limits\n\n{_limits(record)}",
    ]
    return "\n\n".join(parts) + "\n"


def text(value: Any, limit: int = 200) -> str:
    """A user's text as Markdown that shows it as it is: one line, without emphasis, links, HTML or table cells."""
    return _MARKDOWN.sub(r"\\\1", plain(value, limit))


def _front_matter(record: Mapping[str, Any]) -> str:
    import yaml

    kind, kind_of_task = record["handover"]["kind"], record["data"]["schema"]["task"]
    labels = "token-classification" if kind_of_task == "token_classification" else "text-classification"
    reads = TAG if is_for_images(record) else labels
    task = pipeline_tag(record) or (DRAWING if draws_images(record) else reads)
    tests = list(record["scores"])
    metrics = [
        {"type": plain(name), "name": metric_name(name), "value": round(value["value"], 6)}
        for name, value in (record["scores"][tests[0]] if tests else {}).items()
        if is_number(value["value"])
    ]
    dataset = {"name": last_part(str((record["recipe"].get("data") or {}).get("train"))), "type": "custom"}
    result = {
        "task": {"type": task},
        "dataset": {**dataset, "split": plain(tests[0])} if tests else dataset,
        "metrics": metrics,
    }
    name = f"{last_part(record['model']['name'])}-{plain(record['method'], 80)}"
    matter = {
        "library_name": kind,
        "pipeline_tag": task,
        "tags": list(dict.fromkeys(("tunewise", task, plain(kind_of_task)))),
        "model-index": [{"name": name, "results": [result]}],
    }
    if _HUB_ID.fullmatch(record["model"]["name"]):
        matter = {"base_model": record["model"]["name"], **matter}
    return yaml.safe_dump(matter, sort_keys=False, allow_unicode=False)


def _what(record: Mapping[str, Any]) -> str:
    from tunewise.methods import METHODS

    schema = record["data"]["schema"]
    method = METHODS.get(record["method"].partition("(")[0])
    columns = " and ".join(text(column) for column in schema["text"])
    if schema["task"] in LANGUAGE_TASKS:
        does = task_in_words(schema, columns, writes=pipeline_tag(record) is not None)
    elif draws_images(record):
        does = drawing_in_words(schema)
    elif is_for_images(record):
        does = image_task_in_words(schema, text(schema["label"]))
    else:
        does = f"{_TASKS[schema['task']]}: from {columns} to {text(schema['label'])}"
    lines = [
        f"This model {does}. Base model: "
        f"{text(record['model']['name'])}. Method: {text(record['method'])}"
        + (f" ({text(method.trains)}; {text(method.source)})." if method else "."),
    ]
    if soup := record.get("soup"):
        lines.append(text(card_line(soup), 2000))
    if labels := schema.get("labels"):
        names = ", ".join(text(label, 80) for label in labels[:_LABELS_SHOWN])
        more = f", and {len(labels) - _LABELS_SHOWN} more" if len(labels) > _LABELS_SHOWN else ""
        lines.append(f"The {len(labels)} labels, in the order of the outputs: {names}{more}.")
    return "\n\n".join(lines)


def _scores(record: Mapping[str, Any]) -> str:
    """Every metric on every test set, the primary first."""
    scores = record["scores"]
    primary = record["recipe"].get("metric") or default_metric(record["data"]["schema"]["task"])
    names = list(dict.fromkeys(name for values in scores.values() for name in values))
    names.sort(key=lambda name: name != primary)
    heads = [text(split) for split in scores]
    lines = [f"| metric | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    for name in names:
        cells = [_cell(values.get(name)) for values in scores.values()]
        shown = f"**{text(metric_name(name))}**" if name == primary else text(metric_name(name))
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    counted = ", ".join(f"{text(split)}: {record['data']['rows'].get(split, 0):,} rows" for split in scores)
    confidence = (record["recipe"].get("evaluate") or {}).get("confidence", 0.95)
    note = f"In brackets: {confidence:.0%} bootstrap intervals over the test rows ({counted})."
    return "\n".join(lines) + f"\n\n{note} What had to be chosen was chosen on validation."


def _cell(value: Mapping[str, Any] | None) -> str:
    if value is None or not is_number(value["value"]):
        return "–"
    ends = interval(value["low"], value["high"])
    return score(value["value"]) if ends == "–" else f"{score(value['value'])} ({ends})"


def _costs(record: Mapping[str, Any]) -> str:
    costs = record["costs"]
    trainable, total = costs["trainable_parameters"], costs["total_parameters"]
    work = [costs["forward_flops"], costs["backward_flops"]]
    rows = [
        ("training", seconds(costs["train_seconds"])),
        ("in all", seconds(costs["total_seconds"])),
        ("peak memory", size(costs["peak_memory_bytes"])),
        ("training FLOPs", flops(sum(work)) if all(is_number(part) for part in work) else "–"),
        ("trained parameters", f"{count(trainable)} of {count(total)} ({share(trainable / total)})" if total else "–"),
        ("saved files", size(costs["saved_bytes"])),
        ("prediction", f"{milliseconds(costs['predict_ms_per_example'])} per example, in batches"),
    ]
    table = "\n".join(["| cost | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
    if (stacked := record.get("stacked", 0)) < 2:
        return table
    shared = f"{stacked} runs trained in one pass over the base: times are this one's share, memory is that of all."
    return f"{table}\n\n{shared}"


def _data(data: Mapping[str, Any]) -> str:
    rows = ", ".join(f"{text(split)} {number:,}" for split, number in data["rows"].items())
    what = "images" if data["schema"].get("image") else "texts"
    lines = [
        f"Rows: {rows}. Fingerprint of {what}, labels and split: `{re.sub('[^0-9a-f]', '', data['fingerprint'])}`."
    ]
    for step in data["steps"]:
        counts = f"{step['rows_in']:,} rows in, {step['rows_out']:,} out"
        lines.append(f"- {text(step['name'])}: {counts}; {text(step['reason'], 400)}")
    return "\n\n".join([lines[0], "\n".join(lines[1:])]).strip()


def _training(record: Mapping[str, Any]) -> str:
    import yaml

    versions = (record["environment"] or {}).get("packages") or {}
    used = ", ".join(f"{text(name)} {text(version)}" for name, version in versions.items() if version)
    recipe = yaml.safe_dump(_without_folders(record["recipe"]), sort_keys=False, allow_unicode=False)
    # No line of the recipe may close the block: a fence longer than any run of backticks in it.
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", recipe)), default=0))
    return f"Seed {record['seed']}. {used and f'Made with {used}.'}\n\n{fence}yaml\n{recipe}{fence}"


def _without_folders(value: Any) -> Any:
    """The recipe as it may be published: of a path on this machine, its last part."""
    if isinstance(value, Mapping):
        return {str(key): _without_folders(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_folders(inner) for inner in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _limits(record: Mapping[str, Any]) -> str:
    rows, others, made = "texts", "another source, language or time", "one run made this model"
    if record.get("soup"):
        made = "these runs made this model"
    if is_for_images(record):
        rows, others = "images", "another camera, place or time"
    lines = [
        f"The scores hold for {rows} like the test rows; on others ({others}) measure first.",
        f"The intervals show the luck of the test rows, not that of the seed: {made}.",
        "It was not examined for fairness or for what it may reveal of its training rows.",
        "The licences of the base model and of the data apply.",
    ]
    if record["data"]["schema"]["task"] in ("classification", "multilabel"):
        lines.insert(2, "Probabilities may be over- or underconfident: see the calibration error above.")
    if draws_images(record):
        lines[0] = "The scores hold for images like the test rows; what it draws may repeat its training images."
    if pipeline_tag(record):
        lines.insert(2, "What it writes may be wrong, and may repeat its training rows word for word.")
    lines += [text(warning, 400) for warning in record["warnings"]]
    return "\n".join(f"- {line}" for line in lines)
