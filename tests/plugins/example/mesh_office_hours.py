"""Interns may ask until six, and what they asked is labelled."""

from __future__ import annotations

from datetime import datetime

import msgspec

from mesh_plugins import AccessDenied, hookimpl
from mesh_plugins.core.call import CallRequest
from mesh_store.model.facts import Fact

#: The clock; a test sets another.
now = datetime.now


@hookimpl
def mesh_authorize(request: CallRequest) -> None:
    """Refuse interns after office hours."""
    if request.tags.get("role") == "intern" and now().hour >= 18:
        raise AccessDenied(f"alias {request.alias!r} is for office hours: come back tomorrow")


@hookimpl
def mesh_fact(fact: Fact) -> Fact | None:
    """Label what interns asked."""
    if fact.tags.get("role") != "intern":
        return None
    return msgspec.structs.replace(fact, tags={**fact.tags, "supervised": "yes"})
