"""What kind ``litellm`` needs is imported, for seconds, before anything is reserved or measured."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from mesh_plugins import senders
from mesh_plugins.senders import SenderByKind
from mesh_plugins.testing.canned import CannedSender
from mesh_plugins.testing.memory import MemoryMesh
from mesh_store.model.errors import ConfigError, InvalidKey
from mesh_store.model.snapshot import Alias, Provider, SnapshotDocument, Target, Team

ASK = [{"role": "user", "content": "hello there"}]
#: An import takes longer than any call here may.
IMPORT_S, TIMEOUT_S = 0.4, 0.2


async def _astream(mesh: MemoryMesh, alias: str) -> None:
    async with await mesh.astream(alias, ASK, timeout_s=TIMEOUT_S) as stream:
        assert [chunk async for chunk in stream]


DOORS: dict[str, Callable[[MemoryMesh, str], Any]] = {
    "chat": lambda mesh, alias: mesh.chat(alias, ASK, timeout_s=TIMEOUT_S),
    "achat": lambda mesh, alias: asyncio.run(mesh.achat(alias, ASK, timeout_s=TIMEOUT_S)),
    "stream": lambda mesh, alias: list(mesh.stream(alias, ASK, timeout_s=TIMEOUT_S)),
    "astream": lambda mesh, alias: asyncio.run(_astream(mesh, alias)),
}


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> Callable[[MemoryMesh, str], Any]:
    return DOORS[request.param]


class Imports:
    """Stands for what imports litellm; counts how often, and answers for it."""

    def __init__(self) -> None:
        self.count = 0
        self.vendor = CannedSender()
        self.fails = False

    def __call__(self, provider: str) -> CannedSender:
        self.count += 1
        time.sleep(IMPORT_S)
        if self.fails:
            raise ConfigError(f"no litellm for {provider!r}")
        return self.vendor


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch) -> Imports:
    made = Imports()
    monkeypatch.setattr(senders, "_any_vendor", made)
    return made


@pytest.fixture
def mesh(imports: Imports) -> MemoryMesh:
    """A mesh of three aliases: at a vendor, at us with the vendor to fall back on, and at us alone."""
    vendor = Target(id="t1", provider="vendor", model="m", tier=2)
    ours = Target(id="t2", provider="ours", model="m")
    where = {"any": (vendor,), "both": (ours, vendor), "plain": (ours,)}
    document = SnapshotDocument(
        epoch="test",
        revision=1,
        compiled_at_us=0,
        teams=(Team("team", "team"),),
        providers=(
            Provider(id="vendor", name="vendor", kind="litellm", base_url="http://127.0.0.1:1"),
            Provider(id="ours", name="ours", kind="openai", base_url="http://127.0.0.1:1"),
        ),
        aliases=tuple(
            Alias(id=name, name=name, operations=("chat",), targets=targets)
            for name, targets in where.items()
        ),
    )
    return MemoryMesh(document=document, sender=SenderByKind(CannedSender()))


def test_an_import_longer_than_the_deadline_fails_no_call_and_is_in_no_fact(
    mesh: MemoryMesh, imports: Imports, door: Callable[[MemoryMesh, str], Any]
) -> None:
    door(mesh, "any")
    [sent] = imports.vendor.calls
    assert sent.timeout_s > TIMEOUT_S / 2
    [fact] = mesh.facts
    assert fact.outcome == "ok"
    assert fact.duration_us < IMPORT_S * 1e6 / 2


def test_it_is_imported_once_and_for_whom_it_may_have_to_answer(
    mesh: MemoryMesh, imports: Imports, door: Callable[[MemoryMesh, str], Any]
) -> None:
    door(mesh, "plain")
    assert imports.count == 0
    door(mesh, "both")
    door(mesh, "any")
    assert imports.count == 1


def test_where_it_cannot_be_had_the_attempt_says_so_and_others_do_not_try_again(
    mesh: MemoryMesh, imports: Imports, door: Callable[[MemoryMesh, str], Any]
) -> None:
    imports.fails = True
    with pytest.raises(ConfigError, match="no litellm for 'vendor'"):
        door(mesh, "any")
    for _ in range(3):
        door(mesh, "both")
    assert imports.count == 2


def test_nobody_imports_it_without_a_good_key(mesh: MemoryMesh, imports: Imports) -> None:
    with pytest.raises(InvalidKey):
        mesh.chat("any", ASK, key="mesh_of_nobody")
    assert imports.count == 0
