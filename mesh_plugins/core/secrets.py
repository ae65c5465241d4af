"""The secret of one attempt, read at the moment it is needed, from where its provider says.

=================  =================================================================================
``env:NAME``       the environment of this process
``file:PATH``      a file, trailing white space removed
``sealed:LABEL``   the configuration, opened with the caller's key: `mesh_plugins.core.sealed`
``federated``      a token endpoint: `mesh_plugins.core.federated`
=================  =================================================================================

A secret may be a map of such references. Values never appear in messages; references do.
"""

from __future__ import annotations

from mesh_plugins.core.call import ProviderCall
from mesh_plugins.core.federated import Federation
from mesh_plugins.core.ports import ConfigPort, TokenPort
from mesh_plugins.core.references import read_reference
from mesh_plugins.core.sealed import SealedSecrets
from mesh_store.model.errors import SecretError
from mesh_store.model.sealing import Values
from mesh_store.model.snapshot import Provider, Snapshot

_SEALED = "sealed:"


class Secrets:
    """Reads the secrets of attempts; thread-safe.

    Args:
        config: asked for the caller's entry again when it does not know a data key.
        tokens: posts to token endpoints; None where none is ever asked.
    """

    def __init__(self, config: ConfigPort, tokens: TokenPort | None = None) -> None:
        self._sealed = SealedSecrets(config)
        self._federation = Federation(tokens)

    def read(self, call: ProviderCall, snapshot: Snapshot) -> ProviderCall:
        """Fill in the secret of an attempt.

        Raises:
            ConfigError: it cannot be read; says which reference, and what to do.
            ProviderError: a token endpoint gave no token.
        """
        if call.provider.secret is None:
            return call
        if _is_federated(call.provider):
            call.secret = self._federation.token(call)
        else:
            opened = self._sealed.open(call, snapshot) if _is_sealed(call.provider) else {}
            call.secret = _referred(call.provider, opened)
        return call

    async def aread(self, call: ProviderCall, snapshot: Snapshot) -> ProviderCall:
        """Like `read`, on the caller's event loop."""
        if call.provider.secret is None:
            return call
        if _is_federated(call.provider):
            call.secret = await self._federation.atoken(call)
        else:
            opened = await self._sealed.aopen(call, snapshot) if _is_sealed(call.provider) else {}
            call.secret = _referred(call.provider, opened)
        return call


def _is_federated(provider: Provider) -> bool:
    return isinstance(provider.secret, dict) and "federated" in provider.secret


def _is_sealed(provider: Provider) -> bool:
    secret = provider.secret
    references = secret.values() if isinstance(secret, dict) else (secret,)
    return any(isinstance(reference, str) and reference.startswith(_SEALED) for reference in references)


def _referred(provider: Provider, opened: Values) -> str | dict[str, str] | None:
    secret = provider.secret
    if isinstance(secret, dict):
        return {name: _value(provider.name, reference, opened) for name, reference in secret.items()}
    return None if secret is None else _value(provider.name, secret, opened)


def _value(provider: str, reference: str, opened: Values) -> str:
    if not reference.startswith(_SEALED):
        return read_reference(provider, reference)
    label = reference.removeprefix(_SEALED)
    if label not in opened:
        raise SecretError(
            f"provider {provider!r} has no stored secret called {label!r}: an operator sets it with "
            f"`mesh secret set {provider}`"
        )
    return opened[label]
