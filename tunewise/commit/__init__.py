"""The commit protocol: what is on disk is the previous version or the new one, never half of one.

Checkpoints, models, records, predictions, the cache, reports and exports are all written by it. Stage in a sibling,
fsync, write the manifest last, rename, fsync the parent; delete the older version only after the new one verifies.
"""

from __future__ import annotations

from tunewise.commit.append import AppendedFile
from tunewise.commit.cache import Cache, Entry, cache_root, default_cache
from tunewise.commit.files import write_file
from tunewise.commit.folder import commit_folder, damages, read_manifest, sweep, verify
from tunewise.commit.leftovers import export_file, leftovers
from tunewise.commit.lock import lock, owner
from tunewise.commit.seal import check_page, sealed, sealed_page, unsealed
from tunewise.commit.series import Series

__all__ = [
    "AppendedFile",
    "Cache",
    "Entry",
    "Series",
    "cache_root",
    "check_page",
    "commit_folder",
    "damages",
    "default_cache",
    "export_file",
    "leftovers",
    "lock",
    "owner",
    "read_manifest",
    "sealed",
    "sealed_page",
    "sweep",
    "unsealed",
    "verify",
    "write_file",
]
