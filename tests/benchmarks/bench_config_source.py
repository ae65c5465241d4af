"""A configuration of any size, and a database in memory that publishes it: what `bench_config` measures."""

from __future__ import annotations

from typing import NamedTuple

from mesh_store.model.ids import new_id
from mesh_store.model.limit_text import parse_terms
from mesh_store.model.signing import Signer
from mesh_store.model.snapshot import (
    Alias,
    KeyEntry,
    KeyLimit,
    Provider,
    SnapshotDocument,
    Subject,
    Target,
    Team,
)

PATTERNS = 100
SIGNER = Signer(b"b" * 32)
#: Of every tenth key.
LIMITS = tuple(
    KeyLimit(id=new_id(), subject=Subject(key="k"), terms=parse_terms(text), label="key k")
    for text in ("60 requests/min", "100k tokens/min")
)


class Head(NamedTuple):
    epoch: str
    revision: int
    keys_revision: int


class KeysDelta(NamedTuple):
    revision: int
    entries: list[tuple[bytes, KeyEntry]]


class Source:
    """A database in memory; every commit changes one alias."""

    def __init__(self, document: SnapshotDocument, keys: int = 0) -> None:
        self.epoch, self.revision, self.keys = document.epoch, document.revision, keys
        self._aliases = list(document.aliases)
        self._rest = {"teams": document.teams, "providers": document.providers}

    def commit(self) -> None:
        """Point the next alias at another model."""
        self.revision += 1
        at = self.revision % len(self._aliases)
        target = Target(id="t", provider="p", model=f"model-{self.revision}")
        self._aliases[at] = Alias(id=self._aliases[at].id, name=self._aliases[at].name, targets=(target,))

    async def head(self) -> Head:
        """Return both revisions."""
        return Head(self.epoch, self.revision, self.keys)

    async def compile_snapshot(self) -> SnapshotDocument:
        """Return the document."""
        return SnapshotDocument(
            epoch=self.epoch,
            revision=self.revision,
            compiled_at_us=0,
            aliases=tuple(self._aliases),
            **self._rest,
        )

    async def keys_since(self, keys_revision: int, limit: int) -> KeysDelta:
        """Return the next page of keys, made on the fly."""
        upto = min(keys_revision + limit, self.keys)
        numbers = range(keys_revision + 1, upto + 1)
        return KeysDelta(upto, [(n.to_bytes(32, "big"), entry(n)) for n in numbers])


def entry(number: int) -> KeyEntry:
    """Make the entry of a key."""
    limits = LIMITS if number % 10 == 0 else ()
    return KeyEntry(id=f"{number:08d}", team="t", revision=number, limits=limits)


def document(teams: int, aliases: int) -> SnapshotDocument:
    """Make a configuration of realistic objects."""
    team_ids = [new_id() for _ in range(teams)]
    return SnapshotDocument(
        epoch=new_id(),
        revision=1,
        compiled_at_us=0,
        teams=tuple(Team(id=key, name=f"team-{n}") for n, key in enumerate(team_ids)),
        providers=(Provider(id="p", name="p", kind="openai", secret="env:KEY"),),
        aliases=tuple(
            Alias(
                id=new_id(),
                name=f"alias-{n}",
                grants=(team_ids[n % teams],),
                targets=(
                    Target(id=new_id(), provider="p", model="large", weight=9),
                    Target(id=new_id(), provider="p", model="small", tier=2),
                ),
            )
            for n in range(aliases)
        )
        + tuple(
            Alias(id=new_id(), name=f"vendor-{n}/*", targets=(Target(id=new_id(), provider="p", model="*"),))
            for n in range(PATTERNS)
        ),
    )
