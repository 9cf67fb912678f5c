"""What a model card says of a reward model: the code that asks it for rewards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CODE = """\
```python
from tunewise import load

model = load("path/to/this/folder")
print(model.scores([("a prompt", "an answer to it"), ("a prompt", "another answer")]))
```"""


def judging_code(record: Mapping[str, Any]) -> str | None:
    """The code, with what it needs said; None where the model is none that judges answers.

    Args:
        record: of a run whose model does not write.
    """
    schema = record["data"]["schema"]
    if schema["task"] != "preference":
        return None
    messages = " Prompts and answers may be lists of messages too." if schema.get("form") == "chat" else ""
    return (
        "A reward counts only beside rewards for the same prompt: the larger, the better the answer is held to be. "
        f"tunewise writes prompt and answer as one text, or as two, as in training.{messages}\n\n{_CODE}"
    )
