"""Identifiers: UUIDv7 minted where the thing is made, and names people choose.

Ids are opaque and safe in Redis keys, metric labels and file names; names never go there.
"""

from __future__ import annotations

import os
import re
import time

import uuid_utils

from mesh_store.model.errors import ConfigError

#: What a team, provider or alias may be called; refused rather than normalised.
NAME = re.compile(r"[a-z0-9][a-z0-9._/-]{0,127}", re.ASCII)
#: An alias may also be a pattern that catches names; see `mesh_store.model.patterns`.
PATTERN_NAME = re.compile(r"[a-z0-9][a-z0-9._/-]{0,125}/[*]", re.ASCII)
#: A user may also be an e-mail address.
USER_NAME = re.compile(r"[a-z0-9][a-z0-9._/@+-]{0,127}", re.ASCII)

#: A forked child would repeat its parent's random bits; an id that repeats loses a billing row.
if hasattr(os, "register_at_fork"):  # pragma: no branch - everywhere but Windows
    os.register_at_fork(after_in_child=uuid_utils.reseed_rng)


def new_id() -> str:
    """Return a fresh UUIDv7 in canonical text: sortable by time, unique across forks and machines."""
    return str(uuid_utils.uuid7())


def now_us() -> int:
    """Return this machine's wall clock in microseconds since the epoch."""
    return time.time_ns() // 1_000


def checked_name(kind: str, name: object) -> str:
    """Return ``name`` when it may be used for a ``kind`` of thing (``team``, ``user``, ``alias``, …).

    Raises:
        ConfigError: says which character or length is wrong.
    """
    if not isinstance(name, str):
        raise ConfigError(f"{kind} name must be text, not {type(name).__name__}")
    if kind == "alias" and PATTERN_NAME.fullmatch(name):
        return name
    pattern, also = (USER_NAME, ". _ / @ + -") if kind == "user" else (NAME, ". _ / -")
    if pattern.fullmatch(name):
        return name
    shown = name if len(name) <= 40 else name[:40] + "…"
    if not name:
        reason = "it is empty"
    elif len(name) > 128:
        reason = f"it has {len(name)} characters, at most 128 are allowed"
    elif kind == "alias" and "*" in name and pattern.fullmatch(name.replace("*", "-")):
        reason = "a '*' catches names as the last character, after a '/': 'openai/*'"
    elif pattern.fullmatch(name.lower()):
        reason = f"use lower case: {name.lower()!r}"
    else:
        wrong = next((c for c in name if not pattern.fullmatch("a" + c)), name[0])
        reason = f"{wrong!r} is not allowed there (start with a-z or 0-9, then also {also})"
    raise ConfigError(f"{kind} name {shown!r} is not usable: {reason}")
