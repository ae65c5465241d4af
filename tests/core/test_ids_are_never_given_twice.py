"""An id that repeats loses a billing row: not even a forked child repeats one."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from mesh_store.model.ids import new_id

ROOT = Path(__file__).parents[2]


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


def test_a_forked_child_is_given_new_random_bits_whatever_the_library_does_about_forks():
    """Older releases of uuid-utils leave that to whoever uses them."""
    source = """
        import os, uuid_utils
        seeded = []
        uuid_utils.reseed_rng = lambda: seeded.append(True)
        import mesh_store.model.ids
        child = os.fork()
        if child == 0:
            os._exit(0 if seeded else 1)
        raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(source)], cwd=ROOT, timeout=240)
    assert done.returncode == 0
