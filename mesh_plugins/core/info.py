"""What a caller is told about its call, beside the reply: ``reply.mesh``."""

from __future__ import annotations

from decimal import Decimal

from mesh_plugins.core.call import Receipt
from mesh_store.model.money import usd
from mesh_store.model.snapshot import LimitRule
from mesh_store.model.usage import Usage

_TOLD = ("call_id", "target", "cost", "usage", "attempts", "revision", "remaining", "notice")


class CallInfo:
    """How a governed call went. Worked out when it is asked for, since most calls' is not.

    Attributes:
        call_id: UUIDv7 of the call; its facts carry it.
        usage: tokens of all attempts together.
        attempts: how many attempts it took.
        revision: the configuration it was planned under.
        notice: what the operator says about this alias (it is deprecated, …), or None.
    """

    __slots__ = (
        "_answered",
        "_cost_pico_usd",
        "_left",
        "_rules",
        "attempts",
        "call_id",
        "notice",
        "revision",
        "usage",
    )

    call_id: str
    usage: Usage
    attempts: int
    revision: int
    notice: str | None
    _answered: tuple[str, str]
    _cost_pico_usd: int | None
    _rules: tuple[LimitRule, ...]
    _left: tuple[int, ...]

    @property
    def target(self) -> str:
        """Who answered, as ``provider/model``."""
        return "/".join(self._answered)

    @property
    def cost(self) -> Decimal | None:
        """USD of all attempts together, or None when a model has no price."""
        return None if self._cost_pico_usd is None else usd(self._cost_pico_usd)

    @property
    def remaining(self) -> dict[str, int | Decimal]:
        """Units left of each limit when the call was granted, by ``"subject: limit"``; USD of budgets."""
        return {
            f"{rule.label}: {rule.text}": usd(left) if rule.dimension == "usd" else left
            for rule, left in zip(self._rules, self._left, strict=False)
        }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CallInfo):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _TOLD)

    def __hash__(self) -> int:
        return hash(self.call_id)

    def __repr__(self) -> str:
        return f"CallInfo({', '.join(f'{name}={getattr(self, name)!r}' for name in _TOLD)})"


def call_info(receipt: Receipt) -> CallInfo:
    """Return what the caller is told of a call that ended with ``receipt``.

    It holds on to nothing of the call that could be large: no payload, no reply.
    """
    outcome = receipt.outcome
    plan, decision = outcome.reservation.plan, outcome.reservation.decision
    call = outcome.attempts[-1].call
    info = CallInfo()
    info.call_id = plan.request.id
    info.usage = receipt.usage
    info.attempts = len(outcome.attempts)
    info.revision = plan.snapshot.revision
    info.notice = plan.alias.deprecated
    info._answered = (call.provider.name, call.target.model)
    info._cost_pico_usd = receipt.cost_pico_usd
    info._rules, info._left = plan.rules, decision.remaining if decision else ()
    return info
