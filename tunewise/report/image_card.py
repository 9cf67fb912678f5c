"""What a model card says of a model for images: its task in words, and the code that loads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TAG = "image-classification"

_TASKS = {
    "classification": "classifies images",
    "multilabel": "gives images any number of labels",
    "regression": "gives images a number",
}

_TUNEWISE = """\
```python
from tunewise import load

model = load({folder})
print(model.predict(["a-photograph.jpg"]))
```"""

_PIPELINE = """\
```python
from transformers import pipeline

classifier = pipeline("image-classification", {folder}{options})
print(classifier("a-photograph.jpg"))
```"""

_PEFT = """\
```python
import torch
from peft import PeftModel
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

folder = {folder}
labels = [{labels}]
base = AutoModelForImageClassification.from_pretrained(
    {base},
    id2label=dict(enumerate(labels)),
    label2id={{label: number for number, label in enumerate(labels)}},
    ignore_mismatched_sizes=True,
    dtype=torch.float32,
)
model = PeftModel.from_pretrained(base, folder).eval()
processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
classifier = pipeline("image-classification", model, image_processor=processor{options})
print(classifier("a-photograph.jpg"))
```"""

_OPTIONS = {
    "classification": "",
    "multilabel": ', function_to_apply="sigmoid"',
    "regression": ', function_to_apply="none"',
}


def is_for_images(record: Mapping[str, Any]) -> bool:
    """Whether the rows of a record are images."""
    return bool(record["data"]["schema"].get("image"))


def image_task_in_words(schema: Mapping[str, Any], label: str) -> str:
    """What the model does, to stand behind "This model"."""
    return f"{_TASKS[schema['task']]}: {label}"


def image_code(record: Mapping[str, Any], quoted: Any) -> str:
    """The code for the record's kind of folder; tunewise's own after that of the libraries.

    Args:
        quoted: makes a Python literal of a string.
    """
    schema, kind, folder = record["data"]["schema"], record["handover"]["kind"], quoted("path/to/this/folder")
    own = _TUNEWISE.format(folder=folder)
    if kind == "tunewise" or any(
        "build" in insert for plan in record.get("plans", [])[:1] for insert in plan["inserts"]
    ):
        return f"This kind of model is loaded by tunewise, which finds the base model again:\n\n{own}"
    options, labels = _OPTIONS[schema["task"]], ", ".join(quoted(label) for label in schema.get("labels") or ["score"])
    code = (_PEFT if kind == "peft" else _PIPELINE).format(
        folder=folder, base=quoted(record["model"]["name"]), labels=labels, options=options
    )
    return (
        f"{code}\n\nOr with tunewise, which puts white behind transparent parts of an image (the pipeline takes the "
        f"colour that is stored there), with the decision threshold that was chosen:\n\n{own}"
    )
