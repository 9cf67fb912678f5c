"""The base of every Config class: frozen, strict about keys, explained by its attribute docstrings."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Config(BaseModel):
    """Options of one component. The docstring under each attribute is its only explanation: command-line help, the
    docs and the comments of `tunewise init` are made from it."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        validate_default=True,
        protected_namespaces=(),
    )

    def changed(self, *names: str) -> list[str]:
        """Those of these options that do not have their default."""
        return [name for name in names if getattr(self, name) != type(self).model_fields[name].default]

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Pydantic would read `batch_size: true` as 1."""
        if isinstance(value, bool):
            annotation = cls.model_fields[info.field_name].annotation
            kinds = {annotation, *get_args(annotation)}
            if kinds & {int, float} and bool not in kinds:
                raise ValueError(f"expected a number; came {str(value).lower()}")
        return value
