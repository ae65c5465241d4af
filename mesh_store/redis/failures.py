"""What went wrong with Redis, in our words: an outage, or a mistake somebody has to correct.

An outage (`QuotaUnavailable`) is answered by a limit's policy and may open it. A mistake
(`ConfigError`) never does: wrong credentials, missing permissions and foreign data would
otherwise switch every limit off (research: LiteLLM 26672, 33323). So whatever is not known to
pass by itself counts as a mistake.
"""

from __future__ import annotations

import ssl

import msgspec
from redis import exceptions as redis_errors

from mesh_store.model.errors import ConfigError, MeshError, QuotaUnavailable

#: What redis-py, its transports and our decoding of a garbled reply can raise.
FAILURES = (
    redis_errors.RedisError,
    redis_errors.RedisClusterException,
    redis_errors.ChildDeadlockedError,
    msgspec.DecodeError,
    OSError,
)

_TRANSIENT_WORDS = frozenset(
    {
        "READONLY",
        "LOADING",
        "OOM",
        "CLUSTERDOWN",
        "MASTERDOWN",
        "NOREPLICAS",
        "BUSY",
        "TRYAGAIN",
        "UNKILLABLE",
    }
)
_TRANSIENT = (
    redis_errors.BusyLoadingError,
    redis_errors.ReadOnlyError,
    redis_errors.OutOfMemoryError,
    redis_errors.ClusterError,
    redis_errors.TryAgainError,
    redis_errors.AskError,
    redis_errors.RedisClusterException,
    redis_errors.InvalidResponse,
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.ChildDeadlockedError,
    msgspec.DecodeError,
    OSError,
)
_CREDENTIALS = (
    redis_errors.AuthenticationError,
    redis_errors.AuthorizationError,
    redis_errors.AuthenticationWrongNumberOfArgsError,
    redis_errors.NoPermissionError,
    redis_errors.ExternalAuthProviderError,
)
_UNHEARD = (redis_errors.ConnectionError, redis_errors.InvalidResponse, msgspec.DecodeError)
_NEVER_ASKED = (*_CREDENTIALS, redis_errors.BusyLoadingError, redis_errors.MaxConnectionsError)
_MISTAKES = (redis_errors.CrossSlotTransactionError,)


def translate(error: Exception) -> MeshError:
    """Say in our words why Redis could not decide.

    Returns:
        `ConfigError` for what somebody must correct, `QuotaUnavailable` for what passes; its
        ``__cause__`` is the error, also where it is handed on as a value.
    """
    said = _said(error)
    said.__cause__ = error
    return said


def _said(error: Exception) -> MeshError:
    # AuthenticationError is a ConnectionError: it must be looked at first.
    if _caused_by(error, _CREDENTIALS):
        return ConfigError(
            f"Redis refused us: {error}. Check the user, password and ACL rules in MESH_REDIS_URL "
            "(`mesh acl` prints the rules a caller needs)."
        )
    if _caused_by(error, ssl.SSLCertVerificationError):
        return ConfigError(
            f"Redis' certificate is not trusted: {error}. Check ssl_ca_certs in MESH_REDIS_URL."
        )
    if not isinstance(error, _MISTAKES) and (
        isinstance(error, _TRANSIENT) or str(error).partition(" ")[0] in _TRANSIENT_WORDS
    ):
        return QuotaUnavailable(f"Redis could not decide: {type(error).__name__}: {error}", retry_after=1.0)
    return ConfigError(f"Redis could not decide and will not by itself: {error}")


def may_have_lost_a_reply(error: Exception) -> bool:
    """Tell whether the server may have done what we asked without our hearing of it."""
    if _caused_by(error, _NEVER_ASKED):
        return False
    if isinstance(error, redis_errors.TimeoutError):
        return "connecting" not in str(error)
    return isinstance(
        error, (redis_errors.ConnectionError, redis_errors.InvalidResponse, msgspec.DecodeError)
    )


def _caused_by(error: BaseException | None, kinds: type[Exception] | tuple[type[Exception], ...]) -> bool:
    """Tell whether an error, or what it was made from, is of a kind.

    redis-py's asyncio client wraps what a handshake raised, a wrong password too, into a
    `ConnectionError` (8.1), and both clients do so with TLS errors.
    """
    while error is not None:
        if isinstance(error, kinds):
            return True
        error = error.__cause__ or error.__context__
    return False
