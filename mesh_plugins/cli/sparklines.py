"""Sparklines: how a row's calls went through time, in one word of block characters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mesh_store.postgres import Database

#: Characters of a line at most.
WIDTH = 30
_BLOCKS = "▁▂▃▄▅▆▇█"
#: Spans are drawn from the coarsest sums that still fill a line, minutes where there are none.
_GRAINS = {"day": timedelta(days=1), "hour": timedelta(hours=1), "minute": timedelta(minutes=1)}


def sparkline(counts: Sequence[int]) -> str:
    """Draw counts; nothing is a space, the highest a full block."""
    highest = max(counts, default=0)
    return "".join(
        " " if not count else _BLOCKS[max(0, (count * len(_BLOCKS) + highest - 1) // highest - 1)]
        for count in counts
    )


async def with_sparklines(
    database: Database,
    rows: Sequence[dict[str, Any]],
    by: Sequence[Any],
    span: tuple[datetime | None, datetime | None],
    team: str | None,
) -> list[dict[str, Any]]:
    """Return the rows of a report with ``trend`` added."""
    from mesh_store.postgres.usage import usage_report

    until = span[1] or datetime.now(UTC)
    grain: Any = "day" if span[0] is None else _grain(until - span[0])
    kept = [name for name in by if name not in _GRAINS]
    timed = await usage_report(database, [*kept, grain], *span, team=team)
    begins = span[0] or min((row[grain] for row in timed), default=until)
    step = max((until - begins) / WIDTH, _GRAINS[grain])
    # A sum belongs to the character in which it begins.
    size = max(1, min(WIDTH, -(-(until - begins) // step)))
    lines: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * size)
    for row in timed:
        place = min(size - 1, max(0, int((row[grain] - begins) / step)))
        lines[tuple(row[name] for name in kept)][place] += row["calls"]
    return [row | {"trend": sparkline(lines[tuple(row[name] for name in kept)])} for row in rows]


def _grain(span: timedelta) -> str:
    return next((grain for grain, length in _GRAINS.items() if length * WIDTH <= span), "minute")
