"""What the report shows of a run as images, in files of the run's folder, sealed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunewise.commit import sealed, unsealed, write_file
from tunewise.commit.files import explained
from tunewise.errors import StoreError


@dataclass(frozen=True)
class ShownFile:
    """A file by its name in the folder of a run."""

    name: str

    def write(self, run_folder: Path, found: dict[str, Any]) -> None:
        """Writes the file, where there is anything to show."""
        if found:
            write_file(Path(run_folder) / self.name, sealed(found))

    def read(self, run_folder: Path) -> dict[str, Any]:
        """What was written; empty where nothing was.

        Raises:
            CorruptError: it is not what was written.
            StoreError: it cannot be read.
        """
        path = Path(run_folder) / self.name
        if not path.is_file():
            return {}
        with explained("read", path):
            return unsealed(path.read_bytes(), path)

    def damages(self, run_folder: Path) -> list[StoreError]:
        """What is wrong with the file."""
        try:
            self.read(run_folder)
        except StoreError as problem:
            return [problem]
        return []


LOOKED_AT = ShownFile("looked_at.json")
"""Of a run on images: what the model looked at (`engine.looked_at.look`)."""
DRAWN = ShownFile("drawn.json")
"""Of a run of image generation: images drawn before and after training (`engine.drawn_figures`)."""
SHOWN = (LOOKED_AT, DRAWN)
