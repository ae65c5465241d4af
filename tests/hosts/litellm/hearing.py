"""What the callbacks of a caller's own are told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Heard:
    """What the caller's own callback was told, oldest first."""

    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def tell(self, kind: str, kwargs: dict[str, Any]) -> None:
        with self.changed:
            self.events.append((kind, kwargs))
            self.changed.notify_all()

    def of(self, user: str) -> list[tuple[str, dict[str, Any]]]:
        """Events of calls whose metadata carries this label."""
        return [(kind, told) for kind, told in list(self.events) if _labels(told).get("label") == user]

    async def until(self, user: str) -> bool:
        """Wait for an event of calls with this label."""

        def wait() -> bool:
            with self.changed:
                return self.changed.wait_for(lambda: bool(self.of(user)), timeout=60)

        return await asyncio.to_thread(wait)


def _labels(told: dict[str, Any]) -> dict[str, Any]:
    params = told.get("litellm_params") or {}
    return {**(params.get("metadata") or {}), **(params.get("litellm_metadata") or {})}


def registered_for(litellm: Any, callback: Any, answer: Any) -> Iterator[Any]:
    """Register a callback for one test; litellm copies it into six more lists, and takes it out of none."""
    litellm.callbacks.append(callback)
    yield answer
    for name in (
        "callbacks",
        "success_callback",
        "failure_callback",
        "input_callback",
        "_async_success_callback",
        "_async_failure_callback",
        "_async_input_callback",
    ):
        remaining = [other for other in getattr(litellm, name) if other is not callback]
        getattr(litellm, name)[:] = remaining


def heard_by(litellm: Any) -> Iterator[Heard]:
    """Register a callback that remembers what it is told, for one test."""
    from litellm.integrations.custom_logger import CustomLogger

    ears = Heard()

    class Ears(CustomLogger):  # type: ignore[misc]
        def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
            ears.tell("success", kwargs)

        def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
            ears.tell("failure", kwargs)

        async def async_log_success_event(
            self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
        ) -> None:
            ears.tell("success", kwargs)

        async def async_log_failure_event(
            self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
        ) -> None:
            ears.tell("failure", kwargs)

    yield from registered_for(litellm, Ears(), ears)
