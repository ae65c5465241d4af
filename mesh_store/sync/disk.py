"""The last good configuration on disk, for the day Redis is away when a process starts.

One file per Redis in a folder of ours, 0600, written beside and renamed. What is in it keeps the
publisher's envelopes, so it is checked on the way in exactly like what Redis sends. Its modification
time says when Redis last confirmed it. Processes that share the folder merge: the newer snapshot,
everybody's key entries.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from mesh_store.model.errors import ConfigError
from mesh_store.model.signing import Place, unseal_place
from mesh_store.redis.servers.address import identity

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows: the last writer wins
    fcntl = None  # type: ignore[assignment]

#: A file of another format is not read.
DISK_FORMAT = 1
#: How many key entries are kept, of all processes of this machine; each is verified at a start.
MAX_KEPT_KEYS = 1_000
#: How many revocations are kept.
MAX_KEPT_REVOKED = 100_000


class KeptKeys(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of the keys this process used.

    Attributes:
        seen: the highest keys place seen, as text; "" when none.
        applied: up to where changes were applied, as text.
        entries: sealed entries by digest.
        revoked: digests of keys whose revocation was seen.
        changed: digests whose entry changed and could not be read again.
    """

    seen: str = ""
    applied: str = ""
    entries: dict[bytes, bytes] = {}
    revoked: tuple[bytes, ...] = ()
    changed: tuple[bytes, ...] = ()


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """What is on disk.

    Attributes:
        format: `DISK_FORMAT` of the writer.
        epoch, revision: where snapshot and deltas lead.
        snapshot: the sealed document.
        deltas: sealed deltas that apply to it, in order.
        keys: entries this machine used.
        publisher: public key of the publisher that is believed, or None.
    """

    format: int
    epoch: str
    revision: int
    snapshot: bytes
    deltas: tuple[bytes, ...] = ()
    keys: KeptKeys = KeptKeys()
    publisher: bytes | None = None

    @property
    def place(self) -> Place:
        """Where it leads."""
        return Place(self.epoch, self.revision)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Kept)


class Disk:
    """The file for one Redis inside a folder.

    Args:
        folder: made on the first write, 0700.
        redis_url: names the file, so that two meshes never read each other's configuration.
    """

    def __init__(self, folder: Path, redis_url: str) -> None:
        where = hashlib.sha256(identity(redis_url).encode()).hexdigest()
        self.path = folder / f"config-{where[:16]}.mesh"

    def read(self) -> tuple[Kept, float] | None:
        """Return what is there and its age in seconds, or None when there is nothing.

        Raises:
            ConfigError: when it is damaged or of another format.
            OSError: when it cannot be read.
        """
        try:
            kept, age_s = self.path.read_bytes(), time.time() - self.path.stat().st_mtime
        except FileNotFoundError:
            return None
        try:
            decoded = _decoder.decode(kept)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ConfigError(f"the last good configuration in {self.path} is damaged: {error}") from error
        if decoded.format != DISK_FORMAT:
            raise ConfigError(f"the last good configuration in {self.path} has format {decoded.format}")
        return decoded, max(0.0, age_s)

    def write(self, kept: Kept, age_s: float) -> None:
        """Merge ``kept``, which Redis confirmed ``age_s`` ago, into what is there; whole or not at all.

        Raises:
            OSError: when it cannot be written.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked():
            there = None
            with contextlib.suppress(ConfigError):
                there = self.read()
            if there is not None:
                kept, age_s = merge(there[0], kept), min(there[1], age_s)
            descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(_encoder.encode(kept))
                    file.flush()
                    os.fsync(file.fileno())
                    confirmed = time.time() - age_s
                    os.utime(name, (confirmed, confirmed))
                Path(name).replace(self.path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise

    def confirm(self) -> None:
        """Say that what is there was still the newest just now."""
        with contextlib.suppress(OSError):
            os.utime(self.path)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def merge(there: Kept, mine: Kept) -> Kept:
    """Return the newer configuration with the keys of both; what one process saw revoked stays so."""
    newer = there if there.place > mine.place else mine
    a, b = there.keys, mine.keys
    unusable = {*a.revoked, *b.revoked, *b.changed}
    entries = {digest: sealed for digest, sealed in a.entries.items() if digest not in unusable}
    for digest, sealed in b.entries.items():
        if digest not in unusable and not _is_newer(entries.get(digest), sealed):
            entries[digest] = sealed
    keys = KeptKeys(
        seen=max(a.seen, b.seen, key=_order),
        applied=min((text for text in (a.applied, b.applied) if text), key=_order, default=""),
        entries=dict(list(entries.items())[-MAX_KEPT_KEYS:]),
        revoked=tuple(dict.fromkeys((*a.revoked, *b.revoked)))[-MAX_KEPT_REVOKED:],
    )
    return msgspec.structs.replace(newer, keys=keys, publisher=mine.publisher or there.publisher)


def _is_newer(there: bytes | None, mine: bytes) -> bool:
    if there is None or there == mine:
        return False
    try:
        return unseal_place(there) > unseal_place(mine)
    except ConfigError:
        return False


def _order(text: str) -> Place:
    epoch, _, revision = text.partition(" ")
    return Place(epoch, int(revision) if revision.isdigit() else -1)
