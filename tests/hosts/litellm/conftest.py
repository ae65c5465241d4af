"""litellm over the real core and a real provider on the loopback; only Redis is a few lines here.

litellm takes seconds to import, so tests get it from a fixture: nothing is paid when they are not run.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh_plugins.core.runtime import Runtime
from mesh_plugins.defaults import builtin_plugins
from mesh_plugins.manager import load
from mesh_plugins.testing.provider import StandInProvider
from mesh_store.model import keys
from mesh_store.model.snapshot import (
    KeyEntry,
)
from tests.hosts.litellm.configuration import document
from tests.hosts.litellm.governing import AsyncLimiter, Config, Limiter, Recorder, World
from tests.hosts.litellm.hearing import Heard, heard_by, registered_for
from tests.hosts.litellm.ways import WAYS, Way

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

KEY, OTHER_KEY = keys.mint("litellm1"), keys.mint("litellm2")
SECRET = "sk-of-the-alias"


_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let litellm and what it brings warn as they do; our own warnings stay errors."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore"))
            item.add_marker(pytest.mark.filterwarnings("error:::mesh_plugins"))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Throw away, before another folder's tests run, what litellm leaves open on ended event loops."""
    if nextitem is None or _HERE not in nextitem.path.parents:
        litellm = sys.modules.get("litellm")
        if litellm is not None:
            asyncio.run(litellm.close_litellm_async_clients())
            litellm.in_memory_llm_clients_cache.flush_cache()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(3):
                gc.collect()


@pytest.fixture(scope="session")
def litellm() -> Any:
    return pytest.importorskip("litellm")


@pytest.fixture(scope="session")
def running_provider() -> Iterator[StandInProvider]:
    with StandInProvider() as provider:
        yield provider


@pytest.fixture
def provider(running_provider: StandInProvider) -> StandInProvider:
    running_provider.clear()
    return running_provider


@pytest.fixture
def unhosted_world(provider: StandInProvider, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("MESH_TEST_SECRET", SECRET)
    entries = {
        KEY.digest: KeyEntry(id=KEY.id, team="t1"),
        OTHER_KEY.digest: KeyEntry(id=OTHER_KEY.id, team="t1", revoked=True),
    }
    config, limiter, recorder = Config(document(provider), entries), Limiter(), Recorder()
    runtime = Runtime(
        config=config,
        limiter=limiter,
        recorder=recorder,
        hooks=load((), (), builtin=builtin_plugins()),
        async_limiter=AsyncLimiter(limiter),
        key=KEY.text,
    )
    return World(runtime, config, limiter, recorder, provider)


@pytest.fixture
def world(unhosted_world: World, litellm: Any) -> Iterator[World]:
    """A world whose mesh governs litellm."""
    from mesh_plugins.hosts.litellm import install, uninstall

    install(unhosted_world.runtime)
    yield unhosted_world
    uninstall()


@pytest.fixture
def key() -> str:
    return KEY.text


@pytest.fixture
def revoked_key() -> str:
    return OTHER_KEY.text


@pytest.fixture
def messages() -> list[dict[str, str]]:
    return [{"role": "user", "content": "hello there"}]


@pytest.fixture(params=WAYS, ids=lambda way: way.name.replace(" ", "_"))
def way(request: pytest.FixtureRequest) -> Way:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def ways() -> list[Way]:
    """All of them at once."""
    return WAYS


@pytest.fixture
def heard(litellm: Any) -> Iterator[Heard]:
    """A callback of the caller's own."""
    yield from heard_by(litellm)


@pytest.fixture
def registered() -> Callable[..., Iterator[Any]]:
    return registered_for
