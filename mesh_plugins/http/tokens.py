"""Forms posted to token endpoints, over the same transports as everything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from mesh_plugins.core.ports import TokenUnreachable

if TYPE_CHECKING:
    from mesh_plugins.http.transport import HttpRequest, Transport


class TokenEndpoints:
    """The core's `TokenPort` over a transport, which is made when the first token is needed."""

    def __init__(self, transport: Transport | None = None) -> None:
        self._made = transport

    def post(self, url: str, form: Mapping[str, str], timeout_s: float) -> tuple[int, bytes]:
        """Post a form and return the status and the body."""
        from mesh_plugins.http.transport import TransportFailure

        try:
            response = self._transport.send(_request(url, form, timeout_s))
        except TransportFailure as failure:
            raise TokenUnreachable(str(failure)) from None
        return response.status, response.body

    async def apost(self, url: str, form: Mapping[str, str], timeout_s: float) -> tuple[int, bytes]:
        """Like `post`, on the caller's event loop."""
        from mesh_plugins.http.transport import TransportFailure

        try:
            response = await self._transport.asend(_request(url, form, timeout_s))
        except TransportFailure as failure:
            raise TokenUnreachable(str(failure)) from None
        return response.status, response.body

    @property
    def _transport(self) -> Transport:
        if self._made is None:
            from mesh_plugins.http.default import DefaultTransport

            self._made = DefaultTransport()
        return self._made


def _request(url: str, form: Mapping[str, str], timeout_s: float) -> HttpRequest:
    from mesh_plugins.http.transport import HttpRequest

    headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
    return HttpRequest(url=url, headers=headers, body=urlencode(form).encode(), timeout_s=timeout_s)
