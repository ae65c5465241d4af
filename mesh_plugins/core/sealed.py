"""Opening what is sealed for the caller: data key with its key, secret with the data key.

What was opened stays in this process' memory, for `OPENED_S` at most; an opened secret is found again
in a microsecond, and never outlives the configuration it was opened from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mesh_plugins.core.call import ProviderCall
from mesh_plugins.core.ports import ConfigPort
from mesh_store.model.errors import SecretError
from mesh_store.model.sealing import KeyHolder, SealedKey, SealedSecret, Values, address_of
from mesh_store.model.snapshot import KeyEntry, Snapshot

#: Seconds an opened secret is kept; opening one takes a tenth of a millisecond.
OPENED_S = 600.0
#: How many are kept; a process rarely calls with more than one key.
MOST_OPENED = 256


class _Opened(NamedTuple):
    """An opened secret and what it was opened from."""

    sealed: SealedSecret
    address: str
    until: float
    values: Values

    def __repr__(self) -> str:
        return f"_Opened({self.sealed.id!r})"


class SealedSecrets:
    """Opens providers' secrets for callers; thread-safe.

    Args:
        config: asked for the caller's entry again when it does not know a data key.
        clock: seconds that only grow.
    """

    def __init__(self, config: ConfigPort, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._opened: dict[tuple[bytes, str], _Opened] = {}

    def __repr__(self) -> str:
        return f"SealedSecrets({len(self._opened)} opened)"

    def open(self, call: ProviderCall, snapshot: Snapshot) -> Values:
        """Return the values of the secret of a call's provider.

        Raises:
            SecretError: it is not there, not for this caller, or was altered.
        """
        boxes, holder = _needed(call, snapshot)
        entry: KeyEntry | None = call.request.principal
        values = self._remembered(call, boxes, holder)
        if values is not None:
            return values
        if _known(entry, boxes) is None:
            entry = self._config.refetch(holder.digest)
        return self._open(call, boxes, holder, entry)

    async def aopen(self, call: ProviderCall, snapshot: Snapshot) -> Values:
        """Like `open`, on the caller's event loop."""
        boxes, holder = _needed(call, snapshot)
        entry: KeyEntry | None = call.request.principal
        values = self._remembered(call, boxes, holder)
        if values is not None:
            return values
        if _known(entry, boxes) is None:
            entry = await self._config.arefetch(holder.digest)
        return self._open(call, boxes, holder, entry)

    def _remembered(
        self, call: ProviderCall, boxes: Sequence[SealedSecret], holder: KeyHolder
    ) -> Values | None:
        for sealed in boxes:
            opened = self._opened.get((holder.digest, sealed.id))
            if opened is not None and opened.sealed == sealed and opened.address == _address(call):
                return opened.values if self._clock() < opened.until else None
        return None

    def _open(
        self, call: ProviderCall, boxes: Sequence[SealedSecret], holder: KeyHolder, entry: KeyEntry | None
    ) -> Values:
        known = _known(entry, boxes)
        if known is None:
            raise SecretError(
                f"the secret of provider {call.provider.name!r} is not sealed to this key: try again in a "
                "second; if the key was minted before secrets were stored here, it needs `mesh key rotate`"
            )
        sealed, found = known
        data_key = holder.open(found, call.request.principal.team)
        values = data_key.open(sealed, call.provider.id, _address(call))
        while len(self._opened) >= MOST_OPENED:
            self._opened.pop(next(iter(self._opened)), None)
        self._opened[holder.digest, sealed.id] = _Opened(
            sealed, _address(call), self._clock() + OPENED_S, values
        )
        return values


def _needed(call: ProviderCall, snapshot: Snapshot) -> tuple[Sequence[SealedSecret], KeyHolder]:
    boxes = snapshot.sealed(call.provider.id, call.request.principal.team)
    if not boxes:
        raise SecretError(
            f"the secret of provider {call.provider.name!r} is not there for this key's team at revision "
            f"{snapshot.revision}: it was not set, or could not be published; the publisher's log says why"
        )
    if call.request.holder is None:
        raise SecretError(
            f"the secret of provider {call.provider.name!r} opens with a caller's key, and there is none"
        )
    return boxes, call.request.holder


def _known(entry: KeyEntry | None, boxes: Sequence[SealedSecret]) -> tuple[SealedSecret, SealedKey] | None:
    """Return the box that a data key of this entry opens, with that data key."""
    data_keys = {} if entry is None else {data_key.id: data_key for data_key in entry.data_keys}
    return next(
        ((sealed, data_keys[sealed.data_key]) for sealed in boxes if sealed.data_key in data_keys), None
    )


def _address(call: ProviderCall) -> str:
    return address_of(call.provider.kind, call.provider.base_url)
