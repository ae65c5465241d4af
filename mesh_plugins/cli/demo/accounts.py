"""Who answers: two accounts at a stand-in on this machine, or at a real provider."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from mesh_store.model.errors import ConfigError

#: Providers one key in the environment is enough for: its variable, and a small model.
_KNOWN = {
    "openai": ("OPENAI_API_KEY", "gpt-4.1-mini"),
    "anthropic": ("ANTHROPIC_API_KEY", "claude-haiku-4-5"),
}


@dataclass(frozen=True, slots=True)
class Account:
    """One account at a provider.

    Attributes:
        name: what the story calls it.
        kind: the wire format it speaks.
        model: what it is asked for.
        base_url: where it lives, or None for the vendor's own address.
        secret: a reference to its credential, or None.
        price: USD per million input and output tokens, where the built-in list cannot know it.
    """

    name: str
    kind: str
    model: str
    base_url: str | None = None
    secret: str | None = None
    price: tuple[str, str] | None = None

    @property
    def target(self) -> str:
        """The target as reports show it."""
        return f"{self.name}/{self.model}"


@dataclass(frozen=True, slots=True)
class Accounts:
    """The two accounts of the story.

    Attributes:
        first, second: where the alias points at first, and where it is pointed later.
        stand_in: whether a stand-in on this machine plays both.
    """

    first: Account
    second: Account
    stand_in: bool


def choose(provider: str | None, base_url: str | None, models: Sequence[str]) -> Accounts:
    """Return the accounts for what was said on the command line.

    Raises:
        ConfigError: something is missing, or does not fit together.
    """
    if provider is not None and base_url is not None:
        raise ConfigError("give --provider or --base-url, not both")
    if len(models) > 2:
        raise ConfigError("the story has two accounts, so --model can be given twice at most")
    if provider is not None:
        return _known(provider, models)
    if base_url is not None:
        if not models:
            raise ConfigError("--base-url needs --model NAME, too")
        return _pair("openai", models, base_url, secret=None)
    if models:
        raise ConfigError("--model needs --provider or --base-url, too")
    return Accounts(
        Account("east", "openai", "small", price=("0.15", "0.60")),
        Account("west", "anthropic", "large", price=("3", "15")),
        stand_in=True,
    )


def _known(provider: str, models: Sequence[str]) -> Accounts:
    if provider not in _KNOWN:
        raise ConfigError(f"--provider {provider!r} is not known; choose from {', '.join(_KNOWN)}")
    variable, model = _KNOWN[provider]
    if not os.environ.get(variable):
        raise ConfigError(f"--provider {provider} needs {variable} in the environment")
    return _pair(provider, models or [model], None, secret=f"env:{variable}")


def _pair(kind: str, models: Sequence[str], base_url: str | None, secret: str | None) -> Accounts:
    """Two accounts of one vendor; the second may ask for another model."""
    first, second = models[0], models[-1]
    return Accounts(
        Account("east", kind, first, base_url, secret),
        Account("west", kind, second, base_url, secret),
        stand_in=False,
    )
