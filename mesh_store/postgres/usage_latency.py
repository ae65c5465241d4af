"""Percentiles from the histograms of a rollup: powers of two of a millisecond, interpolated within."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, func
from sqlalchemy.sql.selectable import FromClause

#: Buckets of a histogram: 0 counts below 1 ms, k from 2^(k-1) to 2^k ms, the last all above.
BUCKETS = 20
#: What a report tells, by histogram: the name and the share of the calls that were at most as long.
PERCENTILES = {
    "latency": (("latency_p50_ms", 0.5), ("latency_p95_ms", 0.95), ("latency_p99_ms", 0.99)),
    "ttft": (("ttft_p50_ms", 0.5), ("ttft_p95_ms", 0.95)),
}


def percentile(counts: Sequence[int], share: float) -> float | None:
    """Return the milliseconds below which a share of the calls lie, or None without calls.

    Within its bucket, a share is where it were if the calls lay evenly, as Prometheus has it; above the
    last bound, it is that bound.
    """
    total = sum(counts)
    if total == 0:
        return None
    sought, so_far = share * total, 0
    for bucket, count in enumerate(counts):
        if count and so_far + count >= sought:
            low = 0.0 if bucket == 0 else 2.0 ** (bucket - 1)
            high = low if bucket == len(counts) - 1 else 2.0**bucket
            return round(low + (high - low) * (sought - so_far) / count, 3)
        so_far += count
    return None


def sums(source: FromClause) -> list[ColumnElement[Any]]:
    """Return the columns that add histograms up, bucket by bucket."""
    return [
        func.sum(source.c[name][bucket + 1]).label(f"{name}_{bucket}")
        for name in PERCENTILES
        for bucket in range(BUCKETS)
    ]


def take_percentiles(row: dict[str, Any]) -> dict[str, float | None]:
    """Take the columns of `sums` out of a row and return what they tell."""
    found: dict[str, float | None] = {}
    for name, asked in PERCENTILES.items():
        counts = [int(row.pop(f"{name}_{bucket}") or 0) for bucket in range(BUCKETS)]
        found |= {label: percentile(counts, share) for label, share in asked}
    return found
