"""Moments as they are written on a command line: a duration back from now, a date or a time."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

Since = Annotated[
    str | None,
    typer.Option("--since", metavar="WHEN", help="A duration such as 24h, or a date such as 2026-01-31."),
]
Until = Annotated[
    str | None,
    typer.Option("--until", metavar="WHEN", help="The first moment that no longer counts; written likewise."),
]


def moment(text: str | None, field: str = "since") -> datetime | None:
    """Return the moment that ``24h`` (ago), a date or a time means; without a zone it is UTC.

    Raises:
        Rejected: it can be read as neither.
    """
    from mesh_store.model.errors import Rejected
    from mesh_store.model.limit_text import parse_period_us

    if text is None:
        return None
    with suppress(ValueError, OverflowError):  # no duration: then it is a date, or refused below
        return datetime.now(UTC) - timedelta(microseconds=parse_period_us(text))
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Rejected(f"{text!r} is neither a duration such as 24h nor a date", field=field) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
