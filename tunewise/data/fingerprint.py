"""What names the data of a run: equal data has an equal fingerprint, wherever it was read from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from tunewise.types import Schema, Split

_ROWS_AT_ONCE = 10_000


def fingerprint(schema: Schema, splits: Mapping[str, Split]) -> str:
    """sha256 over schema, texts, targets, and which rows are in which split; not over file names."""
    digest = hashlib.sha256()
    described: list = [schema.task, schema.text, schema.label, schema.labels]
    described += [schema.image] if schema.image else []
    described += [schema.form, schema.between] if schema.is_language else []
    digest.update(json.dumps(described).encode())
    for name in sorted(splits):
        split = splits[name]
        digest.update(f"[{json.dumps(name)}, [".encode())
        for start in range(0, len(split), _ROWS_AT_ONCE):  # one list of all rows, of which only so many are in memory
            rows = json.dumps(split.texts[start : start + _ROWS_AT_ONCE])[1:-1]
            digest.update(f"{', ' if start else ''}{rows}".encode())
        digest.update(b"]]")
        digest.update(split.targets.astype(split.targets.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()
