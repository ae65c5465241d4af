"""What an alias means: the team's own of that name, else the global one, else a pattern."""

from __future__ import annotations

from mesh_plugins.core.call import CallRequest
from mesh_plugins.core.planned import foreseen
from mesh_plugins.markers import hookimpl
from mesh_store.model.snapshot import Alias, Snapshot


class Resolving:
    """Looks the alias up in the snapshot."""

    @foreseen
    @hookimpl(trylast=True)
    def mesh_resolve(self, request: CallRequest, snapshot: Snapshot) -> Alias | None:
        """Return the alias the caller's team means, or None when it is unknown."""
        return snapshot.alias(request.alias, request.principal.team)
