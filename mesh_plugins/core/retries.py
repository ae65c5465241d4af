"""What to do after a failed attempt, decided purely.

One retry layer for everything: hosts' and SDKs' own retries are switched off inside us. The next
target in order is tried at once; when there is none left, the last one again after a jittered pause,
within the retry budget and the total deadline. Nothing is retried after the first token.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from mesh_plugins.core.call import ProviderCall
from mesh_store.model.errors import ConfigError, ProviderError
from mesh_store.model.forking import forkable_lock

#: Statuses after which another attempt may fare better.
TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
#: Statuses that say this target is set up wrongly (a redirect is never followed): another may still answer.
MISCONFIGURED = frozenset({301, 302, 303, 307, 308, 401, 402, 403, 404, 405})
#: Attempts of one call on the same target beyond the first.
MOST_REPEATS = 2


@dataclass(slots=True, frozen=True)
class Step:
    """The next attempt: which of the plan's targets, after how many seconds."""

    target: int
    delay_s: float


def next_step(
    error: ProviderError,
    *,
    target: int,
    targets: int,
    repeats: int,
    left_s: float,
    budget: RetryBudget,
) -> Step | None:
    """Return the next attempt after ``error``, or None when the call is over.

    Args:
        error: how the attempt failed.
        target: index of the target that failed.
        targets: how many targets the plan has.
        repeats: how often this target was tried again already.
        left_s: seconds left of the total deadline.
        budget: pays for repeats; falling back is free.
    """
    again = transient(error)
    elsewhere = again or error.kind in ("protocol", "setup") or error.status in MISCONFIGURED
    if left_s <= 0 or error.kind == "timeout" or not elsewhere:
        # A timed-out attempt may have been billed and has used the deadline; a 400 fails everywhere.
        return None
    if target + 1 < targets:
        return Step(target + 1, 0.0)
    if not again or repeats >= MOST_REPEATS:
        return None
    pause = error.retry_after if error.retry_after is not None else random.uniform(0.0, 0.25 * 2**repeats)
    if pause >= left_s or not budget.spend():
        return None
    return Step(target, pause)


def unusable(call: ProviderCall, error: ConfigError) -> ProviderError:
    """Return what is wrong with a target that this process cannot even ask, for want of its secret say."""
    return ProviderError(
        str(error),
        provider=call.provider.name,
        model=call.target.model,
        attempt=call.attempt,
        status=error.status,
        kind="setup",
        native=error,
    )


def transient(error: ProviderError) -> bool:
    """Tell whether the same target may answer if it is asked again later."""
    return error.kind == "connect" or (error.kind == "status" and error.status in TRANSIENT)


class RetryBudget:
    """Repeats may be a tenth of calls, and always a few: retries must not multiply an outage.

    Attributes:
        ratio: repeats earned per call.
        floor: repeats that can be spent before any were earned.
    """

    def __init__(self, ratio: float = 0.1, floor: float = 10.0) -> None:
        self.ratio = ratio
        self.floor = floor
        self._tokens = floor
        self._lock = forkable_lock()

    def earn(self) -> None:
        """Count one call."""
        with self._lock:
            self._tokens = min(self.floor * 10, self._tokens + self.ratio)

    def spend(self) -> bool:
        """Pay for one repeat; False when there is nothing left."""
        with self._lock:
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


class Health:
    """Which targets just failed here: they are tried last until their cooldown is over."""

    _BASE_S = 1.0
    _MOST_S = 30.0

    def __init__(self) -> None:
        self._failing: dict[str, tuple[int, float]] = {}

    def failed(self, target_id: str, retry_after_s: float | None) -> None:
        """Note a transient failure; the cooldown doubles with each in a row, up to half a minute."""
        failures = self._failing.get(target_id, (0, 0.0))[0] + 1
        cooldown = retry_after_s or min(self._MOST_S, self._BASE_S * 2 ** (failures - 1))
        self._failing[target_id] = (failures, time.monotonic() + min(cooldown, 10 * self._MOST_S))

    def succeeded(self, target_id: str) -> None:
        """Note an answer: the target is as good as any again."""
        if self._failing:
            self._failing.pop(target_id, None)

    def cooling(self, target_id: str) -> bool:
        """Tell whether the target failed so recently that another should be tried first."""
        state = self._failing.get(target_id)
        return state is not None and state[1] > time.monotonic()
