"""The code in a model card that loads the model and predicts with it, for each kind of folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunewise.config.reading import Chunks
from tunewise.report.drawing_card import drawing_code, draws_images
from tunewise.report.image_card import image_code, is_for_images
from tunewise.report.language_card import pipeline_tag, writing_code
from tunewise.report.reward_card import judging_code

_TUNEWISE = """\
```python
from tunewise import load

model = load({folder})
print(model.predict([{example}]))
```"""

_TRANSFORMERS = """\
```python
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = {folder}
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder)
model.eval()
{logits}
{result}
```"""

_PEFT = """\
```python
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = {folder}
tokenizer = AutoTokenizer.from_pretrained(folder)
base = AutoModelForSequenceClassification.from_pretrained(
    {base},
    num_labels={outputs},
    pad_token_id=tokenizer.pad_token_id,
    ignore_mismatched_sizes=True,
    dtype=torch.float32,
)
model = PeftModel.from_pretrained(base, folder)
model.eval()
{logits}
{result}
```"""

_LOGITS = """\
batch = tokenizer({example}, truncation=True{limit}, return_tensors="pt")
with torch.no_grad():
    logits = model(**batch).logits[0]"""

_LOGITS_OF_WINDOWS = """\
whole = tokenizer({example}, return_special_tokens_mask=True)
special = whole.pop("special_tokens_mask")
first, end = special.index(0), len(special) - special[::-1].index(0)  # the text, without special tokens
tokens, limit = end - first, {limit}
room = limit - (len(special) - tokens)
count = 1 + max(0, -(-(tokens - room) // (room - {stride})))
starts = [first + min(number * (room - {stride}), max(0, tokens - room)) for number in range(min(count, {most}))]
windows = [[*range(first), *range(at, min(end, at + room)), *range(end, len(special))] for at in starts]
batch = {{name: torch.tensor([[values[at] for at in window] for window in windows]) for name, values in whole.items()}}
with torch.no_grad():
    logits = model(**batch).logits.{pooled}"""

_PIPELINE = """\
```python
from transformers import pipeline

tagger = pipeline("token-classification", {folder}, aggregation_strategy="first")
print(tagger({example}))
```"""

_PEFT_PIPELINE = """\
```python
import torch
from peft import PeftModel
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

folder = {folder}
labels = [{labels}]
tokenizer = AutoTokenizer.from_pretrained(folder)
base = AutoModelForTokenClassification.from_pretrained(
    {base},
    id2label=dict(enumerate(labels)),
    label2id={{label: number for number, label in enumerate(labels)}},
    pad_token_id=tokenizer.pad_token_id,
    ignore_mismatched_sizes=True,
    dtype=torch.float32,
)
model = PeftModel.from_pretrained(base, folder)
tagger = pipeline("token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="first")
print(tagger({example}))
```"""

_LONG_TEXTS = {
    "head": "",
    "tail": "Of a text that is too long, the model was trained on the end; the tokeniser keeps that by itself.",
    "both": "Of a text that is too long, the model was trained on a quarter from the beginning and the rest from the "
    "end. A tokeniser cannot cut so: the code above keeps the beginning, `tunewise.load` below cuts as in training.",
}

_WINDOWS = (
    "Of a text that is too long, the model was trained on windows over all of it, whose outputs become one, as in the "
    "code above."
)
_WINDOWS_OF_PAIRS = (
    "Of a pair that is too long, the model was trained on windows over all of the longer text, the shorter in each. "
    "The code above keeps the beginning, `tunewise.load` below reads as in training."
)

_RESULTS = {
    "classification": "print(labels[logits.argmax()], logits.softmax(-1))",
    "multilabel": "print([label for label, p in zip(labels, logits.sigmoid()) if p >= 0.5])",
    "regression": "print(float(logits))",
}


def loading_code(record: Mapping[str, Any]) -> str:
    """The code for the record's kind of folder, ready to run beside it; tunewise's own after that of the library."""
    if pipeline_tag(record):
        return writing_code(record, _python)
    if draws_images(record):
        return drawing_code(record, _python)
    if is_for_images(record):
        return image_code(record, _python)
    if judging := judging_code(record):
        return judging
    schema, kind = record["data"]["schema"], record["handover"]["kind"]
    folder = _python("path/to/this/folder")
    first = "a text like those in the data"
    texts = ", ".join(_python(part) for part in ((first,) if len(schema["text"]) == 1 else (first, "its second text")))
    own = _TUNEWISE.format(folder=folder, example=texts if len(schema["text"]) == 1 else f"({texts})")
    if kind == "tunewise":
        return f"This kind of model is loaded by tunewise, which finds the base model again:\n\n{own}"
    if kind == "peft" and any("build" in insert for plan in record.get("plans", [])[:1] for insert in plan["inserts"]):
        return (
            "This adapter was trained beside layers that tunewise changes first, such as to 4 bits, and its outputs "
            f"are exact on those only. tunewise finds the base model, changes it and loads the adapter:\n\n{own}"
        )
    labels = schema.get("labels") or []
    if schema["task"] == "token_classification":
        code = (_PEFT_PIPELINE if kind == "peft" else _PIPELINE).format(
            folder=folder,
            base=_python(record["model"]["name"]),
            labels=", ".join(_python(label) for label in labels),
            example=texts,
        )
        return f"{code}\n\nOr with tunewise, which also takes lists of words:\n\n{own}"
    code = (_PEFT if kind == "peft" else _TRANSFORMERS).format(
        folder=folder,
        base=_python(record["model"]["name"]),
        outputs=len(labels) or 1,
        logits=_logits(record, texts),
        result=(f"labels = [{', '.join(_python(label) for label in labels)}]\n" if labels else "")
        + _RESULTS[schema["task"]],
    )
    own = f"Or with tunewise, in batches, with the decision threshold that was chosen:\n\n{own}"
    return "\n\n".join(part for part in (code, _of_long_texts(record), own) if part)


def _of_long_texts(record: Mapping[str, Any]) -> str:
    cut = _train(record).get("cut", "head")
    if cut == "chunks":
        return _WINDOWS_OF_PAIRS if _reads_pairs(record) else _WINDOWS
    return _LONG_TEXTS[cut]


def _logits(record: Mapping[str, Any], texts: str) -> str:
    """The lines from a text to its logits."""
    train, limit = _train(record), _limit(record)
    if train.get("cut") != "chunks" or _reads_pairs(record):
        return _LOGITS.format(example=texts, limit=f", max_length={limit}" if limit else "")
    pooled = "mean(0)" if train.get("chunk_pooling", "mean") == "mean" else "max(0).values"
    return _LOGITS_OF_WINDOWS.format(
        example=texts,
        limit=limit or "tokenizer.model_max_length",
        stride=int(train.get("chunk_stride", 0)),
        most=int(train.get("max_chunks", Chunks.most)),
        pooled=pooled,
    )


def _reads_pairs(record: Mapping[str, Any]) -> bool:
    return len(record["data"]["schema"]["text"]) > 1


def _train(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return record["recipe"].get("train") or {}


def _limit(record: Mapping[str, Any]) -> str:
    """How long texts may be, where the recipe says less than the tokeniser does."""
    wanted = _train(record).get("max_length")
    return f"min({int(wanted)}, tokenizer.model_max_length)" if wanted else ""


def _python(value: str) -> str:
    """A Python string literal in double quotes, plain ASCII: no text can end it or the block of code."""
    return '"' + value.encode("unicode_escape").decode().replace('"', '\\"').replace("`", "\\x60") + '"'
