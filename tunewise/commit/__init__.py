"""The commit protocol: what is on disk is the previous version or the new one, never half of one.

Checkpoints, models, records and predictions are all written by it. Stage in a sibling, fsync, write the manifest last,
rename, fsync the parent; delete the older version only after the new one verifies.
"""

from __future__ import annotations

from tunewise.commit.cache import Cache, Entry, cache_root, default_cache
from tunewise.commit.files import sealed, unsealed, write_file
from tunewise.commit.folder import commit_folder, read_manifest, sweep, verify
from tunewise.commit.lock import lock, owner
from tunewise.commit.series import Series

__all__ = [
    "Cache",
    "Entry",
    "Series",
    "cache_root",
    "commit_folder",
    "default_cache",
    "lock",
    "owner",
    "read_manifest",
    "sealed",
    "sweep",
    "unsealed",
    "verify",
    "write_file",
]
