"""Imports bitsandbytes, which peft looks for too, so that it runs no code from the model hub."""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from importlib.util import find_spec


def import_bitsandbytes() -> None:
    """Imports bitsandbytes, where it is installed and not imported yet.

    On CPUs with bf16 it would, as it is imported, fetch compiled code from the hub by the package `kernels` and run it
    in the place of its own; without that package it warns. Here it finds none, and uses its own.
    """
    if "bitsandbytes" in sys.modules or find_spec("bitsandbytes") is None:
        return
    absent = "kernels" not in sys.modules
    before = sys.modules.get("kernels")
    log = logging.getLogger("bitsandbytes.backends.cpu.ops")
    level = log.level
    sys.modules["kernels"] = None  # an import of it fails
    log.setLevel(logging.ERROR)
    try:
        import_module("bitsandbytes")
    finally:
        log.setLevel(level)
        if absent:
            del sys.modules["kernels"]
        else:
            sys.modules["kernels"] = before
