"""The mesh a host uses when its caller named none: one a process, made from the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh_store.model.forking import forkable_lock

if TYPE_CHECKING:
    from mesh_plugins.mesh import Mesh

_lock = forkable_lock()
_mesh: Mesh | None = None


def shared_mesh() -> Mesh:
    """Return the process's own `Mesh`, made by `Mesh.from_env` when it is first asked for."""
    global _mesh
    if _mesh is None:
        with _lock:
            if _mesh is None:
                from mesh_plugins.mesh import Mesh

                _mesh = Mesh.from_env()
    return _mesh


def set_shared_mesh(mesh: Mesh | None) -> None:
    """Make ``mesh`` the process's own; None forgets it, without closing it."""
    global _mesh
    with _lock:
        _mesh = mesh


def close_shared_mesh() -> None:
    """Close the process's own mesh, if there is one, and forget it."""
    mesh = _mesh
    set_shared_mesh(None)
    if mesh is not None:
        mesh.close()
