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
from mesh_store.redis.servers.mistakes import Misconfigured

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
_NEVER_ASKED = (
    *_CREDENTIALS,
    Misconfigured,
    redis_errors.BusyLoadingError,
    redis_errors.MaxConnectionsError,
)
_MISTAKES = (redis_errors.CrossSlotTransactionError,)
_ANOTHER_SERVER = (redis_errors.ReadOnlyError, redis_errors.MasterDownError)

#: What OpenSSL says when two sides will never understand one another: alerts about certificates and
#: protocols, and answers that are no TLS at all.
_TLS_MISTAKES = (
    *("CERTIFICATE", "UNKNOWN_CA", "HANDSHAKE_FAILURE", "PROTOCOL_VERSION", "ACCESS_DENIED"),
    *("UNRECOGNIZED_NAME", "WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"),
    *("UNSUPPORTED_PROTOCOL", "NO_SHARED_CIPHER", "HTTP_REQUEST"),
)
#: OpenSSL's codes of verification.
_NOT_YET_VALID, _EXPIRED, _OTHER_NAMES = 9, 10, (62, 63, 64)


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
    mistake = _cause(error, (Misconfigured,))
    if mistake is not None:
        return ConfigError(f"{mistake}. Check MESH_REDIS_URL.")
    broken = _cause(error, (ssl.SSLError,))
    if isinstance(broken, ssl.SSLError) and (told := _tls_mistake(broken)) is not None:
        return ConfigError(told)
    if isinstance(error, redis_errors.AskError):
        return ConfigError(
            f"the server is one of a cluster ({type(error).__name__}): begin MESH_REDIS_URL with "
            "redis+cluster:// (rediss+cluster:// over TLS)"
        )
    if not isinstance(error, _MISTAKES) and (
        isinstance(error, _TRANSIENT) or str(error).partition(" ")[0] in _TRANSIENT_WORDS
    ):
        return QuotaUnavailable(f"Redis could not decide: {type(error).__name__}: {error}", retry_after=1.0)
    return ConfigError(f"Redis could not decide and will not by itself: {error}")


def _tls_mistake(error: ssl.SSLError) -> str | None:
    """Say what is wrong with a certificate or the protocol; None when the connection merely broke."""
    if isinstance(error, ssl.SSLCertVerificationError):
        code, said = getattr(error, "verify_code", None), getattr(error, "verify_message", str(error))
        if code == _EXPIRED:
            return "Redis' certificate has expired: renew it on the server"
        if code == _NOT_YET_VALID:
            return "Redis' certificate is not valid yet: look at the clocks of both machines"
        if code in _OTHER_NAMES:
            return (
                f"Redis' certificate is for another name: {said}. Connect by the name it is for, or give "
                "that one as ssl_server_name in MESH_REDIS_URL."
            )
        return f"Redis' certificate is not trusted: {said}. Check ssl_ca_certs in MESH_REDIS_URL."
    reason = error.reason or ""
    if not any(word in reason for word in _TLS_MISTAKES):
        return None
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
        return (
            f"Redis refused our certificate, or misses one ({reason}): check ssl_certfile and ssl_keyfile in "
            "MESH_REDIS_URL"
        )
    return f"no TLS with Redis ({reason}): check that MESH_REDIS_URL names a port that speaks it"


def needs_another_server(error: Exception) -> bool:
    """Tell whether a server said that it is not, or no longer, the one to ask: it did nothing."""
    return isinstance(error, _ANOTHER_SERVER)


def may_have_lost_a_reply(error: Exception) -> bool:
    """Tell whether the server may have done what we asked without our hearing of it."""
    if _caused_by(error, _NEVER_ASKED):
        return False
    broken = _cause(error, (ssl.SSLError,))
    if isinstance(broken, ssl.SSLError) and _tls_mistake(broken) is not None:
        return False
    if isinstance(error, redis_errors.TimeoutError):
        return "connecting" not in str(error)
    return isinstance(
        error, (redis_errors.ConnectionError, redis_errors.InvalidResponse, msgspec.DecodeError)
    )


def _caused_by(error: BaseException, kinds: tuple[type[Exception], ...]) -> bool:
    """Tell whether an error, or what it was made from, is of a kind."""
    return _cause(error, kinds) is not None


def _cause(error: BaseException | None, kinds: tuple[type[Exception], ...]) -> BaseException | None:
    """Return the error of a kind that an error is, or was made from.

    redis-py's asyncio client wraps what a handshake raised, a wrong password too, into a
    `ConnectionError` (8.1), and both clients do so with TLS errors.
    """
    while error is not None:
        if isinstance(error, kinds):
            return error
        error = error.__cause__ or error.__context__
    return None
