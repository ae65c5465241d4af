"""Who may use an alias: its team by grant, its key by the key's own list."""

from __future__ import annotations

from mesh_plugins.core.call import CallRequest
from mesh_plugins.core.planned import foreseen
from mesh_plugins.core.words import fit
from mesh_plugins.markers import hookimpl
from mesh_store.model.errors import AccessDenied
from mesh_store.model.patterns import covers, is_pattern
from mesh_store.model.snapshot import Alias, Snapshot


class Access:
    """Refuses what the configuration does not grant."""

    @foreseen
    @hookimpl(trylast=True)
    def mesh_authorize(self, request: CallRequest, alias: Alias, snapshot: Snapshot) -> None:
        """Refuse a team without a grant, a key that does not list the alias, and a wrong operation."""
        principal = request.principal
        team = snapshot.team(principal.team)
        if team is None:
            raise AccessDenied(
                f"the team of key {principal.id!r} is archived; ask its operator for a new key"
            )
        if alias.grants is not None and team.id not in alias.grants:
            raise AccessDenied(
                f"team {team.name!r} may not use alias {alias.name!r}; "
                "an operator can grant it with 'mesh alias grant'"
            )
        allowed, named = principal.aliases, request.alias if is_pattern(alias.name) else alias.name
        if allowed is not None and not any(covers(each, named) for each in allowed):
            only = ", ".join(sorted(allowed)) or "none"
            raise AccessDenied(f"key {principal.id!r} may not use alias {fit(named)!r}, only: {only}")
        if request.operation not in alias.operations:
            raise AccessDenied(
                f"alias {alias.name!r} is for {', '.join(alias.operations)}, not for {request.operation}"
            )
