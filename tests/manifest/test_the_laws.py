"""Laws: applying twice changes nothing, and an export is what was there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mesh_store.admin.manifest import ManifestError
from mesh_store.admin.manifest.things import key_of
from mesh_store.model.specs import LimitSpec

if TYPE_CHECKING:
    from tests.manifest.conftest import Ground

TEAMS = ("red", "blue", "team/three")
USERS = ("ada@example.com", "bob", "service-1")
PROVIDERS = ("openai", "azure.eu", "local")
NAMES = ("fast", "gpt-4.1-mini", "openai/x", "1e5", "v/*")
MODELS = ("gpt-5", "Qwen/Qwen3:8b", "1e5", "no")
LIMITS = (
    "600 requests/min", "10 requests/s, burst 2", "200k tokens/min", "1M tokens/day, hard", "$50/day",
    "$1.25/month, tz Europe/Berlin", "20 concurrent", "$3/hour, rolling", "7 requests/day, calendar",
    "90 input tokens/min, on outage closed",
)  # fmt: skip
COUNTS = st.integers(1, 1_000_000_000)

printable = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=40)
plain_text = printable.filter(str.isprintable)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1), plain_text,
    st.floats(-1e12, 1e12, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-9),
)  # fmt: skip
documents = st.dictionaries(
    plain_text.filter(bool), st.recursive(scalars, lambda each: st.lists(each, max_size=3)), max_size=3
)
parameters = st.dictionaries(st.sampled_from(("temperature", "seed", "top_p", "stop")), scalars, max_size=2)


def some(values: Any, **kwargs: Any) -> Any:
    return st.lists(st.sampled_from(values), unique=True, **kwargs)


def maybe(**fields: Any) -> Any:
    return st.fixed_dictionaries({}, optional=fields)


def put(fixed: dict[str, Any], optional: Any) -> Any:
    return st.builds(lambda a, b: a | b, st.fixed_dictionaries(fixed), optional)


described = maybe(description=plain_text, metadata=documents)
prices = st.decimals(0, 1000, places=6).map(str)


@st.composite
def manifests(draw: Any) -> dict[str, Any]:
    """A manifest whose names are all there."""
    users, teams, providers = draw(some(USERS)), draw(some(TEAMS)), draw(some(PROVIDERS))
    said: dict[str, Any] = {
        "version": 1,
        "users": [{"name": name} | draw(described) for name in users],
        "teams": [_team(draw, name, users) for name in teams],
        "providers": [_provider(draw, name) for name in providers],
        "aliases": [],
        "limits": [],
        "prices": [],
    }
    places = [(team, name) for team in (None, *teams) for name in NAMES]
    for team, name in draw(some(places, max_size=4)):
        said["aliases"].append(_alias(draw, team, name, teams, providers))
    if providers:
        for provider, model in draw(some([(p, m) for p in providers for m in MODELS], max_size=2)):
            rates = draw(put({"input": prices, "output": prices}, maybe(cache_read=prices, request=prices)))
            said["prices"].append({"provider": provider, "model": model} | rates)
    seen: set[str] = set()
    for _ in range(draw(st.integers(0, 5))):
        limit = _limit(draw, said, users, teams, providers)
        if (same := repr(sorted(limit.items()))) not in seen:
            seen.add(same)
            said["limits"].append(limit)
    return said


def _team(draw: Any, name: str, users: list[str]) -> dict[str, Any]:
    members = draw(some(users)) if users else []
    roles = [draw(st.sampled_from((user, {"user": user, "role": "admin"}))) for user in members]
    return {"name": name, "members": roles, "limits": draw(some(LIMITS, max_size=3))} | draw(described)


def _provider(draw: Any, name: str) -> dict[str, Any]:
    secret = st.sampled_from(("env:KEY", {"a": "env:A", "b": "file:/run/b"}))
    url = st.sampled_from(("https://api.example.com/v1", "http://127.0.0.1:8080"))
    optional = maybe(
        secret=secret,
        base_url=url,
        headers=st.just({"X-Team": "a b"}),
        query=st.just({"v": "1"}),
        options=documents,
    )
    return {"name": name, "kind": draw(st.sampled_from(("openai", "anthropic", "litellm")))} | draw(optional)


def _alias(draw: Any, team: str | None, name: str, teams: list[str], providers: list[str]) -> dict[str, Any]:
    places = [(p, m, t) for p in providers for m in MODELS for t in (1, 2)]
    targets = []
    for provider, model, tier in draw(some(places, max_size=3)) if places else []:
        optional = maybe(
            weight=st.integers(0, 9), params=parameters, max_output_tokens=COUNTS, context_window=COUNTS
        )
        targets.append({"provider": provider, "model": model, "tier": tier} | draw(optional))
    if len(targets) > 1 and draw(st.booleans()):
        canary = {"provider": targets[0]["provider"], "model": targets[0]["model"]}
        share = draw(st.sampled_from(("5%", "0.25 %", "100.0%")))
        places = {(target["provider"], target["model"], target["tier"]) for target in targets[1:]}
        if (canary["provider"], canary["model"], 1) not in places:
            targets[0] = canary | {"canary": share}
    if name.endswith("*") and targets:
        targets[0]["model"] = "us/*"
    optional = maybe(
        operations=some(("chat", "embeddings", "responses"), min_size=1),
        defaults=parameters,
        forced=parameters,
        max_output_tokens=COUNTS,
        timeout=st.floats(0.001, 86_400),
        deprecated=plain_text.filter(bool),
    )
    alias = {"name": name, "targets": targets} | draw(optional)
    if team is not None:
        return alias | {"team": team}
    return alias | (draw(maybe(grants=some(teams))) if teams else {})


def _limit(
    draw: Any, said: dict[str, Any], users: list[str], teams: list[str], providers: list[str]
) -> dict[str, Any]:
    limit: dict[str, Any] = {"limit": draw(st.sampled_from(LIMITS))}
    for kind, names in (("team", teams), ("user", users), ("provider", providers)):
        if names and draw(st.booleans()):
            limit[kind] = draw(st.sampled_from(names))
    if draw(st.booleans()):
        limit |= draw(maybe(enforce=st.booleans(), on_exhausted=st.sampled_from(("allow", "cut"))))
    reachable = [alias for alias in said["aliases"] if alias.get("team") in (None, limit.get("team"))]
    own = {alias["name"] for alias in reachable if alias.get("team")}
    reachable = [alias for alias in reachable if alias.get("team") or alias["name"] not in own]
    if reachable and draw(st.booleans()):
        alias = draw(st.sampled_from(reachable))
        limit["alias"] = alias["name"]
        if alias["targets"] and draw(st.booleans()):
            target = draw(st.sampled_from(alias["targets"]))
            limit["target"] = f"{target['provider']}/{target['model']}"
    return limit


def as_text(said: dict[str, Any]) -> str:
    """Write it as JSON would be, which is YAML; limits that are there twice go."""
    return json.dumps(without_twins(said), ensure_ascii=False)


def without_twins(said: dict[str, Any]) -> dict[str, Any]:
    """Keep one limit of a dimension, kind and period for each of the subjects."""
    keys = set()
    for team in said["teams"]:
        kept = []
        for text in team["limits"]:
            key = key_of("limit", LimitSpec(limit=text, team=team["name"]))
            if key not in keys:
                keys.add(key)
                kept.append(text)
        team["limits"] = kept
    kept_limits = []
    for limit in said["limits"]:
        key = key_of("limit", LimitSpec(**limit))
        if key not in keys:
            keys.add(key)
            kept_limits.append(limit)
    said["limits"] = kept_limits
    return said


LAW = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),  # shrinking asks the database for minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@LAW
@given(before=manifests(), after=manifests())
async def test_what_is_applied_is_there_and_exports_as_what_it_is(
    ground: Ground, other: Ground, before: Any, after: Any
) -> None:
    await round_trip(ground, other, before, after)


@pytest.mark.full
@pytest.mark.timeout(3_600)
@settings(LAW, max_examples=300)
@given(before=manifests(), after=manifests())
async def test_three_hundred_manifests_export_as_what_they_are(
    ground: Ground, other: Ground, before: Any, after: Any
) -> None:
    await round_trip(ground, other, before, after)


async def round_trip(ground: Ground, other: Ground, before: Any, after: Any) -> None:
    await ground.empty()
    await other.empty()
    for text in (as_text(before), as_text(after)):
        await ground.apply(text, prune=True)
        revision = await ground.revision()
        assert (await ground.plan(text, prune=True)).changes == ()
        assert (await ground.apply(text, prune=True)).changes == ()
        assert await ground.revision() == revision, "what changes nothing has no revision"

    exported = await ground.export()
    yaml.safe_load(exported)  # other tools can read it, too
    assert (await ground.plan(exported, prune=True)).changes == ()
    await other.apply(exported)
    assert await other.export() == exported


@LAW
@given(before=manifests(), after=manifests())
async def test_without_prune_nothing_goes_and_the_export_still_changes_nothing(
    ground: Ground, before: Any, after: Any
) -> None:
    await ground.empty()
    await ground.apply(as_text(before))
    # Aliases that both have: what is named is brought to what is said, the rest stays.
    text = as_text(after)
    try:
        await ground.apply(text)
    except ManifestError:
        return  # a limit of the second means an alias of the first, with other targets
    assert (await ground.plan(text)).changes == ()
    for team in (None, *(team["name"] for team in after["teams"])):
        exported = await ground.export(team=team)
        assert (await ground.plan(exported)).changes == ()
        if team is not None:
            assert (await ground.plan(exported, prune=True)).changes == ()
