"""Names of the keys that hold quotas, and which of them one atomic call may touch.

========================================  =====================================================
``{tag}:q:<limit id>``                    a limit's state (callers choose it; the tag is a team
                                          id, or the id of its subject where it spans teams)
``{tag}:q:<limit id>:<who, hashed>``      that of one end user or tag, where each has its own
``{tag}:q:<limit id>:distinct``           who they were today
``{tag}:r:<reservation id>``              a reservation record, beside the limits it charged
``<limit key>:w:<start>``                 one calendar window of a budget, start in seconds
``{tag}:tracked``                         since when budgets under this tag were never lost
========================================  =====================================================

Ids are opaque: names of people, teams and models never appear in a key.
"""

from __future__ import annotations


def hash_tag(key: str) -> str:
    """Return the part of a key that decides its cluster slot, as Redis Cluster reads it."""
    opening = key.find("{")
    if opening >= 0:
        closing = key.find("}", opening + 1)
        if closing > opening + 1:
            return key[opening + 1 : closing]
    return key


def record_key(tag: str, reservation_id: str) -> str:
    """Name the record of a reservation under one tag."""
    return f"{{{tag}}}:r:{reservation_id}"


def window_key(key: str, start_us: int) -> str:
    """Name one calendar window of a budget."""
    return f"{key}:w:{start_us // 1_000_000}"


def tracked_key(tag: str) -> str:
    """Name the marker that says since when budgets under a tag were never lost."""
    return f"{{{tag}}}:tracked"
