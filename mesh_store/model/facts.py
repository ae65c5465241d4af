"""Records of what happened: intents, facts and settlements, as the ring and the stream carry them.

Every record is an array on the wire: fields are only ever appended, readers accept fewer (defaults)
and ignore more. A *fact* is one billing record of one attempt. An *intent* stands for a call whose
process may die: it holds the fact and the settlement that will be true if nothing else is heard.
"""

from __future__ import annotations

from operator import attrgetter, sub
from typing import Literal

import msgspec

from mesh_store.model.limits import Charge, Reservation

#: Version of the field list of `Fact`; raised only when a meaning changes, never for an appended field.
FACT_VERSION = 1

_amount = attrgetter("amount")

#: The most slots a lease may hold, lent ones included.
MOST_LEASED = 2_000

FactOutcome = Literal[
    "ok",  # the provider answered completely
    "error",  # the provider failed; `error_type` and `status` say how
    "timeout",  # the provider did not answer in time; it may bill all the same
    "denied",  # refused before any provider was asked; attempt is 0
    "cancelled",  # the caller's task was cancelled or timed out
    "abandoned",  # the caller stopped reading the stream
    "incomplete",  # the stream ended without a finish reason
    "lost",  # the process died between reserve and settle; usage is the estimate
]


class Fact(msgspec.Struct, gc=False, frozen=True, array_like=True):
    """One billing record of one attempt.

    The first fields have no defaults, so that whoever makes many may give them by position: 46 keywords
    take three times as long.

    Attributes:
        version: `FACT_VERSION` of the writer.
        id: UUIDv7, minted once; Postgres drops a second fact of the same id.
        call_id: UUIDv7 of the call; shared by its attempts.
        attempt: from 1; 0 for a call that was refused.
        started_at_us: wall clock of the attempt's start, microseconds since the epoch.
        duration_us: until the last byte, or until it was given up.
        ttft_us: until the first token of a stream, or None.
        outcome: how the attempt ended.
        operation: ``chat``, ``embeddings``, ``responses`` or ``text_completion`` (OTel GenAI names).
        host: which door the call came through: ``direct``, ``litellm``, ``langchain``, ….
        stream: True when the caller asked for a stream; `outcome` then says how reading it ended.
        team_id: the team that pays.
        user_id: the user the key belongs to, or None.
        key_id: the caller's key.
        alias: the name the caller used.
        alias_id: its id.
        revision: the configuration the call was planned under.
        provider_id: the provider account, or None when refused before one was chosen.
        provider: its name.
        request_model: the model that was asked for.
        response_model: the model the provider says it used, or None.
        input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens,
        audio_input_tokens, audio_output_tokens: see `mesh_store.model.usage.Usage`.
        estimated: True when the tokens are ours, not the provider's.
        cost_pico_usd: the cost, or None when the model has no price.
        rate_card: version of the prices used, or None.
        estimate_tokens: tokens that were reserved.
        estimate_pico_usd: money that was reserved, or None.
        finish_reason: the provider's, or None.
        error_type: class of the error, or None.
        status: HTTP status of the error, or None.
        response_id: the provider's id of the reply; never a key of ours.
        session: the caller's session, or None.
        end_user: the caller's own user, or None; bounded.
        tags: the caller's tags; bounded.
        trace_id, span_id: W3C hex ids of the caller's span, or None.
        reservation_id: what the call had reserved, or None.
        flags: oddities worth a look: ``usage_suspect``, ``unenforced``, ``shadow_denied``, ….
        cache_write_1h_tokens, service, image_input_tokens, image_output_tokens: see `Usage` too.
        settled_tokens: tokens of all attempts together, in the fact that ends the call; else None.
        settled_pico_usd: their cost, likewise; None also when one of them has no price.
    """

    version: int
    id: str
    call_id: str
    attempt: int
    started_at_us: int
    duration_us: int
    ttft_us: int | None
    outcome: FactOutcome
    operation: str
    host: str
    stream: bool
    team_id: str
    user_id: str | None
    key_id: str
    alias: str
    alias_id: str | None
    revision: int
    provider_id: str | None = None
    provider: str | None = None
    request_model: str | None = None
    response_model: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    estimated: bool = False
    cost_pico_usd: int | None = None
    rate_card: str | None = None
    estimate_tokens: int = 0
    estimate_pico_usd: int | None = None
    finish_reason: str | None = None
    error_type: str | None = None
    status: int | None = None
    response_id: str | None = None
    session: str | None = None
    end_user: str | None = None
    tags: dict[str, str] = {}
    trace_id: str | None = None
    span_id: str | None = None
    reservation_id: str | None = None
    flags: tuple[str, ...] = ()
    cache_write_1h_tokens: int = 0
    service: str | None = None
    image_input_tokens: int = 0
    image_output_tokens: int = 0
    settled_tokens: int | None = None
    settled_pico_usd: int | None = None


class Settlement(msgspec.Struct, gc=False, frozen=True, array_like=True):
    """What a reservation really took, one amount per charge, in the order of the charges."""

    reservation: Reservation
    actual: tuple[int, ...]

    @property
    def deltas(self) -> tuple[int, ...]:
        """Signed corrections, ``actual - reserved``; what `Limiter.settle` takes."""
        actual, charges = self.actual, self.reservation.charges
        if len(actual) != len(charges):
            raise ValueError(f"{len(actual)} amounts settle {len(charges)} charges")
        return tuple(map(sub, actual, map(_amount, charges)))


class Intent(msgspec.Struct, gc=False, frozen=True, array_like=True, tag="i"):
    """Written after the grant and before the provider is asked.

    If the process dies before a `Done` with the same reservation, the drain writes ``lost`` and
    settles at the estimate (``actual`` = what was reserved). ``reservation`` is None when no limit
    applied to the call. ``also`` are its extensions: their slots are kept while the call runs, and what
    they took stays taken.
    """

    lost: Fact
    reservation: Reservation | None
    deadline_us: int
    also: tuple[Reservation, ...] = ()


class Done(msgspec.Struct, gc=False, frozen=True, array_like=True, tag="d"):
    """An attempt ended: its fact, and with the last attempt of a call its settlement.

    ``closes`` is the id of the intent's ``lost`` fact when this record ends the call; the drain then
    forgets that intent. Of a refused call it is the id that was `Asked` under.
    """

    fact: Fact
    settlement: Settlement | None = None
    closes: str | None = None


class Cancel(msgspec.Struct, gc=False, frozen=True, array_like=True, tag="c"):
    """A reserve whose answer was never read: give it back if it was granted."""

    reservation_id: str
    charges: tuple[Charge, ...]


class Asked(msgspec.Struct, gc=False, frozen=True, array_like=True, tag="a"):
    """Charges of a budget are about to be asked for; written before, so that a crash leaves none behind.

    What the server grants stands in the budget until somebody settles it, and until its `Intent` is written
    nobody else knows that it does. An intent, a settlement, a cancel or a refusal of the same id follows;
    where none does, nothing was sent, and it is cancelled when the ring is drained.

    Attributes:
        reservation_id: the id that is asked under.
        charges: all charges of it, in their order.
        instead: the id of an earlier question of the same call that was refused, or empty.
    """

    reservation_id: str
    charges: tuple[Charge, ...]
    instead: str = ""


class LeaseAsked(msgspec.Struct, frozen=True, array_like=True, tag="l"):
    """A slice of limits is about to be asked for; written before, so that a crash leaves none behind.

    What no `LeaseEnded` or `Cancel` of its id follows is closed when the ring is drained, after the
    calls that drew from it.
    """

    lease: Reservation


class LeaseEnded(msgspec.Struct, frozen=True, array_like=True, tag="e"):
    """A slice is no longer spent: what is left of it, and who still runs on it.

    Attributes:
        lease: the slice as it was granted.
        left: per charge what was not spent, what calls gave back included; negative when they took more
            than the slice held; of slots how many the lease holds, lent ones included.
        refunded: per charge how much calls that ended had reserved beyond what they took.
        running: per call its reservation's id, how long its record is to be kept (microseconds), and
            what it drew, per charge.
    """

    lease: Reservation
    left: tuple[int, ...]
    refunded: tuple[int, ...]
    running: tuple[tuple[str, int, tuple[int, ...]], ...] = ()

    @classmethod
    def abandoned(cls, lease: Reservation) -> LeaseEnded:
        """Return the end of a slice nobody can tell the rest of: nothing of its rates comes back."""
        held = tuple(MOST_LEASED if charge.limit.kind == "slots" else 0 for charge in lease.charges)
        return cls(lease, held, (0,) * len(held))


class SlotsMoved(msgspec.Struct, frozen=True, array_like=True, tag="m"):
    """Slots of a call that ended are a lease's now: the next call may have them at once.

    Attributes:
        call: the reservation's id.
        lease: the lease's id.
        charge: the slots.
        first: number of the first of them at the lease.
    """

    call: str
    lease: str
    charge: Charge
    first: int


Record = Intent | Done | Cancel | Asked | LeaseAsked | LeaseEnded | SlotsMoved
