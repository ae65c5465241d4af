"""A manifest as callers would hold it, without a database: names stand for ids."""

from __future__ import annotations

from typing import Any

from mesh_store.admin.manifest.document import parse
from mesh_store.admin.manifest.things import Thing, Things
from mesh_store.admin.manifest.wanted import wanted
from mesh_store.model.context_windows import ContextWindows
from mesh_store.model.labels import MOST_APART
from mesh_store.model.limit_text import parse_terms
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
from mesh_store.postgres.rates import Prices
from mesh_store.postgres.repository.limit_values import label_of

#: USD per million tokens, in pico-USD per token.
_PER_TOKEN = 1_000_000
_SUBJECTS = ("team", "user", "key", "alias", "provider", "target", "end_user", "tag")


def document_of(text: str, file: str) -> SnapshotDocument:
    """Return what a manifest would publish; limits on keys are among the others.

    Args:
        text: YAML.
        file: what it is called in messages.

    Raises:
        ManifestError: names the place of everything that is wrong.
    """
    things = wanted(*parse(text, file), {})
    providers = tuple(_provider(thing) for thing in things["provider"].values())
    prices = Prices(providers, ())
    aliases = tuple(_alias(thing, things, prices) for thing in things["alias"].values())
    windows = ContextWindows(aliases)
    return SnapshotDocument(
        epoch="simulation",
        revision=1,
        compiled_at_us=0,
        teams=tuple(Team(name, name) for name in sorted(_teams(things))),
        providers=providers,
        aliases=aliases,
        limits=tuple(_limit(thing, windows) for thing in things["limit"].values()),
        rates=dict(_rates(things, aliases, prices)),
    )


def _teams(things: Things) -> set[str]:
    return {str(thing.key[0]) for thing in things["team"].values()}


def _provider(thing: Thing) -> Provider:
    spec: Any = thing.spec
    return Provider(
        id=_provider_id(spec.name, spec.team),
        name=spec.name,
        kind=spec.kind,
        base_url=spec.base_url,
        options=dict(spec.options),
        team=spec.team,
    )


def _provider_id(name: str, team: str | None) -> str:
    return name if team is None else f"{team}:{name}"


def _alias(thing: Thing, things: Things, prices: Prices) -> Alias:
    spec: Any = thing.spec
    alias_id = _alias_id(spec.name, spec.team)
    return Alias(
        id=alias_id,
        name=spec.name,
        operations=("chat", "responses", "text_completion", "embeddings"),
        team=spec.team,
        grants=spec.grants,
        targets=tuple(_target(alias_id, target, things, prices) for target in spec.targets),
        max_output_tokens=spec.max_output_tokens,
    )


def _alias_id(name: str, team: str | None) -> str:
    return name if team is None else f"{team}:{name}"


def _target(alias_id: str, target: Any, things: Things, prices: Prices) -> Target:
    listed = (
        prices.window(target.provider, target.model) if (target.provider,) in things["provider"] else None
    )
    return Target(
        id=f"{alias_id}>{target.provider}/{target.model}",
        provider=target.provider,
        model=target.model,
        tier=target.tier,
        weight=target.weight,
        max_output_tokens=target.max_output_tokens,
        context_window=target.context_window or listed,
    )


def _limit(thing: Thing, windows: ContextWindows) -> LimitRule:
    spec: Any = thing.spec
    terms = parse_terms(spec.limit)
    names = {name: getattr(spec, name) for name in _SUBJECTS}
    ids = dict(names)
    if spec.alias is not None:
        ids["alias"] = _alias_id(spec.alias, thing.owner)
    if spec.target is not None:
        ids["target"] = f"{ids['alias']}>{spec.target}"
    return LimitRule(
        id=f"{label_of(names)}: {terms.dimension}/{terms.kind}/{terms.period_us}",
        subject=Subject(**ids),
        dimension=terms.dimension,
        limit=terms.limit(windows.largest(spec.team, ids["alias"])),
        text=terms.text,
        label=label_of(names),
        enforce=spec.enforce,
        on_exhausted=spec.on_exhausted,
        distinct=spec.distinct or MOST_APART,
    )


def _rates(things: Things, aliases: tuple[Alias, ...], prices: Prices) -> Any:
    for alias in aliases:
        for target in alias.targets:
            own = things["price"].get((target.provider, target.model))
            rates = _own(own.spec) if own else None
            if rates is None and (target.provider,) in things["provider"]:
                rates = prices.of(target.provider, target.model).since(0)
            if rates is not None:
                yield target.id, rates


def _own(spec: Any) -> Rates:
    def pico(amount: Any) -> int | None:
        return None if amount is None else int(amount * _PER_TOKEN)

    return Rates(
        input=int(spec.input * _PER_TOKEN),
        output=int(spec.output * _PER_TOKEN),
        cache_read=pico(spec.cache_read),
        cache_write=pico(spec.cache_write),
        reasoning=pico(spec.reasoning),
        request=int(spec.request * 10**12),
    )
