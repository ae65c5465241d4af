"""The Lua scripts: assembled from their files once, called by their digest.

A script is its flags, the shared files it needs, and its own file; Redis has no ``require``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """A script as the server knows it.

    Attributes:
        name: the file it comes from, for messages.
        source: the text, sent only when the server does not know the digest.
        sha: the digest it is called by.
    """

    name: str
    source: str
    sha: str


_SHARED = ("numbers", "records", "rate", "slots", "window", "kinds")


def _assemble(name: str, flags: str = "") -> Script:
    folder = files("mesh_store.redis") / "scripts"
    parts = [(folder / f"{part}.lua").read_text(encoding="utf-8") for part in (*_SHARED, name)]
    source = "\n".join([f"#!lua{flags}", *parts])
    # The digest is Redis' own name for a script, not a safeguard.
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


RESERVE = _assemble("reserve")
PEEK = _assemble("peek", " flags=no-writes")
AT_MOST = _assemble("at_most")
SETTLE = _assemble("settle", " flags=allow-oom")
RENEW = _assemble("renew", " flags=allow-oom")
COMMIT = _assemble("commit", " flags=allow-oom")
