"""An id that repeats loses a billing row: not even a forked child repeats one."""

from __future__ import annotations

import os

from mesh_store.model.ids import new_id


def test_a_forked_childs_ids_are_not_its_parents():
    new_id()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, "\n".join(new_id() for _ in range(200)).encode())
        os._exit(0)
    os.close(writing)
    ours = {new_id() for _ in range(200)}
    with os.fdopen(reading) as said:
        theirs = set(said.read().split())
    os.waitpid(child, 0)
    assert len(theirs) == len(ours) == 200
    assert not _random_bits(ours) & _random_bits(theirs)


def _random_bits(ids: set[str]) -> set[str]:
    """What is left of ids without their millisecond and their version."""
    return {each[19:] for each in ids}
