from __future__ import annotations

import functools
import inspect
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from mesh_store.model.errors import QuotaExceeded

NAMES = (
    "completion",
    "acompletion",
    "embedding",
    "aembedding",
    "text_completion",
    "atext_completion",
    "responses",
    "aresponses",
    "anthropic_messages",
)


def _functions(litellm: Any) -> dict[str, Any]:
    return {name: getattr(litellm, name) for name in NAMES} | {
        f"main.{name}": getattr(litellm.main, name, None) for name in NAMES
    }


def _hosting() -> tuple[Callable[..., None], Callable[..., None]]:
    from mesh_plugins.hosts.litellm import install, uninstall

    return install, uninstall


def test_uninstall_restores_every_function(litellm: Any, unhosted_world: Any) -> None:
    install, uninstall = _hosting()
    before, providers = _functions(litellm), list(litellm.custom_provider_map)

    install(unhosted_world.runtime)
    during = _functions(litellm)
    uninstall()

    assert _functions(litellm) == before
    assert all(during[name] is not before[name] for name in before if before[name] is not None)
    assert litellm.custom_provider_map == providers
    assert "mesh" not in litellm.provider_list


def test_installing_twice_wraps_once(litellm: Any, unhosted_world: Any, messages: Any) -> None:
    install, uninstall = _hosting()
    before = _functions(litellm)
    threads = [threading.Thread(target=install, args=(unhosted_world.runtime,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    litellm.completion("mesh/fast", messages)
    uninstall()
    uninstall()

    assert len(unhosted_world.recorder.facts) == 1
    assert _functions(litellm) == before


def test_the_wrapper_keeps_name_signature_and_colour(litellm: Any, unhosted_world: Any) -> None:
    install, uninstall = _hosting()
    before = {name: inspect.signature(getattr(litellm, name)) for name in NAMES}
    coroutines = {name: inspect.iscoroutinefunction(getattr(litellm, name)) for name in NAMES}

    install(unhosted_world.runtime)
    after = {name: inspect.signature(getattr(litellm, name)) for name in NAMES}
    still = {name: inspect.iscoroutinefunction(getattr(litellm, name)) for name in NAMES}
    names = {name: getattr(litellm, name).__name__ for name in NAMES}
    uninstall()

    assert after == before
    assert still == coroutines
    assert names == {name: name for name in NAMES}


def test_another_library_may_wrap_after_us_and_leave_last(
    litellm: Any, unhosted_world: Any, messages: Any
) -> None:
    install, uninstall = _hosting()
    original, heard = litellm.completion, []
    install(unhosted_world.runtime)
    ours = litellm.completion

    @functools.wraps(ours)
    def theirs(*args: Any, **kwargs: Any) -> Any:
        heard.append(args)
        return ours(*args, **kwargs)

    litellm.completion = theirs
    try:
        litellm.completion("mesh/fast", messages)
        uninstall()
        assert litellm.completion is theirs
        litellm.completion("openai/own", messages, api_base=unhosted_world.provider.base_url, api_key="k")
        with pytest.raises(litellm.BadRequestError):
            litellm.completion("mesh/fast", messages)
        install(unhosted_world.runtime)
        litellm.completion("mesh/fast", messages)
        uninstall()
        assert litellm.completion is theirs
    finally:
        litellm.completion = original

    assert len(heard) == 4
    assert [fact.outcome for fact in unhosted_world.recorder.facts] == ["ok", "ok"]


def test_another_library_may_wrap_before_us_and_sees_the_true_call(
    litellm: Any, unhosted_world: Any, messages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    install, uninstall = _hosting()
    original, heard = litellm.completion, []

    def theirs(*args: Any, **kwargs: Any) -> Any:
        heard.append(kwargs["model"])
        return original(*args, **kwargs)

    monkeypatch.setattr(litellm, "completion", theirs)
    install(unhosted_world.runtime)
    litellm.completion("mesh/fast", messages)
    uninstall()

    assert litellm.completion is theirs
    assert heard == ["openai/small"]


def test_a_later_install_changes_who_governs(
    litellm: Any, world: Any, messages: Any, revoked_key: str
) -> None:
    install, _ = _hosting()

    install()
    litellm.completion("mesh/fast", messages)

    assert len(world.recorder.facts) == 1


class TestNamesBoundBeforeInstall:
    """``from litellm import completion`` above ``install()``: the provider ``mesh`` is the net."""

    @pytest.fixture
    def early(self, litellm: Any, unhosted_world: Any) -> Any:
        install, uninstall = _hosting()
        bound = {name: getattr(litellm, name) for name in NAMES}
        install(unhosted_world.runtime)
        yield bound
        uninstall()

    async def test_calls_are_governed_all_the_same(
        self, early: Any, litellm: Any, unhosted_world: Any, messages: Any, heard: Any
    ) -> None:
        labelled = {"metadata": {"label": "net", "session_id": "s-1"}}
        reply = early["completion"]("mesh/fast", messages, max_tokens=5, **labelled)
        areply = await early["acompletion"](model="mesh/fast", messages=messages)
        chunks = list(early["completion"]("mesh/fast", messages, stream=True))
        achunks = [c async for c in await early["acompletion"]("mesh/fast", messages, stream=True)]
        vectors = early["embedding"]("mesh/fast", ["a"])
        avectors = await early["aembedding"]("mesh/fast", ["a"])

        said = "stand-in small: hello there"
        assert reply.choices[0].message.content == areply.choices[0].message.content == said
        assert "".join(c.choices[0].delta.content or "" for c in chunks) == said
        assert "".join(c.choices[0].delta.content or "" for c in achunks) == said
        assert len(vectors.data) == len(avectors.data) == 1
        assert early["text_completion"]("hello", "mesh/fast").choices[0].text
        assert (await early["atext_completion"](prompt="hello", model="mesh/fast")).choices[0].text
        assert early["responses"]("hello", "mesh/fast").output
        assert (await early["aresponses"]("hello", "mesh/fast")).output
        facts = unhosted_world.recorder.facts
        assert [fact.outcome for fact in facts] == ["ok"] * 10
        assert not any(fact.estimated for fact in facts)
        assert facts[0].session == "s-1"
        assert unhosted_world.provider.requests[0].json["max_tokens"] == 5
        assert await heard.until("net")
        assert [(kind, told["model"]) for kind, told in heard.of("net")] == [("success", "small")]

    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_refusal_reaches_the_caller_intact(
        self, stream: bool, early: Any, litellm: Any, unhosted_world: Any, messages: Any
    ) -> None:
        unhosted_world.limiter.refuses = True

        with pytest.raises(QuotaExceeded) as sync:
            early["completion"]("mesh/fast", messages, stream=stream)
        with pytest.raises(QuotaExceeded) as a_sync:
            await early["acompletion"]("mesh/fast", messages, stream=stream, num_retries=2)

        assert 0 < a_sync.value.retry_after <= sync.value.retry_after
        assert isinstance(a_sync.value, litellm.RateLimitError)
        assert unhosted_world.provider.count == 0


def test_importing_the_package_does_not_import_litellm() -> None:
    code = (
        "import sys; import mesh_plugins.hosts.litellm as host; host.install, host.uninstall;"
        "sys.exit('litellm' in sys.modules or 'openai' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
