"""What went wrong, from aiohttp's exceptions into a transport's own."""

from __future__ import annotations

import os
from typing import NoReturn

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from mesh_plugins.http.transport import FailureKind, TransportFailure


def fail(error: Exception, *, answered: bool = False) -> NoReturn:
    """Raise what a transport may raise for one of aiohttp's exceptions, or the exception itself."""
    if isinstance(error, aiohttp.ClientError | HttpProcessingError | OSError):
        raise TransportFailure(*_told(error, answered=answered)) from None
    if isinstance(error, ValueError) and not answered:
        raise TransportFailure("connect", "its URL or a header cannot be sent") from None
    raise error


def _told(error: Exception, *, answered: bool) -> tuple[FailureKind, str]:
    """Say what happened, without the URL: its query may hold a secret."""
    match error:
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return "connect", "its URL cannot be used"
        case aiohttp.ClientHttpProxyError():
            return "connect", f"its proxy answered {error.status}"
        case aiohttp.ClientConnectorCertificateError():
            return "connect", f"its certificate is not trusted: {error.certificate_error}"
        case aiohttp.ClientConnectorError():
            return "connect", error.os_error.strerror or str(error.os_error)
        case aiohttp.ConnectionTimeoutError():
            return "connect", "no connection in time"
        case aiohttp.SocketTimeoutError():
            return "timeout", "silent for too long"
        case TimeoutError():
            return "timeout", "the total deadline has passed"
        case aiohttp.ServerDisconnectedError():
            said = "the connection closed before an answer came"
        case aiohttp.ClientResponseError() | HttpProcessingError():
            said = " ".join(error.message.split())
        case OSError():
            said = os.strerror(error.errno) if error.errno else "the connection was lost"
        case _:
            said = " ".join(str(error).split())
    return "incomplete" if answered else "protocol", said or type(error).__name__
