"""Shares of calls: ``5%`` as people write it, millionths inside."""

from __future__ import annotations

import re
from decimal import Decimal

#: All calls, in the unit of shares.
WHOLE = 1_000_000
_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,4})?) ?%", re.ASCII)


def parse_share(text: str) -> int:
    """Return millionths.

    Raises:
        ValueError: it is no share of more than nothing and at most everything.
    """
    read = _SHARE.fullmatch(text)
    millionths = int(Decimal(read[1]) * 10_000) if read else 0
    if not 0 < millionths <= WHOLE:
        raise ValueError("write a share of the calls such as '5%' or '0.25%', above 0% and at most 100%")
    return millionths


def share_text(millionths: int) -> str:
    """Return a share as people write it; `parse_share` reads it back."""
    return f"{(Decimal(millionths) / 10_000).normalize():f}%"
