"""A signal's handler may raise between any two steps: what was granted is given back, or settled once."""

from __future__ import annotations

from typing import Any

import pytest

from mesh_plugins.core import drivers


def interrupting(do: Any, *, when: str) -> Any:
    """Do it and be interrupted, once: before it, or after it."""
    left = [KeyboardInterrupt()]

    def interrupted(*args: Any) -> Any:
        if when == "before" and left:
            raise left.pop()
        done = do(*args)
        if when == "after" and left:
            raise left.pop()
        return done

    return interrupted


COLOURS = pytest.mark.parametrize("colour", ["sync", "async"])


async def call(world: Any, colour: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        world.call() if colour == "sync" else await world.acall()


@COLOURS
async def test_before_its_intent_is_written_the_charges_are_given_back(
    world: Any, monkeypatch: pytest.MonkeyPatch, colour: str
) -> None:
    monkeypatch.setattr(world.recorder, "intent", interrupting(world.recorder.intent, when="before"))
    await call(world, colour)
    assert len(world.limiter.asked) == 1
    assert len(world.recorder.cancels) == 1
    assert world.recorder.intents == []


@COLOURS
async def test_once_its_intent_is_written_it_is_ended(
    world: Any, monkeypatch: pytest.MonkeyPatch, colour: str
) -> None:
    monkeypatch.setattr(world.recorder, "intent", interrupting(world.recorder.intent, when="after"))
    await call(world, colour)
    [intent], [done] = world.recorder.intents, world.recorder.settlements
    assert (done.fact.outcome, done.closes) == ("cancelled", intent.lost.id)
    assert done.fact.input_tokens == 0, "nothing was sent"


@COLOURS
async def test_between_its_start_and_whoever_is_to_end_it(
    world: Any, monkeypatch: pytest.MonkeyPatch, colour: str
) -> None:
    monkeypatch.setattr(drivers._settling, "__enter__", interrupting(lambda *_: None, when="before"))
    await call(world, colour)
    [intent], [done] = world.recorder.intents, world.recorder.settlements
    assert (done.fact.outcome, done.closes) == ("cancelled", intent.lost.id)
    assert world.recorder.cancels == []


@COLOURS
@pytest.mark.parametrize("when", ["before", "after"])
async def test_while_its_end_is_written(
    world: Any, monkeypatch: pytest.MonkeyPatch, colour: str, when: str
) -> None:
    monkeypatch.setattr(world.recorder, "done", interrupting(world.recorder.done, when=when))
    await call(world, colour)
    facts = world.recorder.facts
    assert {fact.outcome for fact in facts} == {"ok"}, "the provider had answered"
    assert len({fact.id for fact in facts}) == 1, "written twice it is the same, which counts once"
    assert {done.closes for done in world.recorder.settlements} == {world.recorder.intents[0].lost.id}


def test_what_ended_is_not_ended_again_when_it_is_dropped(world: Any) -> None:
    world.call()
    assert len(world.recorder.facts) == 1
