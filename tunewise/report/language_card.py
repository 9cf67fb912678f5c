"""What a model card says of a language model: its task in words, and the code that loads it and lets it write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TASKS = {
    "text": "continues texts like those in {columns}",
    "completion": "writes an answer to a prompt, as in {columns}",
    "chat": "answers in conversations like those in {columns}",
}
_TAGS = {"AutoModelForCausalLM": "text-generation", "AutoModelForSeq2SeqLM": "text2text-generation"}

_TUNEWISE = """\
```python
from tunewise import load

model = load({folder})
print(model.generate([{prompt}]))
```"""

_LOAD = """\
folder = {folder}
tokenizer = AutoTokenizer.from_pretrained(folder)
model = {loads_as}.from_pretrained(folder)
model.eval()"""

_LOAD_ADAPTER = """\
folder = {folder}
tokenizer = AutoTokenizer.from_pretrained(folder)
base = {loads_as}.from_pretrained({base}, dtype=torch.float32)
base.generation_config = GenerationConfig.from_pretrained(folder)
model = PeftModel.from_pretrained(base, folder)
model.eval()"""

_PROMPT = """\
batch = tokenizer({prompt}, return_tensors="pt")"""

_CHAT = """\
messages = {prompt}
batch = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")"""

_WRITE = """\
with torch.no_grad():
    written = model.generate(**batch, max_new_tokens=100, do_sample=False)[0]
print(tokenizer.decode(written{behind}, skip_special_tokens=True))"""


def pipeline_tag(record: Mapping[str, Any]) -> str | None:
    """What the hub calls the task of a language model; None for other models."""
    return _TAGS.get(record["handover"].get("loads_as"))


def task_in_words(schema: Mapping[str, Any], columns: str, writes: bool) -> str:
    """What the model does, to stand behind "This model".

    Args:
        columns: the names of the columns, as they are shown.
        writes: it gives texts; False for one that judges them.
    """
    if not writes:
        return f"gives the answer to a prompt a reward, learnt from {columns}"
    return _TASKS[schema["form"]].format(columns=columns)


def writing_code(record: Mapping[str, Any], literal: Any) -> str:
    """The code that loads the folder and writes, of the library that it is made for and of tunewise.

    Args:
        literal: from a text to a Python literal that nothing can end.
    """
    handover = record["handover"]
    said = "a prompt like those in the data"
    own = _TUNEWISE.format(folder=literal("path/to/this/folder"), prompt=literal(said))
    if handover["kind"] == "tunewise":
        return f"This kind of model is loaded by tunewise, which finds the base model again:\n\n{own}"
    if handover["kind"] == "peft" and _changes_layers(record):
        return (
            "This adapter was trained beside layers that tunewise changes first, such as to 4 bits, and its outputs "
            f"are exact on those only. tunewise finds the base model, changes it and loads the adapter:\n\n{own}"
        )
    code = "\n".join(("```python", *_imports(record), "", *_lines(record, said, literal), "```"))
    return f"{code}\n\nOr with tunewise, which takes many prompts at once:\n\n{own}"


def _changes_layers(record: Mapping[str, Any]) -> bool:
    return any("build" in insert for plan in record.get("plans", [])[:1] for insert in plan["inserts"])


def _imports(record: Mapping[str, Any]) -> tuple[str, ...]:
    loads_as = record["handover"]["loads_as"]
    if record["handover"]["kind"] != "peft":
        return ("import torch", f"from transformers import {loads_as}, AutoTokenizer")
    theirs = f"from transformers import {loads_as}, AutoTokenizer, GenerationConfig"
    return ("import torch", "from peft import PeftModel", theirs)


def _lines(record: Mapping[str, Any], said: str, literal: Any) -> tuple[str, ...]:
    handover, schema = record["handover"], record["data"]["schema"]
    load = _LOAD_ADAPTER if handover["kind"] == "peft" else _LOAD
    loads_as = handover["loads_as"]
    chat, both = schema["form"] == "chat", loads_as == "AutoModelForSeq2SeqLM"
    # An encoder reads the prompt alone; a decoder what stands between prompt and answer too.
    said = said if chat or both else said + schema.get("between", "")
    prompt = f'[{{"role": "user", "content": {literal(said)}}}]' if chat else literal(said)
    read = _CHAT if chat else _PROMPT
    behind = "" if both else '[batch["input_ids"].shape[1] :]'
    return (
        load.format(folder=literal("path/to/this/folder"), loads_as=loads_as, base=literal(record["model"]["name"])),
        read.format(prompt=prompt),
        _WRITE.format(behind=behind),
    )
