"""What a fact says of itself where a test does not care."""

from __future__ import annotations

from typing import Any

from mesh_store.model.facts import FACT_VERSION

BLANK: dict[str, Any] = {
    "version": FACT_VERSION,
    "duration_us": 0,
    "ttft_us": None,
    "stream": False,
    "user_id": None,
    "alias_id": None,
}
