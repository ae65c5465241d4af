"""What calls say is kept only where it was asked for, redacted and bounded, and never where facts are."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any

import pytest
import redis

from mesh_plugins import hookimpl
from mesh_plugins.core.content import Heard, RawSample
from mesh_plugins.mesh import Mesh
from mesh_plugins.settings import Settings
from mesh_store.model.facts import Fact
from mesh_store.model.ids import new_id, now_us
from mesh_store.model.redaction import MASK, redact
from mesh_store.redis.sample_stream import SAMPLES
from mesh_store.telemetry.sample_keeper import SampleKeeper
from mesh_store.telemetry.sampler import WAITING, Sampler
from tests.blank_fact import BLANK

CANARY = "sk-proj-c4n4ryc4n4ryc4n4ryc4n4ry"
ASK = [{"role": "user", "content": f"the key is {CANARY} and my cat is called Silvester"}]


def switch(world: Any, what: str = "samples", **fields: Any) -> None:
    world.run(lambda admin: admin.update_team(world.team, content=what, **fields))


def keep(world: Any) -> None:
    """Bring samples to Postgres as a collector does."""

    async def through() -> None:
        keeper = SampleKeeper(world.engines.database_url, world.engines.redis_url, "test")
        await keeper.once()
        await keeper.close()

    asyncio.run(through())


def kept(world: Any) -> list[Any]:
    keep(world)
    whose = "JOIN teams t ON t.id::text = s.team_id WHERE t.name = $1"
    return world.query(f"SELECT s.* FROM content_samples s {whose} ORDER BY at", world.team)


def every_byte_of(world: Any) -> bytes:
    """What Redis, the disk and Postgres hold, all of it."""
    client = redis.Redis.from_url(world.engines.redis_url)
    found = [client.dump(key) or b"" for key in client.keys("*")]
    found += [
        b"".join(fields.values()) for key in (b"mesh:facts:0", SAMPLES) for _, fields in client.xrange(key)
    ]
    client.close()
    found += [path.read_bytes() for path in world.home.rglob("*") if path.is_file()]
    tables = world.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    found += [str(world.query(f'SELECT * FROM "{row["tablename"]}"')).encode() for row in tables]
    return b"".join(found)


def test_a_team_that_did_not_ask_for_it_has_content_nowhere(make_world: Any) -> None:
    world = make_world()
    mesh = world.mesh()
    alias = world.alias()
    mesh.chat(alias, ASK)
    list(mesh.stream(alias, ASK))
    found = every_byte_of(world)  # the ring is not empty yet
    assert mesh.flush(10)
    world.collect()
    keep(world)
    for held in (found, every_byte_of(world)):
        assert b"Silvester" not in held
        assert b"c4n4ry" not in held
    assert mesh._held.sampler.counts == {}


def test_content_is_kept_redacted_where_it_was_asked_for_streams_included(
    make_world: Any, stand_in: Any
) -> None:
    world = make_world()
    alias = world.alias()
    switch(world)
    mesh = world.mesh()
    reply = mesh.chat(alias, ASK).choices[0].message.content
    streamed = "".join(
        chunk.choices[0].delta.content or "" for chunk in mesh.stream(alias, ASK) if chunk.choices
    )
    assert mesh.flush(10)
    ring = b"".join(path.read_bytes() for path in world.home.rglob("*.ring"))
    assert b"Silvester" not in ring
    rows = kept(world)
    assert [row["reply"] for row in rows] == [redact(reply), redact(streamed)]
    assert all(row["outcome"] == "ok" for row in rows)
    for row in rows:
        asked = json.loads(row["request"])["messages"][0]["content"]
        assert asked == f"the key is {MASK} and my cat is called Silvester"
    assert b"c4n4ry" not in every_byte_of(world)
    world.collect()
    assert {str(row["fact_id"]) for row in rows} == {str(row["id"]) for row in world.rows("e.id")}


def test_switched_off_nothing_more_is_kept_whoever_still_sends(make_world: Any) -> None:
    world = make_world()
    alias = world.alias()
    switch(world)
    mesh = world.mesh()
    mesh.chat(alias, ASK)
    assert mesh.flush(10)
    switch(world, "off")
    assert kept(world) == []  # it was on its way when it was switched off
    mesh.chat(alias, ASK)
    assert mesh.flush(10)
    client = redis.Redis.from_url(world.engines.redis_url)
    assert client.xlen(SAMPLES) == 0
    client.close()


def test_samples_end_with_their_days(make_world: Any) -> None:
    world = make_world()
    alias = world.alias()
    switch(world, content_days=3)
    mesh = world.mesh()
    mesh.chat(alias, ASK)
    mesh.chat(alias, ASK)
    assert mesh.flush(10)
    old = kept(world)[0]["fact_id"]
    world.query("UPDATE content_samples SET at = at - interval '4 days' WHERE fact_id = $1", old)
    assert [row["fact_id"] == old for row in kept(world)] == [False]


class Masking:
    """A plugin that takes names of cats out, and fails on dogs."""

    @hookimpl
    def mesh_sample(self, sample: Any, fact: Any) -> Any:
        import msgspec

        if "dog" in sample.request:
            raise RuntimeError("no dogs")
        return msgspec.structs.replace(sample, request=sample.request.replace("Silvester", "***"), reply="")


def test_a_plugin_masks_any_field_and_what_it_fails_on_is_dropped(make_world: Any) -> None:
    world = make_world()
    alias = world.alias()
    switch(world)
    mesh = Mesh(Settings.from_env(world.environ), plugins=[Masking()])
    world.closing.callback(mesh.close, 0.5)
    mesh.chat(alias, ASK)
    mesh.chat(alias, [{"role": "user", "content": "my dog"}])
    assert mesh.flush(10)
    (row,) = kept(world)
    assert ("***" in row["request"], row["reply"]) == (True, "")
    assert mesh._held.sampler.counts == {"sent": 1, "dropped": 1}


def fact() -> Fact:
    named: dict[str, Any] = {"team_id": "t", "key_id": "k", "alias": "a", "revision": 1}
    named |= {"operation": "chat", "host": "x"}
    named |= {"id": new_id(), "call_id": new_id(), "attempt": 1, "started_at_us": now_us(), "outcome": "ok"}
    return Fact(**BLANK | named)


def test_with_redis_away_what_waits_is_bounded_and_nobody_is_held_up() -> None:
    sampler = Sampler("unix:///nowhere/at/all", lambda sample, fact: sample)
    heard = Heard({"messages": ASK})
    spent = time.thread_time()
    for _ in range(2_000):
        sampler.offer(heard.sample(fact()))
        assert sampler._queue.qsize() <= WAITING + 1
    assert time.thread_time() - spent < 1.0
    sampler.close(0.1)
    assert set(sampler.counts) <= {"full", "away"}
    assert sampler.counts["full"] + sampler.counts["away"] > 0


def test_who_waits_for_samples_has_waited_for_the_last_one_too(make_world: Any) -> None:
    finished: list[str] = []

    def slow(sample: Any, fact: Fact) -> None:
        time.sleep(0.001)
        finished.append(fact.id)

    sampler = Sampler(make_world().engines.redis_url, slow)
    for number in range(1, 201):
        sampler.offer(RawSample(fact(), {"input": "x"}, "y"))
        assert sampler.flush(30)
        assert len(finished) == number
    sampler.close(30)
    assert sampler.flush(30), "and who waits once it is closed is told of the end"


def test_a_server_that_is_half_full_takes_no_more_samples_and_a_stream_does_not_grow(make_world: Any) -> None:
    world = make_world()
    client = redis.Redis.from_url(world.engines.redis_url)
    before = client.config_get("maxmemory")["maxmemory"]
    sampler = Sampler(world.engines.redis_url, lambda sample, fact: sample)
    try:
        for _ in range(30):
            while sampler._queue.qsize():
                time.sleep(0.001)
            for _ in range(WAITING):
                sampler.offer(RawSample(fact(), {"input": "x"}, "y"))
        assert sampler.flush(10)
        assert client.xlen(SAMPLES) < 1_200
        client.config_set("maxmemory", int(client.info("memory")["used_memory"] * 1.5))
        sampler._looked_at = float("-inf")
        sampler.offer(RawSample(fact(), {"input": "x"}, "y"))
        assert sampler.flush(10)
        assert sampler.counts["held"] == 1
    finally:
        client.config_set("maxmemory", before)
        client.delete(SAMPLES)
        client.close()
        sampler.close(1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_sends_its_own_and_nothing_it_inherited(make_world: Any) -> None:
    world = make_world()
    alias = world.alias()
    switch(world)
    mesh = world.mesh()
    mesh.chat(alias, ASK)
    assert mesh.flush(10)
    child = os.fork()
    if child == 0:
        mesh.chat(alias, ASK)
        os._exit(0 if mesh.flush(10) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert len(kept(world)) == 2


def test_what_is_kept_is_shown_by_the_commands(make_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from mesh_plugins.cli.app import build

    world = make_world()
    alias = world.alias()

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(build(arguments[0]), arguments, env=world.environ)
        assert done.exit_code == 0, done.output
        return str(done.stdout)

    assert "100% of its calls for 7 days are kept" in run("team", "content", world.team, "samples")
    mesh = world.mesh()
    mesh.chat(alias, ASK)
    assert mesh.flush(10)
    keep(world)
    shown = run("samples", "--team", world.team)
    assert "Silvester" in shown
    assert MASK in shown
    (one,) = json.loads(run("samples", "--team", world.team, "--json"))
    assert (one["alias"], one["key"], one["user"]) == (alias, world.key_id, None)
    mesh.chat(alias, ASK)
    assert mesh.flush(10)
    keep(world)
    both = json.loads(run("samples", "--team", world.team, "--json"))
    assert [each["fact_id"] == one["fact_id"] for each in both] == [False, True]
    another = make_world()
    assert "Silvester" not in run("samples", "--team", another.team)
    assert "nothing is kept" in run("team", "content", world.team, "off")
