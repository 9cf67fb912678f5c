from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hundreds of fsync of these tests take half a minute on a busy disk; no power cut can be staged anyway."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
