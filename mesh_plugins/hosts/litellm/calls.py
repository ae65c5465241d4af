"""One governed call through a door, in both colours: sort, ask the core, hand back litellm's own types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from mesh_plugins.core.ports import Sender
from mesh_plugins.core.runtime import Runtime
from mesh_plugins.hosts.litellm.doors import Door
from mesh_plugins.hosts.litellm.facade import AsyncStreamFacade, StreamFacade, speaking_litellm
from mesh_plugins.hosts.litellm.fast import FastSender
from mesh_plugins.hosts.litellm.parameters import sort
from mesh_plugins.hosts.litellm.sender import LiteLLMSender


class Governing(Protocol):
    """What a call needs of its installation.

    Attributes:
        mesh: who governs.
        direct: our direct caller, where calls may skip litellm; or None.
    """

    @property
    def mesh(self) -> Runtime: ...

    @property
    def direct(self) -> Sender | None: ...


def governed_call(
    host: Governing,
    door: Door,
    original: Callable[..., Any],
    alias: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Make one governed call.

    Args:
        host: who governs, and how attempts may be sent.
        door: which of litellm's functions was called.
        original: that function as it was before `install`.
        alias: the alias it named.
        args: what it was called with.
        kwargs: what it was called with, by name.

    Returns:
        Whatever ``original`` returns for a model that is called by its own name.

    Raises:
        MeshError: refused or failed; always one of litellm's errors too.
    """
    with speaking_litellm(alias):
        asked = sort(door, original, args, kwargs)
        mesh = host.mesh
        request = mesh.request(
            door.operation, alias, asked.payload, host="litellm", stream=asked.stream, **asked.options
        )
        sender = _sender(host, LiteLLMSender(door, original, asked))
        if asked.stream:
            return StreamFacade(mesh.stream_call(request, sender), alias)
        return mesh.call(request, sender).body


async def agoverned_call(
    host: Governing,
    door: Door,
    original: Callable[..., Any],
    alias: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Like `governed_call`, on the caller's event loop."""
    with speaking_litellm(alias):
        asked = sort(door, original, args, kwargs)
        mesh = host.mesh
        request = await mesh.arequest(
            door.operation, alias, asked.payload, host="litellm", stream=asked.stream, **asked.options
        )
        sender = _sender(host, LiteLLMSender(door, original, asked))
        if asked.stream:
            return AsyncStreamFacade(await mesh.astream_call(request, sender), alias)
        return (await mesh.acall(request, sender)).body


def _sender(host: Governing, usual: LiteLLMSender) -> Sender:
    return usual if host.direct is None else FastSender(host.direct, usual)
