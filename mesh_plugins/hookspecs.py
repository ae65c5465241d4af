"""The extension points, all of them.

Hooks are synchronous, in memory, and decide; I/O belongs to ports. A plugin implements any of them
with `mesh_plugins.hookimpl` and may take a subset of the arguments. The built-in plugins are
implementations like anybody's, registered first and called last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pluggy

from mesh_plugins.core.call import CallRequest, Quote, Receipt
from mesh_store.model.facts import Fact
from mesh_store.model.limits import Charge
from mesh_store.model.samples import Sample
from mesh_store.model.snapshot import Alias, LimitRule, Snapshot, Target
from mesh_store.model.usage import Usage

hookspec = pluggy.HookspecMarker("mesh")


@hookspec(firstresult=True)
def mesh_resolve(request: CallRequest, snapshot: Snapshot) -> Alias | None:
    """Return what the alias means for this caller, or None to let the next plugin say."""


@hookspec
def mesh_authorize(request: CallRequest, alias: Alias, snapshot: Snapshot) -> None:
    """Raise `AccessDenied` to refuse the call; there is no way to allow what another refuses."""


@hookspec(firstresult=True)
def mesh_order_targets(
    request: CallRequest, targets: Sequence[Target], snapshot: Snapshot
) -> Sequence[Target] | None:
    """Return the targets in the order they shall be tried; only from those given."""


@hookspec(firstresult=True)
def mesh_estimate(request: CallRequest, alias: Alias, target: Target) -> Usage | None:
    """Return the tokens to reserve for this call on this target, before the true ones are known."""


@hookspec
def mesh_charges(
    request: CallRequest, alias: Alias, target: Target, estimate: Usage, snapshot: Snapshot, price: Quote
) -> Sequence[tuple[LimitRule, Charge]] | None:
    """Return every limit this call takes from on this target; the core reserves them all or none.

    ``price(usage)`` is what the plugins' `mesh_price` say such usage would cost there, in pico-USD, or None.
    """


@hookspec(firstresult=True)
def mesh_price(target: Target, usage: Usage, snapshot: Snapshot, at_us: int) -> int | None:
    """Return the cost in pico-USD, or None when this plugin knows no price (never 0 for unknown).

    Asked for the estimate before a call and for the truth after it; ``at_us`` is when the attempt began,
    microseconds since the epoch: prices are those of that moment.
    """


@hookspec
def mesh_fact(receipt: Receipt | None, fact: Fact) -> Fact | None:
    """Return a changed fact to enrich or redact it before it is written, or None to leave it.

    Each plugin is given what the one before returned. ``receipt`` is None for refused calls, for attempts
    that did not end the call, and for the fact (``lost``) that is written down before each attempt and
    holds if the process dies in it. An exception is counted and logged, and the fact goes on.
    """


@hookspec
def mesh_sample(sample: Sample, fact: Fact) -> Sample | None:
    """Return a changed sample to mask what was asked or answered, or None to leave it; on a thread of ours.

    It is redacted already. With both texts empty it is dropped, and so it is when an exception is raised.
    """


@hookspec
def mesh_snapshot_changed(old: Snapshot | None, new: Snapshot) -> None:
    """React to live configuration; on a thread of ours, ``old`` is None the first time."""


@hookspec
def mesh_sinks(settings: Any) -> Sequence[Any] | None:
    """Return further outputs for facts, budget alerts and breaker events."""


@hookspec
def mesh_cli(app: Any) -> None:
    """Add commands to the ``mesh`` command, a ``typer.Typer``."""
