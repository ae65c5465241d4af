"""Looking a key up while Redis is silent or says what is not so: nobody waits for long, nothing sticks."""

from __future__ import annotations

import hashlib

import pytest

from mesh_plugins import ConfigUnavailable
from mesh_store.model.signing import Place
from mesh_store.redis.config_channel import Answer
from mesh_store.sync.key_table import MISSING_S, KeyTable
from mesh_store.sync.keys import SILENT_S, KeyCache
from mesh_store.sync.trust import Trust
from tests.faults.conftest import Priced
from tests.faults.relay import Relay

DIGEST = hashlib.sha256(b"nobody's").digest()


class Clock:
    """Seconds that pass when they are told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_silent_server_is_asked_twice_and_then_left_alone_for_a_while(priced: Priced) -> None:
    clock = Clock()
    with Relay.to_redis(priced.world.engines.redis_url) as relay:
        keys = KeyCache(relay.redis_url, clock=clock)
        relay.toxics.black_hole_down = True
        for _ in range(5):
            with pytest.raises(ConfigUnavailable, match="Timeout"):
                keys.lookup(DIGEST)
        assert relay.connections == 2
        clock.now += SILENT_S
        relay.toxics.black_hole_down = False
        assert keys.lookup(DIGEST) is None
        keys.close()


async def test_so_it_is_on_an_event_loop(mesh_engines: object) -> None:
    with Relay.to_redis(mesh_engines.redis_url) as relay:  # type: ignore[attr-defined]
        keys = KeyCache(relay.redis_url)
        relay.toxics.black_hole_down = True
        with pytest.raises(ConfigUnavailable):
            await keys.alookup(DIGEST)
        asked = relay.connections
        with pytest.raises(ConfigUnavailable):
            await keys.alookup(DIGEST)
        assert relay.connections == asked


def test_that_a_key_is_not_there_is_asked_again_because_nobody_signs_it() -> None:
    clock, place = Clock(), Place("e", 1)
    table = KeyTable(Trust(), max_entries=9, max_stale_s=99.0, clock=clock)
    assert table.accept(DIGEST, Answer(None, place), None) is None
    assert table.is_missing(DIGEST)
    clock.now += MISSING_S
    assert not table.is_missing(DIGEST)
