"""A caller's virtual key: ``mk_<id>_<secret><checksum>``.

The id (8 base62 characters) names the key for ever; limits hang on it, so rotating the secret
resets nothing. The secret is 43 base62 characters, 256 random bits, so one SHA-256 is as good a
digest as a slow hash. The last 6 characters are a base62 CRC-32 over everything before them: typos
and leaked keys are recognised offline by one anchored pattern. A checksum is no authentication.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib

import msgspec

from mesh_store.model.errors import InvalidKey

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PATTERN = re.compile(r"mk_([0-9A-Za-z]{8})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})", re.ASCII)
LENGTH = 3 + 8 + 1 + 43 + 6


class MintedKey(msgspec.Struct, frozen=True):
    """A key at the only moment its text exists on the control plane.

    Attributes:
        id: the key's name for ever.
        text: the whole key; shown once and never stored.
        digest: SHA-256 of the text, 32 bytes; what is stored.
        last_four: the last four characters of the text, shown in listings.
    """

    id: str
    text: str
    digest: bytes
    last_four: str

    def __repr__(self) -> str:
        return f"MintedKey(id={self.id!r}, text='…{self.last_four}')"


def mint(key_id: str | None = None) -> MintedKey:
    """Make a new key, or a new secret for the key called ``key_id``."""
    key_id = key_id or random_text(8)
    head = f"mk_{key_id}_{random_text(43)}"
    text = head + checksum(head)
    return MintedKey(key_id, text, digest(text), text[-4:])


def parse(text: object) -> str:
    """Return the id inside a well-formed key, checking its checksum, without asking anybody.

    Raises:
        InvalidKey: when ``text`` is not a key; the message never repeats it.
    """
    if not isinstance(text, str) or len(text) != LENGTH:
        raise InvalidKey("this is not a Mesh key: a key is 61 characters long and starts with 'mk_'")
    match = PATTERN.fullmatch(text)
    if match is None:
        raise InvalidKey(
            "this is not a Mesh key: expected 'mk_', 8 letters or digits, '_', 49 letters or digits"
        )
    if checksum(text[:-6]) != match[3]:
        raise InvalidKey("this Mesh key has a typo: its checksum does not fit; copy it again")
    return match[1]


def digest(text: str) -> bytes:
    """Return the 32 bytes a key is stored and looked up by."""
    return hashlib.sha256(text.encode()).digest()


def random_text(length: int) -> str:
    """Return that many random letters and digits; 43 of them are 256 bits."""
    drawn = ""
    while len(drawn) < length:
        # Bytes from 248 = 4 * 62 on would make the first letters likelier; the others fall evenly.
        drawn += secrets.token_bytes(2 * length).translate(_LETTERS, _TOO_LARGE).decode("ascii")
    return drawn[:length]


_LETTERS = (ALPHABET.encode("ascii") * 5)[:256]
_TOO_LARGE = bytes(range(248, 256))


def checksum(head: str) -> str:
    """Return the six characters that let a typo be seen without asking anybody."""
    number, out = zlib.crc32(head.encode()), ""
    for _ in range(6):
        number, rest = divmod(number, 62)
        out = ALPHABET[rest] + out
    return out
