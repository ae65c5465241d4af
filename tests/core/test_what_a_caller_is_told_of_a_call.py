"""``reply.mesh`` says how a call went, reads like a value, and holds on to nothing large."""

from __future__ import annotations

import copy
import pickle
from decimal import Decimal

import pytest

from mesh_plugins.core.info import CallInfo
from mesh_plugins.testing.memory import MemoryMesh

ASK = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def told() -> CallInfo:
    mesh = MemoryMesh(limits=["$2/day", "10 requests/min"])
    info: CallInfo = mesh.chat("fast", ASK, max_tokens=8).mesh
    return info


def test_it_names_who_answered_and_what_was_left_when_it_was_granted(told: CallInfo) -> None:
    assert told.target.count("/") == 1
    assert told.attempts == 1
    assert told.cost is None  # the model in memory has no price
    left = {name.partition(": ")[2]: value for name, value in told.remaining.items()}
    assert left["10 requests/min"] == 9
    assert left["$2/day"] == Decimal(2)


def test_it_is_equal_to_its_copies_and_shows_everything(told: CallInfo) -> None:
    for twin in (copy.deepcopy(told), pickle.loads(pickle.dumps(told))):
        assert twin == told
        assert hash(twin) == hash(told)
    assert told != object()
    for said in (told.call_id, told.target, str(told.cost), "remaining={"):
        assert said in repr(told)


def test_it_keeps_neither_payload_nor_reply() -> None:
    mesh = MemoryMesh(answer="a very particular answer")
    told = mesh.chat("fast", [{"role": "user", "content": "a very particular question"}]).mesh
    assert b"particular" not in pickle.dumps(told)
