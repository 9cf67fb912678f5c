"""How `data.clean.personal_data` is given."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from tunewise.cleaning.personal_data import KINDS, PersonalKind
from tunewise.config.base import Config


class PersonalDataConfig(Config):
    do: Literal["replace", "hash", "drop"]
    """`replace`: each datum becomes the name of its kind, `<EMAIL_ADDRESS>`. `hash`: with a code behind it that is the
    same wherever the same datum stands, made by keyed BLAKE2b; the key is the environment variable TUNEWISE_HASH_KEY
    (at least 16 bytes), since without one every phone number could be tried. `drop`: training rows that hold personal
    data are left out, other rows stay as they are."""

    kinds: list[PersonalKind] = Field(default=list(KINDS), min_length=1)
    """Which; all where left out."""

    names: str | None = None
    """An installed model of spaCy, such as en_core_web_sm, by which persons and places are found too."""

    @model_validator(mode="before")
    @classmethod
    def _from_short_form(cls, value: Any) -> Any:
        return {"do": value} if isinstance(value, str) else value
