"""The steps of `data.clean` that change a text and nothing else, in their order: what a model handed over does too."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tunewise.cleaning.encoding import decode_entities, fix_encoding
from tunewise.cleaning.normalise import normalise
from tunewise.cleaning.settings import CleanConfig

TEXT_STEPS: dict[str, Callable[[str], str]] = {
    "html_entities": decode_entities,
    "fix_encoding": fix_encoding,
    "normalise": normalise,
}
"""From a key of `data.clean` to what it does to a text. Each is without effect on what it gave."""

PACKAGES = {"html_entities": "ftfy", "fix_encoding": "ftfy"}
"""What a step needs beyond the core."""


def text_steps(config: CleanConfig) -> tuple[str, ...]:
    """The steps that are on, in their order."""
    return tuple(name for name in TEXT_STEPS if getattr(config, name))


def cleaned_text(text: str, steps: Sequence[str]) -> str:
    """The text after these steps."""
    for name in steps:
        text = TEXT_STEPS[name](text)
    return text
