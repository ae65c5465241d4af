"""The values of one call, each made from the one before and never changed after.

Plain slots dataclasses: a frozen one costs 3.5 times as much to build, and these live once. Treat
them as frozen. Wall-clock times are microseconds since the epoch; ``*_ns`` are monotonic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from mesh_plugins.core.measure import PayloadSize
from mesh_store.model.errors import ProviderError
from mesh_store.model.facts import Fact, FactOutcome, Settlement
from mesh_store.model.limits import Charge, Decision
from mesh_store.model.limits import Reservation as ReservationRecord
from mesh_store.model.sealing import KeyHolder
from mesh_store.model.snapshot import Alias, KeyEntry, LimitRule, Operation, Provider, Snapshot, Target
from mesh_store.model.usage import Usage

#: What usage would cost on one target at one moment, in pico-USD; None where nobody knows.
Quote = Callable[[Usage], int | None]


@dataclass(slots=True)
class CallRequest:
    """What a caller asked for, before anything was decided.

    Attributes:
        id: UUIDv7 of the call; its attempts share it.
        operation: ``chat``, ``embeddings``, ….
        alias: the model name as the caller wrote it, without a host's prefix.
        payload: the request in OpenAI's shape, without ``model`` and ``stream``; never changed.
        principal: the caller's key, already found good.
        holder: the same key as what it opens, or None where nothing is to be opened.
        host: the door it came through: ``direct``, ``litellm``, ``langchain``, ….
        stream: True when the caller wants chunks.
        max_tokens: the caller's cap on generated tokens, or None.
        timeout_us: the caller's total deadline, or None for the alias's.
        max_wait_us: how long the caller is willing to wait for a limit to have room.
        tags, session, end_user: the caller's own labels, for facts; never identity.
        trace_id, span_id: W3C hex ids of the caller's span.
        size: how much is sent, for estimates.
    """

    id: str
    operation: Operation
    alias: str
    payload: Mapping[str, Any]
    principal: KeyEntry
    size: PayloadSize = field(default_factory=PayloadSize)
    host: str = "direct"
    stream: bool = False
    max_tokens: int | None = None
    timeout_us: int | None = None
    max_wait_us: int = 0
    tags: dict[str, str] = field(default_factory=dict)
    session: str | None = None
    end_user: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    holder: KeyHolder | None = field(default=None, repr=False)


@dataclass(slots=True)
class Plan:
    """What will be done, decided purely from one snapshot.

    Attributes:
        request: what was asked.
        snapshot: the configuration it was decided under.
        alias: what the name meant.
        targets: what to try, in order.
        estimate: tokens to reserve: the most any target may take.
        estimate_pico_usd: money to reserve, or None when no target has a price.
        rules: the limits that bind the call, one per charge.
        charges: what to reserve: of limits on the caller the most any target may take, of limits on a
            provider or target what the first target takes; the others' are asked about with amount 0.
        needs: for each target what it takes, by the limit's id.
        timeout_us: the total deadline that holds.
    """

    request: CallRequest
    snapshot: Snapshot
    alias: Alias
    targets: tuple[Target, ...]
    estimate: Usage
    estimate_pico_usd: int | None
    rules: tuple[LimitRule, ...]
    charges: tuple[Charge, ...]
    needs: tuple[Mapping[str, Charge], ...]
    timeout_us: int


def is_of_target(rule: LimitRule) -> bool:
    """Tell whether a limit binds attempts at a provider or target, not the whole call."""
    return rule.subject.provider is not None or rule.subject.target is not None


def takes_budget(charges: Sequence[Charge]) -> bool:
    """Tell whether charges hold something that nothing but a settlement gives back."""
    return "window" in [charge.limit.kind for charge in charges]


@dataclass(slots=True)
class Reservation:
    """A plan whose charges were granted.

    Attributes:
        plan: the plan.
        decision: the limiter's answer; None when no limit binds the call.
        record: what the settlement trues up; None when no limit binds the call.
        lost_id: id of the fact that is written if this process dies before the call ends.
        started_ns: monotonic time of the grant; the total deadline counts from here.
        extensions: what was granted on top for a fallback; see `mesh_plugins.core.extending`.
    """

    plan: Plan
    decision: Decision | None
    record: ReservationRecord | None
    lost_id: str
    started_ns: int
    extensions: list[ReservationRecord] = field(default_factory=list)


@dataclass(slots=True)
class ProviderCall:
    """One attempt, ready for a sender.

    Attributes:
        request: what was asked.
        provider, target: whom to ask; the address comes from here and nowhere else.
        secret: the credential, read just before it is sent; a map for vendors that want several values.
        payload: the body to send in OpenAI's shape: parameters merged, ``model`` set.
        stream: True for chunks.
        timeout_s: what is left of the total deadline.
        attempt: from 1.
    """

    request: CallRequest
    provider: Provider
    target: Target
    secret: str | dict[str, str] | None = field(repr=False)
    payload: dict[str, Any]
    stream: bool
    timeout_s: float
    attempt: int

    def __reduce__(self) -> NoReturn:
        raise TypeError("a call holds its provider's secret and cannot be pickled")


@dataclass(slots=True)
class ProviderReply:
    """A complete reply.

    Attributes:
        body: what the caller gets, in the host's own type.
        usage: what the provider said, normalised; None when it said nothing believable.
        finish_reason, response_model, response_id: the provider's words, or None.
        output_chars: characters generated, for an estimate where usage is None.
        begun: what the provider said of the input before the end, for the same.
        flags: oddities for the fact, such as ``usage_suspect``.
    """

    body: Any
    usage: Usage | None = None
    finish_reason: str | None = None
    response_model: str | None = None
    response_id: str | None = None
    output_chars: int = 0
    flags: tuple[str, ...] = ()
    begun: Usage | None = None


@dataclass(slots=True)
class Attempt:
    """How one attempt ended.

    Attributes:
        call: what was sent.
        started_at_us: wall clock of the start.
        duration_us: until it ended.
        ttft_us: until the first chunk of a stream, or None.
        outcome: how it ended.
        usage: tokens, ours when the provider gave none (``estimated``).
        reply: what is known of the reply, without its body; None when there was none.
        error: what went wrong, or None.
        sent: False when the call ended before this attempt went out.
    """

    call: ProviderCall
    started_at_us: int
    duration_us: int
    ttft_us: int | None
    outcome: FactOutcome
    usage: Usage
    reply: ProviderReply | None = None
    error: ProviderError | None = None
    sent: bool = True


@dataclass(slots=True)
class Outcome:
    """How a call ended: every attempt, the last one deciding."""

    reservation: Reservation
    attempts: tuple[Attempt, ...]

    @property
    def last(self) -> Attempt:
        """The attempt that ended the call."""
        return self.attempts[-1]


@dataclass(slots=True)
class Receipt:
    """What a call took.

    Attributes:
        outcome: how it ended.
        usage: tokens of all attempts together.
        cost_pico_usd: cost of all attempts together; None when any billed attempt has no price.
        fact: the last attempt's fact, as written.
        settlement: what the reservation really took; None when no limit bound the call.
    """

    outcome: Outcome
    usage: Usage
    cost_pico_usd: int | None
    fact: Fact
    settlement: Settlement | None
