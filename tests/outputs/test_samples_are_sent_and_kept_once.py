"""Samples on their way: taken up after the dead, sent by one process, and let go where nobody wants them."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import redis
from typer.testing import CliRunner

from mesh_plugins import hookimpl
from mesh_plugins.cli.app import build
from mesh_plugins.core.content import RawSample
from mesh_plugins.mesh import Mesh
from mesh_plugins.settings import Settings
from mesh_store.model.facts import Fact
from mesh_store.model.samples import Sample
from mesh_store.redis.sample_stream import GROUP, SAMPLES
from mesh_store.telemetry.sampler import Sampler
from tests.outputs.test_content_samples import ASK, fact, keep, kept, switch


def read_by_one_that_dies(client: Any, *, idle_ms: int) -> None:
    """Take what there is as a keeper that is gone before it has stored anything."""
    if GROUP.encode() not in {group["name"] for group in client.xinfo_groups(SAMPLES)}:
        client.xgroup_create(SAMPLES, GROUP, id="0")
    ((_, entries),) = client.xreadgroup(GROUP, "dead", {SAMPLES: ">"})
    client.xclaim(SAMPLES, GROUP, "dead", 0, [each for each, _ in entries], idle=idle_ms, justid=True)


def test_what_a_dead_keeper_had_taken_is_taken_up_again_and_a_living_ones_is_not(make_world: Any) -> None:
    world = make_world()
    alias = world.alias()
    switch(world)
    mesh = world.mesh()
    client = redis.Redis.from_url(world.engines.redis_url)
    for idle_ms, then in ((0, 0), (61_000, 1)):
        mesh.chat(alias, ASK)
        assert mesh.flush(10)
        read_by_one_that_dies(client, idle_ms=idle_ms)
        assert len(kept(world)) == then
    assert client.xpending(SAMPLES, GROUP)["pending"] == 1, "the living one still has its own"
    client.delete(SAMPLES)
    client.close()


class Emptying:
    """A plugin that leaves nothing of what was said, but for cats."""

    @hookimpl
    def mesh_sample(self, sample: Any, fact: Any) -> Any:
        return sample if "cat" in sample.request else msgspec.structs.replace(sample, request="", reply="")


def test_a_sample_that_a_plugin_emptied_is_not_kept(make_world: Any) -> None:
    world = make_world()
    alias = world.alias()
    switch(world)
    mesh = Mesh(Settings.from_env(world.environ), plugins=[Emptying()])
    world.closing.callback(mesh.close, 0.5)
    mesh.chat(alias, [{"role": "user", "content": "my dog"}])
    mesh.chat(alias, ASK)
    assert mesh.flush(10)
    assert mesh._held.sampler.counts == {"dropped": 1, "sent": 1}
    assert ["cat" in row["request"] for row in kept(world)] == [True]


def test_of_a_team_that_is_archived_nothing_more_is_kept(make_world: Any) -> None:
    world = make_world()
    alias = world.alias()
    switch(world)
    mesh = world.mesh()
    mesh.chat(alias, ASK)
    assert mesh.flush(10)
    keep(world)
    mesh.chat(alias, ASK)
    assert mesh.flush(10)
    world.run(lambda admin: admin.archive_team(world.team))
    assert len(kept(world)) == 1


def test_samples_are_shown_from_the_moment_that_is_asked_for(make_world: Any) -> None:
    world = make_world()
    alias = world.alias()
    switch(world)
    mesh = world.mesh()
    mesh.chat(alias, ASK)
    mesh.chat(alias, ASK)
    assert mesh.flush(10)
    old, new = (row["fact_id"] for row in kept(world))
    at = datetime.now(UTC) - timedelta(hours=3)
    world.query("UPDATE content_samples SET at = $2 WHERE fact_id = $1", old, at)

    def shown(*since: str) -> list[str]:
        arguments = ("samples", "--team", world.team, "--json", *since)
        done = CliRunner().invoke(build("samples"), arguments, env=world.environ)
        assert done.exit_code == 0, done.output
        return [each["fact_id"] for each in msgspec.json.decode(done.stdout)]

    assert shown() == [str(new), str(old)]
    assert shown("--since", "1h") == [str(new)]
    assert shown("--since", at.isoformat()) == [str(new), str(old)], "the moment itself counts"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_what_waited_when_a_process_forked_is_sent_by_the_parent_alone(make_world: Any) -> None:
    url = make_world().engines.redis_url
    client = redis.Redis.from_url(url)
    client.delete(SAMPLES)
    parent, taken, go_on = os.getpid(), threading.Event(), threading.Event()

    def held(sample: Sample, fact: Fact) -> Sample:
        if os.getpid() == parent:
            taken.set()
            assert go_on.wait(30)
        return sample

    sampler = Sampler(url, held)
    for _ in range(3):
        sampler.offer(RawSample(fact(), {"input": "x"}, "y"))
    assert taken.wait(30)
    child = os.fork()
    if child == 0:
        sampler.offer(RawSample(fact(), {"input": "x"}, "y"))
        os._exit(0 if sampler.flush(30) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert client.xlen(SAMPLES) == 1, "the child sends its own and nothing else"
    go_on.set()
    assert sampler.flush(30)
    assert client.xlen(SAMPLES) == 4
    sampler.close(30)
    client.delete(SAMPLES)
    client.close()
