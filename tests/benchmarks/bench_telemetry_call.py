"""A call that ended, as the product's own types hold it, and the fact its own code makes of that."""

from __future__ import annotations

from mesh_plugins.core.call import Attempt, CallRequest, Plan, ProviderCall, ProviderReply, Reservation
from mesh_plugins.core.fact_of import attempt_fact
from mesh_store.model.facts import Fact
from mesh_store.model.ids import new_id, now_us
from mesh_store.model.limits import Charge, Limit
from mesh_store.model.limits import Reservation as Record
from mesh_store.model.snapshot import Alias, KeyEntry, Provider, Snapshot, SnapshotDocument, Target, Team
from mesh_store.model.usage import Usage

LIMITS = [Limit(amount=1000, period_us=60_000_000, burst=burst) for burst in (100, 200, 300, 400)]
RESERVATION = Record(
    new_id(),
    tuple(Charge(f"{{team}}:q:limit{at}", limit, 10) for at, limit in enumerate(LIMITS)),
    now_us(),
    now_us() + 60_000_000,
)
#: What the call took from each limit.
ACTUAL = (1, 955, 955, 955)

_TEAM, _USER = "018f0000-0000-7000-8000-000000000001", "018f0000-0000-7000-8000-000000000002"
_PROVIDER = Provider(id="018f0000-0000-7000-8000-000000000003", name="openai", kind="openai")
_TARGET = Target(id="018f0000-0000-7000-8000-000000000004", provider=_PROVIDER.id, model="gpt-5-mini")
_ALIAS = Alias(id="018f0000-0000-7000-8000-000000000005", name="fast", targets=(_TARGET,))
_DOCUMENT = SnapshotDocument(
    epoch="e",
    revision=77,
    compiled_at_us=1,
    rate_card="2026-01-01",
    teams=(Team(_TEAM, "research"),),
    providers=(_PROVIDER,),
    aliases=(_ALIAS,),
)
_REQUEST = CallRequest(
    "01890000-0000-7000-8000-000000000000",
    "chat",
    "fast",
    {},
    KeyEntry(id="abcdefgh", team=_TEAM, user=_USER),
    session="s1",
)
_PLAN = Plan(
    _REQUEST, Snapshot(_DOCUMENT), _ALIAS, (_TARGET,), Usage(812, 212, estimated=True), 600_000_000,
    (), RESERVATION.charges, ({},), 60_000_000,
)  # fmt: skip
_GRANTED = Reservation(_PLAN, None, RESERVATION, new_id(), 0)
_CALL = ProviderCall(_REQUEST, _PROVIDER, _TARGET, None, {}, stream=False, timeout_s=60.0, attempt=1)
_USED = Usage(812, 143, cache_read_tokens=512)
_REPLY = ProviderReply(None, _USED, "stop", "gpt-5-mini-2026-01-01", "chatcmpl-abc")


def fact() -> Fact:
    """Make a fact as settling a call makes it."""
    ended = Attempt(_CALL, now_us(), 1_200_000, 300_000, "ok", _USED, _REPLY)
    return attempt_fact(_GRANTED, ended, 1, 489_000_000, (955, 489_000_000))
