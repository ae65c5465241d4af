"""What the aliases of these tests mean: every kind of provider, all of them the stand-in."""

from __future__ import annotations

from typing import Any

from mesh_plugins.testing.provider import StandInProvider
from mesh_store.model.limits import Limit
from mesh_store.model.snapshot import (
    Alias,
    LimitRule,
    Provider,
    SnapshotDocument,
    Subject,
    Target,
    Team,
)
from mesh_store.model.usage import Rates

OPERATIONS = ("chat", "embeddings", "responses", "text_completion")


def document(provider: StandInProvider) -> SnapshotDocument:
    """Aliases on the stand-in: plain, with a second tier, of other kinds, priced in USD."""
    return SnapshotDocument(
        epoch="e",
        revision=7,
        compiled_at_us=1,
        teams=(Team("t1", "research"),),
        providers=_providers(provider),
        aliases=_aliases(),
        rates={"x1": Rates(input=10, output=20), "x6": Rates(input=10, output=20)},
        limits=(_rule(1, "requests", 600), _rule(2, "usd", 50 * 10**12, "a5")),
    )


def _providers(provider: StandInProvider) -> tuple[Provider, ...]:
    return (
        Provider(
            id="p1",
            name="first",
            kind="openai",
            base_url=provider.base_url,
            secret="env:MESH_TEST_SECRET",
            headers={"x-tenant": "blue"},
            query={"zone": "eu"},
        ),
        Provider(
            id="p2",
            name="second",
            kind="anthropic",
            base_url=provider.anthropic_url,
            secret="env:MESH_TEST_SECRET",
        ),
        Provider(
            id="p3",
            name="third",
            kind="litellm",
            base_url=provider.base_url,
            secret="env:MESH_TEST_SECRET",
        ),
        Provider(id="p4", name="open", kind="openai", base_url=provider.base_url),
        Provider(
            id="p8",
            name="silent",
            kind="openai",
            base_url=provider.base_url,
            options={"stream_usage": False},
        ),
        Provider(id="p9", name="anywhere", kind="litellm", secret="env:MESH_TEST_SECRET"),
        Provider(
            id="p5",
            name="identified",
            kind="anthropic",
            base_url=provider.anthropic_url,
            secret={"token": "env:MESH_TEST_SECRET"},
        ),
        *(
            Provider(
                id=f"p{number}",
                name=f"azure-{number}",
                kind="openai",
                base_url=provider.base_url,
                secret=secret,
                options={"azure": True, "api_version": "2024-10-21"},
            )
            for number, secret in ((6, "env:MESH_TEST_SECRET"), (7, {"token": "env:MESH_TEST_SECRET"}))
        ),
    )


def _aliases() -> tuple[Alias, ...]:
    return (
        _alias(1, "fast", Target(id="x1", provider="p1", model="small")),
        _alias(2, "claude", Target(id="x2", provider="p2", model="claude-stand-in")),
        _alias(3, "any", Target(id="x3", provider="p3", model="openai/tiny")),
        _alias(
            4,
            "tiered",
            Target(id="x4", provider="p1", model="flaky"),
            Target(id="x5", provider="p2", model="claude-stand-in", tier=2),
        ),
        _alias(5, "costly", Target(id="x6", provider="p1", model="small")),
        _alias(6, "secret", Target(id="x7", provider="p1", model="small"), grants=("t2",)),
        _alias(7, "keyless", Target(id="x8", provider="p4", model="small")),
        _alias(8, "loop", Target(id="x9", provider="p1", model="mesh/fast")),
        _alias(9, "openai/named", Target(id="x10", provider="p1", model="named")),
        _alias(10, "identified", Target(id="x11", provider="p5", model="claude-stand-in")),
        _alias(11, "azure", Target(id="x12", provider="p6", model="small")),
        _alias(12, "azure-identified", Target(id="x13", provider="p7", model="small")),
        _alias(13, "silent", Target(id="x14", provider="p8", model="small")),
        _alias(14, "anywhere", Target(id="x15", provider="p9", model="openai/tiny")),
    )


def _alias(number: int, name: str, *targets: Target, **more: Any) -> Alias:
    return Alias(
        id=f"a{number}", name=name, operations=OPERATIONS, targets=targets, timeout_us=30_000_000, **more
    )


def _rule(number: int, dimension: Any, amount: int, alias_id: str | None = None) -> LimitRule:
    return LimitRule(
        id=f"r{number}",
        subject=Subject(team="t1", alias=alias_id),
        dimension=dimension,
        limit=Limit(amount=amount, period_us=60_000_000),
        text="$50/day" if dimension == "usd" else f"{amount} {dimension}/min",
        label="team research",
    )
