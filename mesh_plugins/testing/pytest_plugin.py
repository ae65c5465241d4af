"""pytest fixtures for programs that use Mesh, and for plugins of it.

In a ``conftest.py``::

    pytest_plugins = ["mesh_plugins.testing.pytest_plugin"]

then::

    def test_the_sixth_question_is_refused(mesh_memory):
        mesh = mesh_memory(limits=["5 requests/min, burst 5"])
        ...

It is named, not discovered: an entry point would load it into every pytest run of the environment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mesh_plugins.testing.memory import MemoryMesh
    from mesh_plugins.testing.provider import StandInProvider


@pytest.fixture
def mesh_memory() -> Iterator[Callable[..., MemoryMesh]]:
    """Make meshes in memory: ``mesh_memory(limits=["10 requests/min"], plugins=[…], answer="…")``.

    The last one made is the process's own while the test runs, so that code under test which names no
    mesh (``ChatMesh(model="fast")``) finds it.
    """
    from mesh_plugins.shared import set_shared_mesh
    from mesh_plugins.testing.memory import MemoryMesh

    def make(**options: object) -> MemoryMesh:
        mesh = MemoryMesh(**options)  # type: ignore[arg-type]
        set_shared_mesh(mesh)  # type: ignore[arg-type]
        return mesh

    yield make
    set_shared_mesh(None)


@pytest.fixture(scope="session")
def _stand_in_provider() -> Iterator[StandInProvider]:
    from mesh_plugins.testing.provider import StandInProvider

    with StandInProvider() as provider:
        yield provider


@pytest.fixture
def stand_in_provider(_stand_in_provider: StandInProvider) -> StandInProvider:
    """A provider over real HTTP on this machine, behaving, with nothing recorded."""
    _stand_in_provider.clear()
    return _stand_in_provider
