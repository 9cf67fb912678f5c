"""The modules of an example, which are imported as its own commands import them: from its folder."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType


@contextmanager
def modules_of(folder: Path, *names: str) -> Iterator[dict[str, ModuleType]]:
    """These modules by name; inside, they find each other too. Another example may have modules of the same names."""
    sys.path.insert(0, str(folder))
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(folder))
        for name in names:
            sys.modules.pop(name, None)
