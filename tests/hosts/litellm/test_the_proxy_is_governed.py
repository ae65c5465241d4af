"""litellm's own proxy, started as a program, under our keys, aliases and limits, on real engines."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.books import nothing_is_held
from tests.ledger.table import cancelled
from tests.ports import free_port

CONFIG = """
model_list:
  - {model_name: "mesh/*", litellm_params: {model: "mesh/*"}}
litellm_settings:
  callbacks: mesh_plugins.hosts.litellm.proxy.governance
general_settings:
  custom_auth: mesh_plugins.hosts.litellm.proxy.custom_auth
router_settings:
  num_retries: 0
"""
#: Newer releases start only with one; it opens nothing where Mesh says who is let in.
MASTER_KEY = f"sk-{secrets.token_hex(32)}"

pytestmark = pytest.mark.timeout(240)


@dataclass
class Proxy:
    """A running proxy and the team it serves."""

    world: Any
    alias: str
    url: str

    def post(self, path: str = "/v1/chat/completions", key: str | None = None, **body: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {key or self.world.key}"}
        return httpx.post(self.url + path, json=body, headers=headers, timeout=60)

    def chat(self, model: str | None = None, key: str | None = None, **body: Any) -> httpx.Response:
        asked = {"model": model or self.alias, "messages": [{"role": "user", "content": "hi there"}]}
        return self.post(key=key, **asked, **body)

    def facts(self, count: int) -> list[Any]:
        """Wait until so many facts of this team are in Postgres."""
        deadline = time.monotonic() + 30
        while True:
            self.world.collect()
            rows = self.world.rows("outcome, input_tokens, output_tokens, host, key_id::text, status")
            if len(rows) >= count or time.monotonic() > deadline:
                return rows
            time.sleep(0.2)


@pytest.fixture
def start(make_world: Callable[..., Any], tmp_path: Path) -> Iterator[Callable[..., Proxy]]:
    """Start proxies; all of them are ended by their ids."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*limits: str) -> Proxy:
        world = make_world(limits=limits)
        alias = world.alias(operations=["chat", "embeddings", "responses", "text_completion"])
        config = tmp_path / "config.yaml"
        config.write_text(CONFIG)
        port = free_port()
        environ = {**os.environ, **world.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        environ["LITELLM_MASTER_KEY"] = MASTER_KEY
        environ["HOST"] = "127.0.0.1"
        del environ["MESH_KEY"]
        with (tmp_path / "log").open("wb") as log:
            running.append(
                subprocess.Popen(
                    [sys.executable, "-m", "litellm.proxy.proxy_cli", f"--config={config}", f"--port={port}"],
                    env=environ,
                    cwd=tmp_path,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 120
        while True:
            try:
                if httpx.get(f"{url}/health/liveliness", timeout=5).is_success:
                    return Proxy(world, alias, url)
            except httpx.HTTPError:
                pass
            if time.monotonic() > deadline or running[-1].poll() is not None:
                pytest.fail((tmp_path / "log").read_text()[-3000:])
            time.sleep(0.2)

    yield start
    for process in [process for process in running if process.poll() is None]:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_keys_aliases_limits_usage_and_revocation_are_meshs(start):
    proxy = start("60 requests/hour, burst 6")
    world, provider = proxy.world, proxy.world.provider
    sent = provider.count

    answered = proxy.chat(max_tokens=8)
    assert answered.status_code == 200, answered.text
    assert answered.json()["choices"][0]["message"]["content"] == "stand-in small: hi there"
    assert answered.json()["usage"]["completion_tokens"] == 4
    streamed = proxy.chat(model=f"mesh/{proxy.alias}", stream=True)
    assert "hi " in streamed.text
    assert streamed.text.rstrip().endswith("[DONE]")
    assert proxy.post("/v1/embeddings", model=proxy.alias, input="hi").status_code == 200
    responded = proxy.post("/v1/responses", model=proxy.alias, input="hi there")
    assert responded.status_code == 200, responded.text
    said = proxy.post(
        "/v1/messages", model=proxy.alias, max_tokens=8, messages=[{"role": "user", "content": "hi there"}]
    )
    assert said.status_code == 200, said.text
    assert provider.count == sent + 5

    for nobody in ("sk-somebody-elses", MASTER_KEY):
        assert proxy.chat(key=nobody).status_code == 401
    assert proxy.chat(key=f"{world.key[:-1]}x").status_code == 401
    assert proxy.chat(model="no-such-alias").status_code == 404
    assert proxy.post("/v1/images/generations", model=proxy.alias, prompt="a cat").status_code in (400, 403)
    assert proxy.chat(api_base="http://127.0.0.1:9").status_code >= 400  # litellm refuses it itself
    assert proxy.chat(metadata={"mesh_key": "mk_of_somebody_else"}).status_code == 200
    assert provider.count == sent + 6

    refused = proxy.chat()
    assert refused.status_code == 429
    assert "60 requests/hour" in refused.text
    assert proxy.chat(stream=True).status_code == 429
    assert provider.count == sent + 6

    facts = proxy.facts(8)
    assert [fact["host"] for fact in facts] == ["litellm"] * len(facts)
    assert {fact["key_id"] for fact in facts} == {world.key_id}
    good = [fact for fact in facts if fact["outcome"] == "ok"]
    assert len(good) == 6
    assert all(fact["input_tokens"] for fact in good)
    assert world.key not in (proxy.world.home.parent / "log").read_text()

    key_id, key = world.new_key()
    assert proxy.chat(key=key).status_code == 429  # let in, and the team has no room
    world.run(lambda admin: admin.revoke_key(key_id))
    deadline = time.monotonic() + 60
    while (answered := proxy.chat(key=key)).status_code == 429 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert answered.status_code == 401


@pytest.mark.full  # starting another proxy takes half a minute
def test_however_a_call_through_the_proxy_ends_it_leaves_one_fact_and_holds_nothing(start):
    """The ledger of endings (`tests.ledger`) from the other side of a socket: what its clients can do."""
    proxy = start("10 concurrent")
    world, provider = proxy.world, proxy.world.provider
    ask = {"model": proxy.alias, "messages": [{"role": "user", "content": "hi there"}]}
    post = {"url": f"{proxy.url}/v1/chat/completions", "headers": {"authorization": f"Bearer {world.key}"}}

    assert proxy.chat().status_code == 200
    provider.script(status=400, times=1)
    assert proxy.chat().status_code == 400
    provider.script(stall_after=1, times=1)
    with (
        httpx.Client(timeout=60) as client,
        client.stream("POST", **post, json=ask | {"stream": True}) as said,
    ):
        assert next(said.iter_lines())
    provider.script(latency_s=3, times=1)
    asyncio.run(_left_once_asked(provider, post | {"json": ask}))

    provider.script(latency_s=10, times=1)
    late = proxy.chat(timeout=1)
    assert late.status_code in (408, 504), late.text

    outcomes = [fact["outcome"] for fact in proxy.facts(5)]
    assert outcomes.pop() == "timeout"
    assert outcomes[:2] == ["ok", "error"]
    assert outcomes[2] in ("abandoned", "cancelled")
    # litellm's proxy may let a call go on whose client has left; it is a call all the same.
    assert outcomes[3:] in (["ok"], ["cancelled"])
    assert nothing_is_held(world, 60)


async def _left_once_asked(provider, post):
    sent = provider.count
    async with httpx.AsyncClient(timeout=60) as client:
        task = asyncio.create_task(client.post(**post))
        assert await asyncio.to_thread(provider.wait_for, lambda p: p.count > sent, 60)
        await cancelled(task)
