"""Which options a plan or an adapter's folder may give peft: none by which it would open files or import code.

peft's configurations can name adapters and tokenisers on the hub (which are loaded with their code), files to
unpickle, and modules to import. So numbers pass, texts and lists only under the keys below, all else only as peft has
it by itself; what a newer peft adds is refused until it has been looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

NAMES_OF_LAYERS = ("target_modules", "exclude_modules", "feedforward_modules", "modules_to_save")
BIAS = ("none", "all", "lora_only", "oft_only", "vera_only")
# Values that need nothing but the weights; eva, corda, loftq and lora_ga read data or files.
FIRST_VALUES = ("gaussian", "orthogonal", "olora", "pissa")
# What says where an adapter came from. peft reads none of it where it is given the model.
ORIGIN = (
    "peft_type",
    "task_type",
    "peft_version",
    "auto_mapping",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
)


def refused_option(kind: type, options: Mapping[str, Any]) -> str | None:
    """The first option of a peft configuration class that must not be given to it, as `key=value`; None where all are
    fine. Options that the class does not have are left to peft, which drops or refuses them."""
    known = {field.name: field for field in fields(kind)}
    for key, value in options.items():
        if key in known and key not in ORIGIN and not _is_plain(key, value) and value != _default(known[key]):
            return f"{key}={value!r:.80}"
    return None


def _is_plain(key: str, value: Any) -> bool:
    if key in NAMES_OF_LAYERS:
        names = () if value is None else value
        return isinstance(names, (list, tuple, set)) and all(isinstance(name, str) for name in names)
    if value is None or isinstance(value, (bool, int, float)):
        return True
    if not isinstance(value, str):
        return False
    if key == "bias":
        return value in BIAS
    if key == "init_lora_weights":
        return value in FIRST_VALUES or value.removeprefix("pissa_niter_").isdecimal()
    return False


def _default(field: Field[Any]) -> Any:
    """The value that a configuration has by itself, as it stands in a file."""
    if field.default is not MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not MISSING else MISSING
