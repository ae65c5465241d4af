from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mesh_store.model import errors


async def _refused(litellm: Any, way: str, alias: str, messages: Any, **more: Any) -> BaseException:
    """Return what a caller sees, through one colour or the other, plain or as a stream."""
    with pytest.raises(errors.MeshError) as caught:
        if way.startswith("a"):
            await litellm.acompletion(f"mesh/{alias}", messages, stream=way.endswith("stream"), **more)
        else:
            litellm.completion(f"mesh/{alias}", messages, stream=way.endswith("stream"), **more)
    return caught.value


@pytest.fixture(params=["plain", "stream", "async plain", "async stream"])
def colour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_quota_says_when_to_come_back(colour: str, litellm: Any, world: Any, messages: Any) -> None:
    world.limiter.refuses = True

    error: Any = await _refused(litellm, colour, "fast", messages)

    assert isinstance(error, errors.QuotaExceeded)
    assert isinstance(error, litellm.RateLimitError)
    assert type(error).__name__ == "LiteLLMQuotaExceeded"
    assert error.retry_after == pytest.approx(2.5, abs=1.0)
    assert error.response.headers["retry-after"] == "3"
    assert (error.status_code, error.model, error.llm_provider) == (429, "mesh/fast", "mesh")
    assert "team research" in str(error)
    assert "retry after" in str(error)


async def test_a_budget_is_all_three_errors(colour: str, litellm: Any, world: Any, messages: Any) -> None:
    usd = next(rule for rule in world.config.document.limits if rule.dimension == "usd")
    world.config.document = _with_limits(world.config.document, (usd,))
    world.limiter.refuses = True

    error: Any = await _refused(litellm, colour, "costly", messages)

    assert isinstance(error, errors.BudgetExceeded)
    assert isinstance(error, litellm.BudgetExceededError)
    assert isinstance(error, litellm.RateLimitError)
    assert (error.current_cost, error.max_budget) == (50.0, 50.0)


def _with_limits(document: Any, limits: tuple[Any, ...]) -> Any:
    import msgspec

    return msgspec.structs.replace(document, limits=limits)


@pytest.mark.parametrize(
    ("alias", "more", "ours", "theirs"),
    [
        ("nowhere", {}, errors.UnknownAlias, "NotFoundError"),
        ("secret", {}, errors.AccessDenied, "PermissionDeniedError"),
        ("fast", {"api_key": "mk_wrong"}, errors.InvalidKey, "AuthenticationError"),
        ("fast", {"timeout": -1}, errors.ConfigError, "BadRequestError"),
    ],
)
async def test_every_refusal_is_caught_by_litellms_name_too(
    alias: str, more: Any, ours: Any, theirs: str, colour: str, litellm: Any, world: Any, messages: Any
) -> None:
    error: Any = await _refused(litellm, colour, alias, messages, **more)

    assert isinstance(error, ours)
    assert isinstance(error, getattr(litellm, theirs))
    assert error.status_code == error.status
    assert world.provider.count == 0


async def test_a_revoked_key_is_refused(
    colour: str, litellm: Any, world: Any, messages: Any, revoked_key: str
) -> None:
    error = await _refused(litellm, colour, "fast", messages, metadata={"mesh_key": revoked_key})

    assert isinstance(error, errors.InvalidKey)
    assert isinstance(error, litellm.AuthenticationError)
    assert revoked_key not in f"{error!r}{error}"


async def test_an_unreachable_limiter_is_service_unavailable(
    colour: str, litellm: Any, world: Any, messages: Any
) -> None:
    world.limiter.away = errors.QuotaUnavailable("Redis does not answer", retry_after=0.5)

    error: Any = await _refused(litellm, colour, "fast", messages)

    assert isinstance(error, errors.QuotaUnavailable)
    assert isinstance(error, litellm.ServiceUnavailableError)
    assert error.response.headers["retry-after"] == "1"
    assert world.provider.count == 0


@pytest.mark.parametrize(
    ("status", "theirs"),
    [(400, "BadRequestError"), (401, "AuthenticationError"), (404, "NotFoundError")],
)
async def test_a_providers_error_stays_what_litellm_calls_it(
    status: int, theirs: str, colour: str, litellm: Any, world: Any, messages: Any
) -> None:
    world.provider.script("small", status=status, error="a reason of its own")

    error: Any = await _refused(litellm, colour, "fast", messages)

    assert isinstance(error, errors.ProviderError)
    assert isinstance(error, getattr(litellm, theirs))
    assert (error.status, error.provider, error.kind) == (status, "first", "status")
    assert "a reason of its own" in str(error)
    assert world.provider.count == 1
    assert world.recorder.fact.status == status


async def test_a_rate_limit_of_the_provider_keeps_its_retry_after(
    colour: str, litellm: Any, world: Any, messages: Any
) -> None:
    world.provider.script("small", status=429, retry_after="7")

    error: Any = await _refused(litellm, colour, "fast", messages, timeout=2)

    assert isinstance(error, litellm.RateLimitError)
    assert not isinstance(error, errors.QuotaExceeded)
    assert error.retry_after == 7.0
    assert world.provider.count == 1


async def test_a_provider_that_answers_too_late_is_a_timeout(
    colour: str, litellm: Any, world: Any, messages: Any
) -> None:
    world.provider.script("small", latency_s=5)

    error: Any = await _refused(litellm, colour, "fast", messages, timeout=0.2)

    assert isinstance(error, litellm.Timeout)
    assert isinstance(error, errors.ProviderError)
    assert world.recorder.fact.outcome == "timeout"
    assert world.recorder.settlements == 1


async def test_a_provider_that_cannot_be_reached_is_tried_again_and_named(
    colour: str, litellm: Any, world: Any, messages: Any
) -> None:
    world.provider.script("small", hang_up=True)

    error: Any = await _refused(litellm, colour, "fast", messages, timeout=5)

    assert isinstance(error, errors.ProviderError)
    assert error.kind == "connect"
    assert isinstance(error, litellm.exceptions.openai.APIError)
    assert world.provider.count == len(world.recorder.facts) == len(error.attempts) + 1
    assert world.recorder.settlements == 1


def test_every_error_of_ours_has_a_twin(litellm: Any) -> None:
    from mesh_plugins.hosts.litellm.errors import hosted

    class OfAPlugin(errors.AccessDenied):
        """What a plugin may raise."""

    made: list[Callable[[], errors.MeshError]] = [
        lambda: errors.InvalidKey("x"),
        lambda: errors.AccessDenied("x"),
        lambda: OfAPlugin("x"),
        lambda: errors.UnknownAlias("x"),
        lambda: errors.QuotaExceeded("x", retry_after=None),
        lambda: errors.BudgetExceeded("x"),
        lambda: errors.ConfigUnavailable("x"),
        lambda: errors.QuotaUnavailable("x"),
        lambda: errors.ConfigError("x"),
        lambda: errors.PluginError("x"),
        lambda: errors.MeshError("x"),
    ]
    for make in made:
        twin: Any = hosted(make(), "mesh/a")
        assert isinstance(twin, errors.MeshError)
        assert str(twin) == "x"
        assert isinstance(twin.status_code, int)
        assert hosted(twin, "mesh/a") is twin
    assert isinstance(hosted(OfAPlugin("x"), "mesh/a"), errors.AccessDenied)
