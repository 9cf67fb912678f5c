"""What was measured so far, kept in a JSON file, so that a benchmark that was stopped goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tunewise.commit import export_file

FORMAT = 1


class Results:
    """Measurements by job, side and seed, with the settings and the machine they belong to.

    Raises:
        ValueError: the file is of another format, or was made with other settings.
    """

    def __init__(self, file: Path, settings: dict[str, Any] | None = None):
        self.file = file
        self.content: dict[str, Any] = {"format": FORMAT, "settings": settings or {}, "machine": {}, "measured": {}}
        if file.is_file():
            self.content = json.loads(file.read_text(encoding="utf-8"))
            if self.content.get("format") != FORMAT:
                raise ValueError(f"{file} has not the format of this benchmark: begin a new file")
            if settings is not None and self.content["settings"] != settings:
                raise ValueError(f"{file} was made with {self.content['settings']}, not {settings}: begin a new file")

    @property
    def settings(self) -> dict[str, Any]:
        return self.content["settings"]

    @property
    def machine(self) -> dict[str, Any]:
        return self.content["machine"]

    @property
    def jobs(self) -> list[str]:
        """Those of which something was measured."""
        return list(self.content["measured"])

    def describe(self, machine: dict[str, Any]) -> None:
        self.content["machine"] = machine
        self._write()

    def has(self, job: str, side: str, seed: int) -> bool:
        return str(seed) in self.content["measured"].get(job, {}).get(side, {})

    def put(self, job: str, side: str, seed: int, measured: dict[str, Any]) -> None:
        self.content["measured"].setdefault(job, {}).setdefault(side, {})[str(seed)] = measured
        self._write()

    def of(self, job: str, side: str) -> dict[int, dict[str, Any]]:
        """Measurements of a side by seed, in their order."""
        found = self.content["measured"].get(job, {}).get(side, {})
        return {int(seed): found[seed] for seed in sorted(found, key=int)}

    def _write(self) -> None:
        """In one step: a benchmark that is stopped here leaves the older file."""
        export_file(self.file, json.dumps(self.content, indent=1))
