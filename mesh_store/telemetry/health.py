"""How telemetry does in this process, in numbers."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Literal

import msgspec

from mesh_store.model.ids import now_us
from mesh_store.telemetry import records
from mesh_store.telemetry.pipeline import Pipeline
from mesh_store.telemetry.ring import Ring


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How telemetry does in this process.

    Attributes:
        mode: ``file`` survives the process; ``memory`` does not.
        reason: why it is only memory, or None.
        emitted: records the ring took.
        dropped: records for which it had no room.
        dropped_facts: facts among them.
        dropped_pico_usd: what the calls of those facts cost.
        dropped_settlements: settlements for which even the reserved part had none.
        failed: records that could not be encoded.
        ring_bytes: size of the ring.
        used_bytes: how much of it is taken.
        oldest_age_s: seconds since the oldest call whose record is not committed began, or 0.0.
        open_intents: calls running, as far as the shipper has read.
        shipped: facts put into the stream, repeats included.
        resends: how often a part was sent again.
        unconfirmed: facts that only the stream held when its server forgot it.
        damaged: stretches of the ring that could not be read.
        settlements: settlements and cancels that were answered.
        settlements_refused: those that never can be.
        send_errors: how often Redis could not be used.
        last_error: the newest of them, or None.
        held_back: True while facts wait because the server's memory is short.
    """

    mode: Literal["file", "memory"]
    reason: str | None
    emitted: int
    dropped: int
    dropped_facts: int
    dropped_pico_usd: int
    dropped_settlements: int
    failed: int
    ring_bytes: int
    used_bytes: int
    oldest_age_s: float
    open_intents: int
    shipped: int
    resends: int
    unconfirmed: int
    damaged: int
    settlements: int
    settlements_refused: int
    send_errors: int
    last_error: str | None
    held_back: bool


def health_of(pipeline: Pipeline, failed: int) -> Health:
    """Read the counters of a pipeline."""
    ring, delivery, counts = pipeline.file.ring, pipeline.delivery, pipeline.writer.counts
    return Health(
        mode="memory" if pipeline.file.path is None else "file",
        reason=pipeline.file.reason,
        emitted=counts.emitted,
        dropped=counts.dropped,
        dropped_facts=counts.dropped_facts,
        dropped_pico_usd=counts.dropped_pico_usd,
        dropped_settlements=counts.dropped_settlements,
        failed=failed,
        ring_bytes=ring.capacity,
        used_bytes=ring.head - ring.tail,
        oldest_age_s=_age_of_oldest(ring),
        open_intents=delivery.open_intents,
        shipped=delivery.facts,
        resends=delivery.resends,
        unconfirmed=delivery.yielded.unconfirmed,
        damaged=delivery.damaged,
        settlements=delivery.settlements.made,
        settlements_refused=delivery.settlements.refused,
        send_errors=pipeline.shipper.errors,
        last_error=pipeline.shipper.last_error,
        held_back=pipeline.watch.full,
    )


def _age_of_oldest(ring: Ring) -> float:
    for frame in ring.frames(ring.tail, ring.head):
        fact, lost = (None, None) if frame.payload is None else records.facts_within(frame.payload)
        if encoded := fact or lost:
            with contextlib.suppress(msgspec.MsgspecError):  # a plugin's doing; the collector puts it aside
                return max(0.0, (now_us() - records.decode_fact(encoded).started_at_us) / 1e6)
    return 0.0
