"""A process that forks after `install`: its children are governed, tell the truth, and wait for nobody."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from typing import Any

import pytest

from mesh_plugins.testing.memory import MemoryMesh
from mesh_plugins.testing.provider import StandInProvider
from tests.ledger import children, ledger

#: What `children.played` leaves, in order.
PLAYED = ["ok", "ok", "ok", "ok", "denied"]
#: Seconds a child may take on a busy machine; it is ended then.
PATIENCE_S = 100


@pytest.fixture
def mesh(litellm: Any, provider: StandInProvider) -> Iterator[MemoryMesh]:
    from mesh_plugins.hosts.litellm import install, uninstall

    mesh = ledger(provider)
    install(mesh)  # type: ignore[arg-type]
    yield mesh
    uninstall()


def _heard(
    context: Any, target: Callable[..., None], *arguments: Any, children: int = 1
) -> list[list[str] | None]:
    """Start processes at once; return what each told, None for one that did not in time."""
    started: list[tuple[BaseProcess, Any]] = []
    for _ in range(children):
        mine, theirs = context.Pipe(duplex=False)
        child = context.Process(target=target, args=(*arguments, theirs))
        child.start()
        started.append((child, mine))
    told = [mine.recv() if mine.poll(PATIENCE_S) else None for _, mine in started]
    for child, _ in started:
        child.join(10)
        if child.is_alive():
            child.kill()
            child.join()
    return told


def test_a_child_forked_after_calls_is_governed(mesh: MemoryMesh, provider: StandInProvider) -> None:
    assert children.played(mesh) == PLAYED

    told = _heard(multiprocessing.get_context("fork"), children.told, mesh)

    assert told == [PLAYED]
    assert provider.count == 8
    assert [fact.outcome for fact in mesh.facts] == PLAYED


def test_workers_forked_before_the_first_call_are_governed(
    mesh: MemoryMesh, provider: StandInProvider
) -> None:
    told = _heard(multiprocessing.get_context("fork"), children.told, mesh, children=3)

    assert told == [PLAYED] * 3
    assert provider.count == 12
    assert children.played(mesh) == PLAYED


def test_a_fork_in_the_middle_of_a_stream_leaves_it_to_the_parent(
    mesh: MemoryMesh, provider: StandInProvider, litellm: Any, messages: Any
) -> None:
    stream = litellm.completion("mesh/fast", messages, stream=True, max_tokens=50)
    next(stream)

    told = _heard(multiprocessing.get_context("fork"), children.told, mesh)
    rest = list(stream)

    assert told == [PLAYED]
    assert rest[-1].choices[0].finish_reason == "stop"
    assert [fact.outcome for fact in mesh.facts] == ["ok"]
    assert provider.count == 5


def _asked(alias: str, theirs: Any) -> None:
    import litellm

    litellm.completion(f"mesh/{alias}", [{"role": "user", "content": "hello"}])
    theirs.send(["asked"])


@pytest.mark.parametrize("alias", ["fast", "claude"])
def test_a_child_uses_no_connection_of_its_parents(
    alias: str, mesh: MemoryMesh, provider: StandInProvider, litellm: Any, messages: Any
) -> None:
    litellm.completion(f"mesh/{alias}", messages)
    before = provider.connections

    assert _heard(multiprocessing.get_context("fork"), _asked, alias) == [["asked"]]
    assert provider.connections == before + 1
    litellm.completion(f"mesh/{alias}", messages)
    assert provider.connections == before + 1


def test_a_bare_fork_is_governed_too(mesh: MemoryMesh, provider: StandInProvider) -> None:
    children.played(mesh)
    mine, theirs = multiprocessing.Pipe(duplex=False)

    child = os.fork()
    if child == 0:
        try:
            children.told(mesh, theirs)
        finally:
            os._exit(0)
    told = mine.recv() if mine.poll(PATIENCE_S) else os.kill(child, 9)
    os.waitpid(child, 0)

    assert told == PLAYED
    assert provider.count == 8


@pytest.mark.timeout(240)
def test_a_spawned_child_installs_for_itself(litellm: Any) -> None:
    told = _heard(multiprocessing.get_context("spawn"), children.told_from_scratch)

    assert told == [PLAYED]
