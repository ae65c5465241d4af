"""Whose configuration a caller believes.

Callers can write to Redis, so what comes from there counts only if the right publisher signed it.
The right one is: the one named by ``MESH_TRUST_KEY``; else the one pinned on first use; else, on
first use, the one that the entry of the caller's own key vouches for, and no other. Only a process
without a key of its own believes the first one seen, unsigned configuration included until the first
signed one. A pin moves only along handovers that the old publisher signed.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Iterable

from mesh_store.model.errors import ConfigError
from mesh_store.model.keys import digest as digest_of
from mesh_store.model.signing import Envelope, Handover, Kind, trust_secret, unseal, vouch

log = logging.getLogger(__name__)


def parse_trust_key(text: str) -> bytes:
    """Read ``MESH_TRUST_KEY``: a publisher's public key as 64 hexadecimal digits.

    Raises:
        ConfigError: when it is not that.
    """
    try:
        publisher = bytes.fromhex(text)
    except ValueError:
        publisher = b""
    if len(publisher) != 32:
        raise ConfigError("MESH_TRUST_KEY must be a publisher's public key: 64 hexadecimal digits")
    return publisher


class Trust:
    """Decides which publisher is believed.

    Args:
        publisher: the public key to believe, whatever else is seen; or None.
        caller_key: the text of the caller's own key: on first use nobody is believed whom its entry does
            not vouch for; None believes the first one seen.

    Attributes:
        publisher: the public key that is believed, or None before the first use.
        fixed: True when it was given rather than pinned.
    """

    def __init__(self, publisher: bytes | None = None, caller_key: str | None = None) -> None:
        self.publisher = publisher
        self.fixed = publisher is not None
        self._own = None if caller_key is None else (digest_of(caller_key), trust_secret(caller_key))

    @property
    def wants_voucher(self) -> bytes | None:
        """Digest of the caller's own key whose entry should be seen before anybody is believed."""
        return self._own[0] if self._own is not None and self.publisher is None else None

    def unseal(self, kind: Kind, sealed: bytes, *, name: bytes = b"") -> Envelope:
        """Open an envelope and believe it, or not.

        Raises:
            ConfigError: when it is damaged, altered, or not from the publisher believed.
        """
        envelope = unseal(kind, sealed, name=name)
        if self.publisher is None:
            self._first_use(envelope, name)
        elif envelope.publisher is None:
            raise ConfigError(f"a published {kind} at revision {envelope.revision} is not signed")
        elif envelope.publisher != self.publisher:
            raise ConfigError(
                f"a published {kind} at revision {envelope.revision} is signed by "
                f"{envelope.publisher.hex()}, this process believes {self.publisher.hex()}: if the "
                "publisher's key was changed on purpose without a handover, set MESH_TRUST_KEY"
            )
        return envelope

    def pin(self, publisher: bytes) -> None:
        """Believe a publisher from now on, unless one was given."""
        if not self.fixed:
            self.publisher = publisher

    def learn(self, handovers: Iterable[Handover]) -> None:
        """Move the pin along genuine handovers, oldest first, so that a key may come back."""
        for handover in () if self.fixed else handovers:
            if handover.old != self.publisher or handover.new == self.publisher:
                continue
            if not handover.is_genuine():
                log.warning("a handover from %s is not signed by it", handover.old.hex())
                continue
            log.warning("the publisher's key changed from %s to %s", handover.old.hex(), handover.new.hex())
            self.publisher = handover.new

    def _first_use(self, envelope: Envelope, name: bytes) -> None:
        if self._own is not None:
            own, secret = self._own
            _check_voucher(envelope, secret if own == name else None)
        if envelope.publisher is not None:
            self.pin(envelope.publisher)


def _check_voucher(envelope: Envelope, secret: bytes | None) -> None:
    """Refuse an envelope unless it is the own key's entry and vouches for who signed it."""
    if envelope.publisher is None:
        raise ConfigError(
            "configuration that nobody signed is not believed, as whoever can write to Redis could have "
            "written it: set MESH_SECRET_KEY where it is published (mesh serve, mesh collect, and operators' "
            "commands)"
        )
    expected = b"" if secret is None else vouch(secret, envelope.publisher)
    if not hmac.compare_digest(envelope.voucher or b"-", expected):
        raise ConfigError(
            f"configuration signed by {envelope.publisher.hex()} is not believed: the entry of this process' "
            "key does not vouch for that publisher; if MESH_KEY is a key of this mesh, somebody "
            "else publishes here; if the publisher is the right one, set MESH_TRUST_KEY to it"
        )
