"""However a call through litellm ends, by whatever door of litellm: see `tests.ledger`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from mesh_plugins.testing.provider import StandInProvider
from tests.ledger import ENDINGS, audited, calls, ledger


def _chat(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 50}


def _text(text: str) -> dict[str, Any]:
    return {"prompt": text, "max_tokens": 50}


def _responses(text: str) -> dict[str, Any]:
    return {"input": text, "max_output_tokens": 50}


def _embedding(text: str) -> dict[str, Any]:
    return {"input": text}


@dataclass
class Door:
    """One pair of litellm's functions.

    Attributes:
        host: ``litellm`` itself, or a Router.
        name: of the sync one; the other is called ``a`` and that.
        model: what is asked for.
        asking: a question as this function takes it.
    """

    host: Any
    name: str
    model: str
    asking: Callable[[str], dict[str, Any]]

    def call(self, text: str = "one two", deadline_s: float | None = None) -> Any:
        return getattr(self.host, self.name)(**self._arguments(text, deadline_s))

    async def acall(self, text: str = "one two", deadline_s: float | None = None) -> Any:
        return await getattr(self.host, f"a{self.name}")(**self._arguments(text, deadline_s))

    def stream(self, text: str = "one two", deadline_s: float | None = None) -> Any:
        return getattr(self.host, self.name)(stream=True, **self._arguments(text, deadline_s))

    async def astream(self, text: str = "one two", deadline_s: float | None = None) -> Any:
        return await getattr(self.host, f"a{self.name}")(stream=True, **self._arguments(text, deadline_s))

    def _arguments(self, text: str, deadline_s: float | None) -> dict[str, Any]:
        deadline = {} if deadline_s is None else {"timeout": deadline_s}
        return {"model": self.model, **self.asking(text), **deadline}


class CallDoor(Door):
    """A pair of functions that know no streams."""

    def stream(self, text: str = "one two", deadline_s: float | None = None) -> Any:
        return self.call(text, deadline_s)

    async def astream(self, text: str = "one two", deadline_s: float | None = None) -> Any:
        return await self.acall(text, deadline_s)


class LoopDoor(Door):
    """A function of one colour, which carries no ``a`` before its name."""

    async def acall(self, text: str = "one two", deadline_s: float | None = None) -> Any:
        return await self.call(text, deadline_s)

    async def astream(self, text: str = "one two", deadline_s: float | None = None) -> Any:
        return await self.stream(text, deadline_s)


@pytest.fixture(scope="module", autouse=True)
def streaming_responses(litellm: Any) -> None:
    """litellm makes streams up for the Responses API of models it does not know."""
    litellm.register_model({"fast-1": {"litellm_provider": "openai", "supports_native_streaming": True}})


#: Its streams are generators of its own, which nobody can close.
_UNCLOSABLE = {("router", "stream_closed_twice"), ("router", "stream_closed_by_another_thread")}


@pytest.fixture(scope="module")
def router(litellm: Any) -> Iterator[Any]:
    deployment = {"model_name": "group", "litellm_params": {"model": "mesh/fast"}}
    made = litellm.Router(model_list=[deployment], num_retries=0, disable_cooldowns=True)
    yield made
    made.discard()


@pytest.fixture
def doors(request: pytest.FixtureRequest, litellm: Any) -> Callable[[str], Door]:
    makers: dict[str, Callable[[], Door]] = {
        "completion": lambda: Door(litellm, "completion", "mesh/fast", _chat),
        "fast": lambda: Door(litellm, "completion", "mesh/fast", _chat),
        "claude": lambda: Door(litellm, "completion", "mesh/claude", _chat),
        "text": lambda: Door(litellm, "text_completion", "mesh/fast", _text),
        "responses": lambda: Door(litellm, "responses", "mesh/fast", _responses),
        "fast claude": lambda: Door(litellm, "completion", "mesh/claude", _chat),
        "embedding": lambda: CallDoor(litellm, "embedding", "mesh/fast", _embedding),
        "messages": lambda: LoopDoor(litellm, "anthropic_messages", "mesh/claude", _chat),
        "router": lambda: Door(request.getfixturevalue("router"), "completion", "group", _chat),
    }
    return lambda name: makers[name]()


_DOORS = ["completion", "text", "responses", "embedding"]
#: Theirs are the same endings by the same code of ours, so only the full run plays them.
_FURTHER_DOORS = ["fast", "fast claude", "claude", "messages", "router"]


def _plays(door: str, name: str) -> bool:
    play = ENDINGS[name].play
    if door in ("embedding", "messages") and play.__module__ != calls.__name__:
        return False
    if door == "messages":  # litellm needs its proxy's requirements to stream them
        return asyncio.iscoroutinefunction(play)
    return (door, name) not in _UNCLOSABLE


def _played() -> Iterator[Any]:
    for door in (*_DOORS, *_FURTHER_DOORS):
        marks = [pytest.mark.full] if door in _FURTHER_DOORS else []
        yield from (pytest.param(door, name, marks=marks) for name in ENDINGS if _plays(door, name))


@pytest.mark.parametrize(("door", "name"), [*_played()])
async def test_one_fact_nothing_reserved_nothing_hanging(
    name: str, door: str, doors: Callable[[str], Door], litellm: Any, provider: StandInProvider
) -> None:
    from mesh_plugins.hosts.litellm import install, uninstall

    mesh = ledger(provider)
    install(mesh, fast=door.startswith("fast"))  # type: ignore[arg-type]
    try:
        await audited(name, doors(door), mesh, provider)
    finally:
        uninstall()
