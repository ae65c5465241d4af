"""A target that fails is left alone for a while: the next call goes elsewhere at once, then back."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mesh_plugins.core import retries

ASK = [{"role": "user", "content": "tell me something true"}]


@pytest.fixture
def clock(monkeypatch):
    """The time that cooldowns are measured by: it stands still, until a test sets its ``seconds``."""
    stands = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(retries, "time", SimpleNamespace(monotonic=lambda: stands.seconds))
    return stands


def _chat(mesh, alias):
    return mesh.chat(alias, ASK)


def _stream(mesh, alias):
    with mesh.stream(alias, ASK) as stream:
        list(stream)
    return stream


@pytest.mark.parametrize("ask", [_chat, _stream])
@pytest.mark.parametrize(
    ("failing", "until_s"), [("first?status=500&times=1", 1), ("first?status=429&retry_after=7&times=1", 7)]
)
def test_the_next_call_goes_to_the_other_target_at_once_and_the_first_comes_back(
    make_world, clock, ask, failing, until_s
):
    world = make_world()
    name, _, script = failing.partition("?")
    failing = f"{name}?{script}&of={ask.__name__}"  # the stand-in plays a name's script once
    alias, mesh = world.alias(models=(failing, "second")), world.mesh()

    for later in (0.0, until_s - 0.01, 0.02):
        clock.seconds += later
        ask(mesh, alias)

    assert mesh.flush(10)
    world.collect()
    tried = world.rows("e.request_model, e.attempt, e.outcome")
    asked = [(row["request_model"].partition("?")[0], row["attempt"], row["outcome"]) for row in tried]
    assert asked == [
        ("first", 1, "error"),
        ("second", 2, "ok"),  # the call that failed
        ("second", 1, "ok"),  # cooled: not asked, though it would answer by now
        ("first", 1, "ok"),
    ]
