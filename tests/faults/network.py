"""The network of a soak: relays before Redis, Postgres and a provider; now and then one misbehaves."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from typing import Self

from mesh_plugins.testing.provider import StandInProvider
from mesh_store.embedded import Engines
from tests.faults.relay import Relay, Toxics

#: What goes wrong on the way for a while. No altered bytes: what they do to counters is TLS's matter.
WEATHER = {
    "late": Toxics(latency_s=0.05, jitter_s=0.2),
    "in slices": Toxics(slice_bytes=11),
    "narrow": Toxics(bytes_per_s=20_000),
    "unheard": Toxics(black_hole_down=True),
    "swallowed": Toxics(black_hole_up=True),
    "refused": Toxics(refuse=True),
}


class Network:
    """A context manager.

    Attributes:
        redis_url, database_url, base_url: where everybody connects to instead.
    """

    def __init__(self, engines: Engines, provider: StandInProvider, chance: random.Random) -> None:
        self._relays = {
            "redis": Relay.to_redis(engines.redis_url),
            "postgres": Relay.to_postgres(engines.database_url),
            "provider": Relay(provider.origin.replace("http", "tcp")),
        }
        self._engines, self._chance = engines, chance
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for relay in self._relays.values():
            self._stack.enter_context(relay)
        self.redis_url = self._relays["redis"].redis_url
        self.database_url = self._relays["postgres"].postgres_url(self._engines.database_url)
        self.base_url = f"http://127.0.0.1:{self._relays['provider'].port}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def storm(self, seconds: float) -> str:
        """Let one thing go wrong on one way for a while; returns which."""
        whose, weather = self._chance.choice(list(self._relays)), self._chance.choice(list(WEATHER))
        relay = self._relays[whose]
        relay.toxics = WEATHER[weather]
        if relay.toxics.refuse:
            relay.reset()
        time.sleep(seconds)
        relay.toxics = Toxics()
        if self._chance.random() < 0.5:  # otherwise what was swallowed stays missing in the middle
            relay.reset()
        return f"{whose} {weather}"
