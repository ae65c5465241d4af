"""The one tree of errors.

::

    MeshError
    ├── ConfigError                  wrong settings or stored configuration; say what to change
    │   ├── PluginError              a plugin that cannot be loaded or broke its contract
    │   ├── SecretError              a provider's secret that cannot be had; never says what it is
    │   └── Rejected           422   an operator's change that would break a rule; nothing was changed
    │       ├── NotFound       404
    │       └── Conflict       409   the name is taken, or somebody changed it in the meantime
    ├── Denied                       the mesh said no, and knows why
    │   ├── InvalidKey         401   unknown, wrong, revoked and expired answer alike
    │   ├── AccessDenied       403
    │   ├── UnknownAlias       404
    │   └── QuotaExceeded      429   names the limit, whose it is, and when to come back
    │       └── BudgetExceeded 429
    ├── Unavailable                  the mesh could not decide, and the policy is closed
    │   ├── ConfigUnavailable  503
    │   ├── QuotaUnavailable   503
    │   └── DatabaseUnavailable 503  operators and collectors only; callers never ask Postgres
    └── ProviderError                the provider failed; status, provider and attempt are kept

A message says what happened, to which team, key, alias or limit, and what to do now. It never
holds a secret. Host adapters derive classes from one of these *and* the host's own error.
"""

from __future__ import annotations

from collections.abc import Sequence


class MeshError(Exception):
    """Anything Mesh raises on purpose.

    Attributes:
        status: the HTTP status a gateway would have answered with.
    """

    status: int = 500


class ConfigError(MeshError):
    """Settings or stored configuration are wrong; the message says what to change."""


class PluginError(ConfigError):
    """A plugin could not be loaded, or broke the contract of a hook; the message names both."""


class SecretError(ConfigError):
    """A provider's secret cannot be had: not there, not for this caller, moved or altered."""


class Rejected(ConfigError):
    """An operator's change would break a rule; nothing was changed.

    Attributes:
        field: the field at fault (``"targets.0.weight"``), or None when it is not one field.
    """

    status = 422

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class NotFound(Rejected):
    """There is no live thing of that kind and name."""

    status = 404


class Conflict(Rejected):
    """The name is taken, or somebody else changed the thing since it was read."""

    status = 409


class Denied(MeshError):
    """The mesh refused the call. Nothing was charged and no provider was asked."""

    status = 403


class InvalidKey(Denied):
    """The caller's key is unknown, wrong, revoked or expired; which of them is in the audit log."""

    status = 401


class AccessDenied(Denied):
    """The key is good, but its team may not use this alias."""

    status = 403


class UnknownAlias(Denied):
    """No alias of that name exists in the configuration the caller holds."""

    status = 404


class QuotaExceeded(Denied):
    """A limit has no room for the call.

    Attributes:
        limit: the binding limit as people write it (``"600 requests/min"``), or None.
        subject: whose limit it is (``"team research"``), or None.
        requested: what the call would have taken, in the limit's units.
        remaining: what is left of the binding limit, in its units.
        retry_after: seconds until the same call would be admitted; None when it never can be.
        headroom: remaining units of every limit that was asked, by ``"subject: limit"``.
    """

    status = 429

    def __init__(
        self,
        message: str,
        *,
        limit: str | None = None,
        subject: str | None = None,
        requested: int | None = None,
        remaining: int | None = None,
        retry_after: float | None = None,
        headroom: dict[str, int] | None = None,
    ) -> None:
        super().__init__(message)
        self.limit = limit
        self.subject = subject
        self.requested = requested
        self.remaining = remaining
        self.retry_after = retry_after
        self.headroom = headroom or {}


class BudgetExceeded(QuotaExceeded):
    """A budget in USD has no room for the call; amounts are pico-USD."""


class Unavailable(MeshError):
    """The mesh could not decide, and the policy for that is closed."""

    status = 503


class ConfigUnavailable(Unavailable):
    """No configuration could be had: neither from Redis nor from this machine's last good copy."""


class QuotaUnavailable(Unavailable):
    """A limit could not be checked, and its policy is ``closed``.

    Attributes:
        retry_after: seconds after which asking again makes sense, or None.
        asked: False when Redis was not even asked, so that nothing can have been granted unheard.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, asked: bool = True) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.asked = asked


class DatabaseUnavailable(Unavailable):
    """Postgres cannot be reached or did not answer in time; callers go on without it."""


class ProviderError(MeshError):
    """The provider refused, failed or could not be reached.

    Attributes:
        provider: the provider account's name.
        model: the model that was asked for.
        attempt: which attempt of the call this was, from 1.
        status: the HTTP status the provider answered with, or 502 when there was no answer.
        body: the provider's own error text, bounded, or "".
        kind: ``"status"``, ``"connect"``, ``"timeout"``, ``"incomplete"``, ``"protocol"``, or ``"setup"``
            when it could not even be asked.
        retry_after: seconds the provider asked us to wait, or None.
        attempts: every failed attempt before this one, oldest first.
        native: the host's or transport's own exception, or None; a host raises it instead of this.
        billed: True when the provider answered with success what could not be read.
    """

    def __init__(
        self,
        message: str,
        *,
        provider: str,
        model: str,
        attempt: int = 1,
        status: int = 502,
        body: str = "",
        kind: str = "status",
        retry_after: float | None = None,
        attempts: Sequence[ProviderError] = (),
        native: BaseException | None = None,
        billed: bool = False,
    ) -> None:
        super().__init__(message)
        self.native = native
        self.billed = billed
        self.provider = provider
        self.model = model
        self.attempt = attempt
        self.status = status
        self.body = body
        self.kind = kind
        self.retry_after = retry_after
        self.attempts = tuple(attempts)
