"""Provider secrets that only their callers can open.

::

    MESH_SECRET_KEY ──► Master ──opens──► the team's DataKey, the provider's secret     (publisher)
                                              │ HPKE to every live key of the team
    the key's text ──► KeyHolder ──opens──► DataKey ──opens──► the provider's secret    (caller)

A caller's key is also the seed of an X25519 key pair, whose public half the control plane keeps. The
publisher seals the data key of a team to each of its live keys (HPKE, RFC 9180) and the secrets of
the providers the team may use under that data key (AES-SIV, RFC 5297). SIV needs no nonce and gives
the same bytes for the same secret, so that publishing again changes nothing.

Everything sealed is bound to where it belongs: a secret to its provider, its address, its team and
its version, a data key to its team, its id and the key it was sealed to. What was moved or edited
does not open.
"""

from __future__ import annotations

import secrets
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from mesh_store.model.errors import SecretError
from mesh_store.model.keys import digest as digest_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV
    from cryptography.hazmat.primitives.hpke import Suite

#: Values of a provider's secret by label; a provider with one secret calls it `SINGLE`.
Values = dict[str, str]
SINGLE = "key"

_values = msgspec.msgpack.Decoder(Values)
_encoder = msgspec.msgpack.Encoder(order="deterministic")


class SealedKey(msgspec.Struct, gc=False, frozen=True, array_like=True):
    """A data key, sealed to one caller's key.

    Attributes:
        id: of the data key.
        box: HPKE's encapsulated key and ciphertext.
    """

    id: str
    box: bytes


class SealedSecret(msgspec.Struct, gc=False, frozen=True, array_like=True):
    """A provider's secret, sealed under a data key.

    Attributes:
        id: ``<provider id>/<team id>``; and ``+<data key id>`` under one of some keys alone.
        data_key: id of the data key that opens it.
        version: counts the settings of this secret.
        box: the values by label.
    """

    id: str
    data_key: str
    version: int
    box: bytes


class _Unshowable:
    """Holds what must not leave this process' memory: not shown, not pickled, copied as itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} holds a secret and cannot be pickled")

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: object) -> Any:
        return self


class Master(_Unshowable):
    """What the control plane keeps secrets under; derived from ``MESH_SECRET_KEY``.

    Attributes:
        id: tells masters apart and reveals nothing of them; 16 hexadecimal digits.
    """

    def __init__(self, seed: bytes) -> None:
        self.id = _derived(seed, b"mesh master id 1", 8).hex()
        self._cipher = _cipher(seed, b"mesh master 1")

    def seal(self, plain: bytes, *bound: str) -> bytes:
        """Seal ``plain``, bound to everything else given."""
        return _sealed(self._cipher, plain, bound)

    def open(self, box: bytes, *bound: str, what: str) -> bytes:
        """Open what was sealed with the same bonds.

        Args:
            box: what `seal` returned.
            bound: what it was bound to.
            what: what it is, for the error.

        Raises:
            SecretError: it was sealed for something else, was altered, or is of another master.
        """
        return _opened(self._cipher, box, bound, what)


class DataKey(_Unshowable):
    """What one team's provider secrets are sealed under, or some of them for some of its keys.

    Attributes:
        id: opaque.
        team: id of the team.
        secret: 32 random bytes.
    """

    def __init__(self, key_id: str, team: str, secret: bytes) -> None:
        self.id, self.team, self.secret = key_id, team, secret

    @classmethod
    def generate(cls, key_id: str, team: str) -> DataKey:
        """Make a new one."""
        return cls(key_id, team, secrets.token_bytes(32))

    @classmethod
    def unkeep(cls, master: Master, key_id: str, team: str, kept: bytes) -> DataKey:
        """Open one as it was kept.

        Raises:
            SecretError: it is another team's, was altered, or is of another master.
        """
        bound = (_KEPT_DATA_KEY, team, key_id)
        return cls(key_id, team, master.open(kept, *bound, what=f"the data key of team {team}"))

    def keep(self, master: Master) -> bytes:
        """Return it as the control plane keeps it."""
        return master.seal(self.secret, _KEPT_DATA_KEY, self.team, self.id)

    def seal_to(self, public: bytes, digest: bytes) -> SealedKey:
        """Seal it to the caller's key with that public half and that digest."""
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

        receiver = X25519PublicKey.from_public_bytes(public)
        purpose = _purpose(self.team, self.id, digest)
        return SealedKey(self.id, _suite().encrypt(self.secret, receiver, purpose))

    def seal(
        self, provider: str, address: str, version: int, values: Values, *, scoped: bool = False
    ) -> SealedSecret:
        """Seal a provider's secret for this team; ``scoped`` for those of its keys that hold this one."""
        bound = (_PUBLISHED, provider, self.team, address, str(version))
        box = _sealed(self._cipher, _encoder.encode(values), bound)
        place = f"{provider}/{self.team}" + (f"+{self.id}" if scoped else "")
        return SealedSecret(place, self.id, version, box)

    def open(self, sealed: SealedSecret, provider: str, address: str) -> Values:
        """Open a provider's secret.

        Raises:
            SecretError: it was sealed for another provider, team, address or version, or was altered.
        """
        bound = (_PUBLISHED, provider, self.team, address, str(sealed.version))
        plain = _opened(self._cipher, sealed.box, bound, f"the secret of provider {provider}")
        return _values.decode(plain)

    @cached_property
    def _cipher(self) -> AESSIV:
        return _cipher(self.secret, b"mesh data key 1")


class KeyHolder(_Unshowable):
    """A caller's key as what it opens.

    Attributes:
        digest: what the key's entry is looked up by.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self.digest = digest_of(text)

    def open(self, sealed: SealedKey, team: str) -> DataKey:
        """Open the data key of the team that this key belongs to.

        Raises:
            SecretError: it was sealed to another key or for another team, or was altered.
        """
        from cryptography.exceptions import InvalidTag

        try:
            secret = _suite().decrypt(sealed.box, self._private, _purpose(team, sealed.id, self.digest))
        except (InvalidTag, ValueError):
            raise SecretError(
                f"the data key {sealed.id} was sealed to another key or for another team, or was altered"
            ) from None
        return DataKey(sealed.id, team, secret)

    @cached_property
    def _private(self) -> X25519PrivateKey:
        return _private_half(self._text)


def sealing_public(text: str) -> bytes:
    """Return the public half of a caller's key, 32 bytes; the control plane keeps it when it mints."""
    return _private_half(text).public_key().public_bytes_raw()


def address_of(kind: str, base_url: str | None) -> str:
    """Return where a provider's secret may be sent: what it is bound to."""
    return f"{kind} {base_url or ''}"


def seal_values(master: Master, provider: str, address: str, version: int, values: Values) -> bytes:
    """Seal a provider's secret as the control plane keeps it."""
    return master.seal(_encoder.encode(values), _KEPT, provider, address, str(version))


def open_values(master: Master, provider: str, address: str, version: int, kept: bytes) -> Values:
    """Open a provider's secret as it was kept.

    Raises:
        SecretError: it was sealed for another provider, address or version, was altered, or is of
            another master.
    """
    bound = (_KEPT, provider, address, str(version))
    return _values.decode(master.open(kept, *bound, what=f"the stored secret of provider {provider}"))


#: What a thing is, so that one kind can never pose as another.
_KEPT, _KEPT_DATA_KEY, _PUBLISHED = "kept values", "kept data key", "published values"


def _sealed(cipher: AESSIV, plain: bytes, bound: tuple[str, ...]) -> bytes:
    return cipher.encrypt(plain, [part.encode() for part in bound])


def _opened(cipher: AESSIV, box: bytes, bound: tuple[str, ...], what: str) -> bytes:
    from cryptography.exceptions import InvalidTag

    try:
        return cipher.decrypt(box, [part.encode() for part in bound])
    except (InvalidTag, ValueError):
        raise SecretError(
            f"{what} does not open: it was sealed for another provider, team, address or version, under "
            "another key, or was altered"
        ) from None


def _cipher(secret: bytes, purpose: bytes) -> AESSIV:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    return AESSIV(_derived(secret, purpose, 64))


def _private_half(text: str) -> X25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return X25519PrivateKey.from_private_bytes(_derived(text.encode(), b"mesh sealing 1", 32))


def _derived(secret: bytes, purpose: bytes, length: int) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), length, salt=None, info=purpose).derive(secret)


def _suite() -> Suite:
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def _purpose(team: str, key_id: str, digest: bytes) -> bytes:
    return _encoder.encode(("mesh data key 1", team, key_id, digest))
