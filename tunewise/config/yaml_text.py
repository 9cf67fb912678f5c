"""Writes plain data as YAML that `read_yaml` reads back unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from tunewise.config.yaml_nodes import CORE_RESOLVERS, escape_variables


class _CoreDumper(yaml.SafeDumper):
    """The safe dumper, which puts text in quotes where YAML 1.2 would read it as something else."""

    yaml_implicit_resolvers = CORE_RESOLVERS

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # PyYAML writes these line breaks as they are unless in double quotes, and reads them back as a space
        style = '"' if any(character in data for character in "\x85\u2028\u2029") else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_CoreDumper.add_representer(str, _CoreDumper.represent_str)


def write_yaml(data: Mapping[str, Any]) -> str:
    """The YAML text of nested mappings, lists and scalars, keys in their order."""
    return yaml.dump(_escaped(data), Dumper=_CoreDumper, sort_keys=False, allow_unicode=True, width=120)


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return escape_variables(value)
    if isinstance(value, Mapping):
        return {key: _escaped(inner) for key, inner in value.items()}
    return [_escaped(inner) for inner in value] if isinstance(value, list | tuple) else value
