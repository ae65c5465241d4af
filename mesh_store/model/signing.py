"""The envelope everything published travels in: where it stands in the order, and who says so.

An envelope is a msgpack array; fields are only ever appended::

    [format, epoch, revision, body, digest, signature, publisher, voucher]

``digest`` is SHA-256 over kind, name, epoch, revision and body, so a delta cannot pose as a
snapshot and one key's entry cannot be served under another key's digest: the reader says which kind
and name it asked for, they are not on the wire. ``signature`` is the publisher's Ed25519 signature
of the digest and ``publisher`` its public key; both are absent where nobody signs. ``voucher`` is in
key entries only: HMAC of the publisher's public key under a secret that only the holder of the key
and the control plane know, so that a caller's first use accepts no other publisher.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from mesh_store.model.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from mesh_store.model.sealing import Master

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
        voucher: `vouch` for the publisher by the key's trust secret, or None.
    """

    format: int
    epoch: str
    revision: int
    body: bytes
    digest: bytes
    signature: bytes | None = None
    publisher: bytes | None = None
    voucher: bytes | None = None

    @property
    def place(self) -> Place:
        """Where the body stands."""
        return Place(self.epoch, self.revision)


class Signer:
    """A publisher's Ed25519 key pair, and what it keeps providers' secrets under.

    Attributes:
        public: the public key, 32 bytes; what callers pin.
        master: seals and opens what is stored; from the same secret, and of no use to who knows ``public``.
    """

    __slots__ = ("_private", "master", "public")

    def __init__(self, seed: bytes) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        from mesh_store.model.sealing import Master

        self._private: Ed25519PrivateKey = Ed25519PrivateKey.from_private_bytes(seed)
        self.master: Master = Master(seed)
        self.public: bytes = self._private.public_key().public_bytes_raw()

    @classmethod
    def from_secret(cls, secret: str) -> Signer:
        """Derive the pair from ``MESH_SECRET_KEY``; the same secret always gives the same pair."""
        return cls(_derive(secret.encode(), b"mesh publisher 1"))

    def __repr__(self) -> str:
        return f"Signer(public={self.public.hex()!r})"

    def sign(self, what: bytes) -> bytes:
        """Return the 64-byte signature of ``what``."""
        return self._private.sign(what)


def is_signed_by(publisher: bytes, signature: bytes, what: bytes) -> bool:
    """Tell whether ``signature`` is ``publisher``'s signature of ``what``."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(publisher).verify(signature, what)
    except (InvalidSignature, ValueError):
        return False
    return True


def trust_secret(key: str) -> bytes:
    """Derive from a caller's key what vouches for publishers; the control plane keeps it when it mints."""
    return _derive(key.encode(), b"mesh trust 1")


def vouch(secret: bytes, publisher: bytes) -> bytes:
    """Vouch for a publisher's public key under a key's `trust_secret`."""
    return hmac.digest(secret, b"mesh publisher " + publisher, "sha256")


class Handover(msgspec.Struct, frozen=True, array_like=True):
    """The old publisher's word that another key speaks for it from now on."""

    old: bytes
    new: bytes
    signature: bytes

    def is_genuine(self) -> bool:
        """Tell whether the old key really signed it."""
        return is_signed_by(self.old, self.signature, _HANDOVER + self.new)


def hand_over(old: Signer, new: Signer) -> Handover:
    """Let ``old`` say that ``new`` follows it."""
    return Handover(old.public, new.public, old.sign(_HANDOVER + new.public))


_HANDOVER = b"mesh handover 1\0"
_SIGNED = b"mesh envelope 1\0"
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Envelope)


def seal(
    kind: Kind,
    place: Place,
    body: bytes,
    *,
    name: bytes = b"",
    signer: Signer | None = None,
    trust: bytes | None = None,
) -> bytes:
    """Put ``body`` into an envelope.

    Args:
        kind: what the body is.
        place: epoch and revision it belongs to.
        body: the encoded value.
        name: what it will be asked for by; the digest of a key, empty for what exists once.
        signer: who signs, or None.
        trust: the `trust_secret` of the key whose entry this is, or None.
    """
    digest = _digest(kind, name, place, body)
    signature = publisher = voucher = None
    if signer is not None:
        signature, publisher = signer.sign(_SIGNED + digest), signer.public
        voucher = vouch(trust, publisher) if trust else None
    return _encoder.encode(
        Envelope(ENVELOPE_FORMAT, place.epoch, place.revision, body, digest, signature, publisher, voucher)
    )


def unseal(kind: Kind, sealed: bytes, *, name: bytes = b"") -> Envelope:
    """Open an envelope and check that it is whole, what was asked for, and signed by who it says.

    Whether that publisher is the right one is for the reader to decide.

    Raises:
        ConfigError: when it is damaged, altered, of another format or another thing than asked for.
    """
    try:
        envelope = _decoder.decode(sealed)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"a published {kind} is damaged: {error}") from error
    if envelope.format != ENVELOPE_FORMAT:
        raise ConfigError(
            f"a published {kind} has envelope format {envelope.format}, this version reads "
            f"{ENVELOPE_FORMAT}: upgrade mesh-plugins here or the publisher"
        )
    if envelope.digest != _digest(kind, name, envelope.place, envelope.body):
        raise ConfigError(f"a published {kind} at revision {envelope.revision} does not match its digest")
    if envelope.publisher is not None and not is_signed_by(
        envelope.publisher, envelope.signature or b"", _SIGNED + envelope.digest
    ):
        raise ConfigError(f"a published {kind} at revision {envelope.revision} has a false signature")
    return envelope


def unseal_place(sealed: bytes) -> Place:
    """Read only where an envelope says it stands, without believing it.

    Raises:
        ConfigError: when it is damaged.
    """
    try:
        return _decoder.decode(sealed).place
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"a published envelope is damaged: {error}") from error


def _digest(kind: Kind, name: bytes, place: Place, body: bytes) -> bytes:
    head = _encoder.encode((ENVELOPE_FORMAT, kind, name, place.epoch, place.revision, len(body)))
    return hashlib.sha256(head + body).digest()


def _derive(secret: bytes, purpose: bytes) -> bytes:
    # HKDF (RFC 5869) with SHA-256, no salt and one block of output.
    extracted = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(extracted, purpose + b"\x01", "sha256")
