"""Short-lived provider tokens in exchange for this workload's own identity.

No shared provider secret is anywhere: the subject token is what the platform gives this process (a
projected service account token, a GitHub Actions id token, …), and a token endpoint exchanges it for
one of the provider's that expires in minutes (RFC 8693 token exchange, or RFC 7523 JWT bearer).

A token is exchanged once for all callers of this process, kept in memory, and renewed ahead of its
end by whoever comes first, while the others go on with the one there is.
"""

from __future__ import annotations

import asyncio
import json
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from mesh_plugins.core.call import ProviderCall
from mesh_plugins.core.ports import TokenPort, TokenUnreachable
from mesh_plugins.core.references import read_reference
from mesh_store.model.errors import ConfigError, ProviderError
from mesh_store.model.forking import forkable_lock

#: Seconds an exchange may take, unless the call has less left.
EXCHANGE_S = 10.0
#: Renewed when this share of its life is left, within these bounds in seconds.
_AHEAD, _LEAST_AHEAD, _MOST_AHEAD = 0.2, 5.0, 120.0
#: The life of a token whose endpoint does not say, and the longest that is believed; seconds.
_UNSAID_LIFE, _LONGEST_LIFE = 300.0, 3_600.0
_LONGEST_TOKEN = 16_384
_MOST_KEPT = 256
_GRANTS = {
    "token-exchange": "urn:ietf:params:oauth:grant-type:token-exchange",
    "jwt-bearer": "urn:ietf:params:oauth:grant-type:jwt-bearer",
}
_PASSED_ON = ("audience", "scope", "resource", "client_id", "requested_token_type")


class Token:
    """One provider's token, and the locks of who renews it.

    Attributes:
        value: the token, or "" before the first.
        renew_at, ends_at: when it should be, and when it must be, another one.
    """

    __slots__ = ("ends_at", "lock", "loops", "renew_at", "value")

    def __init__(self) -> None:
        self.value = ""
        self.renew_at = self.ends_at = float("-inf")
        self.lock = forkable_lock()
        self.loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = (
            weakref.WeakKeyDictionary()
        )

    def __repr__(self) -> str:
        return f"Token(ends_at={self.ends_at})"

    def loop_lock(self) -> asyncio.Lock:
        """Return the lock of the running loop."""
        return self.loops.setdefault(asyncio.get_running_loop(), asyncio.Lock())


class Federation:
    """Has a token for each provider that wants one.

    Args:
        port: posts to token endpoints; None where none is ever asked.
        clock: seconds that only grow.
    """

    def __init__(self, port: TokenPort | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._port = port
        self._clock = clock
        self._tokens: dict[str, Token] = {}

    def token(self, call: ProviderCall) -> dict[str, str]:
        """Return the provider's token, as a secret of that one value.

        Raises:
            ConfigError: the subject token cannot be read.
            ProviderError: the endpoint could not be reached or refused.
        """
        token = self._of(call)
        now = self._clock()
        if now >= token.renew_at and token.lock.acquire(blocking=now >= token.ends_at):
            try:
                if self._clock() >= token.renew_at:
                    self._take(call, token, *self._asked(call))
            except ProviderError:
                if not self._stands(token):
                    raise
            finally:
                token.lock.release()
        return {"token": token.value}

    async def atoken(self, call: ProviderCall) -> dict[str, str]:
        """Like `token`, on the caller's event loop."""
        token = self._of(call)
        now = self._clock()
        if now >= token.renew_at and (now >= token.ends_at or not token.loop_lock().locked()):
            async with token.loop_lock():
                try:
                    if self._clock() >= token.renew_at:
                        self._take(call, token, *await self._aasked(call))
                except ProviderError:
                    if not self._stands(token):
                        raise
        return {"token": token.value}

    def _of(self, call: ProviderCall) -> Token:
        wanted = json.dumps([call.provider.id, call.provider.secret], sort_keys=True)
        token = self._tokens.get(wanted)
        if token is None:
            while len(self._tokens) >= _MOST_KEPT:
                self._tokens.pop(next(iter(self._tokens)), None)
            token = self._tokens.setdefault(wanted, Token())
        return token

    def _stands(self, token: Token) -> bool:
        """Tell whether the present token may be used on although renewing it failed."""
        token.renew_at = min(token.ends_at, self._clock() + _LEAST_AHEAD)
        return self._clock() < token.ends_at

    def _asked(self, call: ProviderCall) -> tuple[int, bytes]:
        port, url, form = self._question(call)
        try:
            return port.post(url, form, min(EXCHANGE_S, call.timeout_s))
        except TokenUnreachable as error:
            raise _unreachable(call, error) from None

    async def _aasked(self, call: ProviderCall) -> tuple[int, bytes]:
        port, url, form = await asyncio.to_thread(self._question, call)
        try:
            return await port.apost(url, form, min(EXCHANGE_S, call.timeout_s))
        except TokenUnreachable as error:
            raise _unreachable(call, error) from None

    def _question(self, call: ProviderCall) -> tuple[TokenPort, str, dict[str, str]]:
        if self._port is None:
            raise ConfigError(
                f"provider {call.provider.name!r} needs a token endpoint, which is not asked here"
            )
        secret = call.provider.secret
        settings: Mapping[str, Any] = secret["federated"] if isinstance(secret, dict) else {}
        return self._port, settings["token_url"], form_of(call.provider.name, settings)

    def _take(self, call: ProviderCall, token: Token, status: int, body: bytes) -> None:
        value, life = granted(call, status, body)
        now = self._clock()
        ahead = min(max(life * _AHEAD, _LEAST_AHEAD), _MOST_AHEAD, life / 2)
        token.value, token.renew_at, token.ends_at = value, now + life - ahead, now + life


def form_of(provider: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the form a token endpoint is sent.

    Raises:
        ConfigError: the subject token or the client's secret cannot be read.
    """
    grant = settings.get("grant_type", "token-exchange")
    subject = read_reference(provider, settings["subject_token"])
    form = {"grant_type": _GRANTS[grant]}
    if grant == "jwt-bearer":
        form["assertion"] = subject
    else:
        form["subject_token"] = subject
        kind = settings.get("subject_token_type") or "urn:ietf:params:oauth:token-type:jwt"
        form["subject_token_type"] = kind
    form |= {name: settings[name] for name in _PASSED_ON if settings.get(name)}
    if settings.get("client_secret"):
        form["client_secret"] = read_reference(provider, settings["client_secret"])
    return form | dict(settings.get("extra") or {})


def granted(call: ProviderCall, status: int, body: bytes) -> tuple[str, float]:
    """Return the token an endpoint gave, and the seconds it holds.

    Raises:
        ProviderError: it gave none; says its error code and nothing else of its answer.
    """
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    said = said if isinstance(said, dict) else {}
    value = said.get("access_token")
    if not 200 <= status < 300 or not isinstance(value, str) or not 1 <= len(value) <= _LONGEST_TOKEN:
        code = said.get("error")
        reason = code[:100] if isinstance(code, str) and code.isprintable() else "no token"
        transient = status >= 500 or status == 429
        raise _failed(
            call, f"its token endpoint answered {status}: {reason}", 503 if transient else 401, "status"
        )
    life = said.get("expires_in")
    if isinstance(life, str) and life.isdigit():
        life = int(life[:9])
    if isinstance(life, bool) or not isinstance(life, int | float) or not 1 <= life < float("inf"):
        life = _UNSAID_LIFE
    return value, min(float(life), _LONGEST_LIFE)


def _unreachable(call: ProviderCall, error: TokenUnreachable) -> ProviderError:
    return _failed(call, f"its token endpoint cannot be reached: {error}", 503, "connect")


def _failed(call: ProviderCall, why: str, status: int, kind: str) -> ProviderError:
    return ProviderError(
        f"provider {call.provider.name!r} (model {call.target.model!r}): {why}",
        provider=call.provider.name,
        model=call.target.model,
        attempt=call.attempt,
        status=status,
        kind=kind,
    )
