"""The 64 kinds of bad input, in one table: each has cases in a `cases_*.py` beside it, or waits for a feature."""

from __future__ import annotations

KINDS: dict[str, tuple[str, ...]] = {
    "recipe": (
        "empty recipe",
        "tab indent",
        "duplicate key",
        "unknown key",
        "1e-5 read as a string",
        "no read as false",
        "NaN or infinite learning rate",
        "negative batch size",
        "epochs and max_steps",
        "alias bomb",
        "recipe not UTF-8",
        "unset ${ENV}",
    ),
    "CSV and TSV": (
        "zero bytes",
        "header only",
        "ragged rows",
        "unclosed quote",
        "UTF-16 or byte-order mark",
        "Latin-1",
        "duplicate columns",
        "missing column",
        "wrong delimiter",
        "NUL byte",
        "10 MB cell",
        "literal NA or None",
    ),
    "JSONL and Parquet": (
        "torn last line",
        "mixed types",
        "array instead of lines",
        "NaN token",
        "lone surrogate",
        "deep nesting",
        "unknown or empty roles",
        "Parquet bad footer",
        "schema drift between shards",
        "dictionary or extension types",
    ),
    "images": (
        "truncated image",
        "wrong image extension",
        "decompression bomb",
        "CMYK, 16-bit or alpha",
        "EXIF rotation",
        "0x0 or 1x1 image",
        "image path missing",
        "SVG or GIF",
    ),
    "labels and splits": (
        "single class",
        "class only in test",
        "class id out of range or -1",
        '"1", 1 and 1.0',
        "whitespace or case twins",
        "missing label",
        "multi-label delimiter",
        "rows in train and test",
    ),
    "model and adapter": (
        "no config",
        "missing shard",
        "index naming an absent or outside file",
        "truncated safetensors",
        "shape mismatch",
        "NaN weights",
        "Git-LFS pointer",
        "adapter of another base model",
        "rank or target mismatch",
    ),
    "tokeniser and run folder": (
        "vocabulary larger than the embedding",
        "pad missing or equal to eos",
        "model_max_length of 1e30",
        "no chat template",
        "run folder from a newer version or read-only",
    ),
}
"""The kinds of each group, in the order in which reports list them."""

WAITING: dict[str, str] = {
    "unknown or empty roles": "chat data",
    "no chat template": "chat data",
}
"""Kinds that nobody can meet yet, and the feature that brings them: it comes with their cases."""
