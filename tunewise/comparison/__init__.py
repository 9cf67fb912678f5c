"""Many runs: scheduling and statistics."""

from __future__ import annotations

PRELOAD_VARIABLE = "TUNEWISE_PRELOAD"
"""Environment variable that tells `comparison.preload` what to import; set only while a process is started."""
