"""The envelope everything published travels in: where it stands in the order, and who says so.

An envelope is a msgpack array; fields are only ever appended::

    [format, epoch, revision, body, digest, signature, publisher]

``digest`` is SHA-256 over kind, name, epoch, revision and body, so a delta cannot pose as a
snapshot and one key's entry cannot be served under another key's digest: the reader says which kind
and name it asked for, they are not on the wire. ``signature`` is the publisher's Ed25519 signature
of the digest and ``publisher`` its public key; both are absent where nobody signs.
"""

from __future__ import annotations

import hashlib
from typing import Literal, NamedTuple

import msgspec

from mesh_store.model.errors import ConfigError

#: A reader refuses an envelope of another format.
ENVELOPE_FORMAT = 1

Kind = Literal["snapshot", "delta", "key"]


class Place(NamedTuple):
    """Where a configuration stands: epochs order as text (UUIDv7), revisions within one epoch."""

    epoch: str
    revision: int

    def __str__(self) -> str:
        return f"{self.epoch} {self.revision}"


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """A body and its place, as it lies in Redis and on disk.

    Attributes:
        format: `ENVELOPE_FORMAT` of the writer.
        epoch, revision: where the body stands.
        body: msgpack of the document, the delta or the key entry.
        digest: SHA-256 that binds kind, name, place and body.
        signature: Ed25519 over the digest, or None.
        publisher: public key of who signed, 32 bytes, or None.
    """

    format: int
    epoch: str
    revision: int
    body: bytes
    digest: bytes
    signature: bytes | None = None
    publisher: bytes | None = None

    @property
    def place(self) -> Place:
        """Where the body stands."""
        return Place(self.epoch, self.revision)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Envelope)


def seal(kind: Kind, place: Place, body: bytes, *, name: bytes = b"") -> bytes:
    """Put ``body`` into an envelope.

    Args:
        kind: what the body is.
        place: epoch and revision it belongs to.
        body: the encoded value.
        name: what it will be asked for by; the digest of a key, empty for what exists once.
    """
    digest = _digest(kind, name, place, body)
    return _encoder.encode(Envelope(ENVELOPE_FORMAT, place.epoch, place.revision, body, digest))


def unseal(kind: Kind, sealed: bytes, *, name: bytes = b"") -> Envelope:
    """Open an envelope and check that it is whole and what was asked for.

    Raises:
        ConfigError: when it is damaged, of another format or another thing than asked for.
    """
    try:
        envelope = _decoder.decode(sealed)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"a published {kind} is damaged: {error}") from error
    if envelope.format != ENVELOPE_FORMAT:
        raise ConfigError(
            f"a published {kind} has envelope format {envelope.format}, this version reads "
            f"{ENVELOPE_FORMAT}: upgrade mesh-plugins here or the publisher"
        )
    if envelope.digest != _digest(kind, name, envelope.place, envelope.body):
        raise ConfigError(f"a published {kind} at revision {envelope.revision} does not match its digest")
    return envelope


def _digest(kind: Kind, name: bytes, place: Place, body: bytes) -> bytes:
    head = _encoder.encode((ENVELOPE_FORMAT, kind, name, place.epoch, place.revision, len(body)))
    return hashlib.sha256(head + body).digest()
