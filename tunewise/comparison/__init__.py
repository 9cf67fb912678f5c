"""Many runs: scheduling and statistics."""

PRELOAD_VARIABLE = "TUNEWISE_PRELOAD"
"""Environment variable that tells `comparison.preload` what to import; set only while a process is started."""
