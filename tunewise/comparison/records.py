"""The records of a comparison's runs, each finished one read from disk once."""

from __future__ import annotations

from pathlib import Path

from tunewise.tracking.record import RECORD, RunRecord, read_record


class Records:
    """By run folder. A record changes until its run has finished, and after that only where it is forgotten first."""

    def __init__(self) -> None:
        self._finished: dict[Path, RunRecord] = {}

    def read(self, folder: Path) -> RunRecord | None:
        """The record of a run, None where it has none.

        Raises:
            CorruptError: it is damaged.
        """
        if folder in self._finished:
            return self._finished[folder]
        record = read_record(folder) if (folder / RECORD).is_file() else None
        if record and record.status == "finished":
            self._finished[folder] = record
        return record

    def finished(self, folder: Path) -> RunRecord | None:
        """The record of a run that has finished, else None."""
        record = self.read(folder)
        return record if record and record.status == "finished" else None

    def forget(self, folder: Path) -> None:
        """For a run that is to be carried out again though it has finished."""
        self._finished.pop(folder, None)
