"""What a caller is told about its call, beside the reply: ``reply.mesh``."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from mesh_plugins.core.call import Receipt
from mesh_store.model.money import usd
from mesh_store.model.usage import Usage


@dataclass(frozen=True, slots=True)
class CallInfo:
    """How a governed call went.

    Attributes:
        call_id: UUIDv7 of the call; its facts carry it.
        target: who answered, as ``provider/model``.
        cost: USD of all attempts together, or None when a model has no price.
        usage: tokens of all attempts together.
        attempts: how many attempts it took.
        revision: the configuration it was planned under.
        remaining: units left of each limit when it was granted, by ``"subject: limit"``; USD of budgets.
        notice: what the operator says about this alias (it is deprecated, …), or None.
    """

    call_id: str
    target: str
    cost: Decimal | None
    usage: Usage
    attempts: int
    revision: int
    remaining: dict[str, int | Decimal]
    notice: str | None


def call_info(receipt: Receipt) -> CallInfo:
    """Return what the caller is told of a call that ended with ``receipt``."""
    reservation, last = receipt.outcome.reservation, receipt.outcome.last
    plan, decision = reservation.plan, reservation.decision
    return CallInfo(
        call_id=plan.request.id,
        target=f"{last.call.provider.name}/{last.call.target.model}",
        cost=None if receipt.cost_pico_usd is None else usd(receipt.cost_pico_usd),
        usage=receipt.usage,
        attempts=len(receipt.outcome.attempts),
        revision=plan.snapshot.revision,
        remaining={
            f"{rule.label}: {rule.text}": usd(left) if rule.dimension == "usd" else left
            for rule, left in zip(plan.rules, decision.remaining if decision else (), strict=False)
        },
        notice=plan.alias.deprecated,
    )
