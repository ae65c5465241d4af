"""What stands between a caller and the upstream: nginx, LiteLLM's proxy, Portkey's gateway."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mesh_store.embedded.binaries import find_binaries

from .environments import Missing

_START_S = 90.0
#: LiteLLM's proxy starts with no weaker one; it guards nothing here.
PROXY_KEY = "sk-of-a-benchmark-on-loopback-0123456789abcdef"


@contextmanager
def upstream() -> Iterator[str]:
    """A provider that answers at once, in a process of its own; yields its OpenAI base URL."""
    command = [sys.executable, "-m", "mesh_plugins.testing.provider", "--no-record"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@contextmanager
def valkey() -> Iterator[str]:
    """A Valkey without persistence for peers that count in one; yields its URL."""
    port = free_port()
    command = [str(find_binaries().valkey_server), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as home, running([*command, "--dir", home], port):
        yield f"redis://127.0.0.1:{port}"


@contextmanager
def nginx(url: str) -> Iterator[str]:
    """A plain reverse proxy with kept connections; yields the base URL to call."""
    if (program := shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")) is None:
        raise Missing("nginx is not installed")
    port = free_port()
    address = url.removeprefix("http://").removesuffix("/v1")
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as home:
        Path(home, "nginx.conf").write_text(
            f"""daemon off; worker_processes 1; pid {home}/pid; error_log {home}/error.log;
            events {{ worker_connections 1024; }}
            http {{
              access_log off; client_body_temp_path {home}; proxy_temp_path {home};
              fastcgi_temp_path {home}; uwsgi_temp_path {home}; scgi_temp_path {home};
              upstream there {{ server {address}; keepalive 128; }}
              server {{ listen 127.0.0.1:{port}; location / {{
                proxy_pass http://there; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}
            }}"""
        )
        with running([program, "-c", f"{home}/nginx.conf", "-p", home], port):
            yield f"http://127.0.0.1:{port}/v1"


@contextmanager
def litellm_proxy(url: str, python: Path, redis_url: str | None) -> Iterator[str]:
    """LiteLLM's proxy with one deployment; with ``redis_url`` also a key and team with limits in Redis."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as home:
        config, settings = Path(home, "config.yaml"), ""
        general = f"general_settings: {{master_key: {PROXY_KEY}}}\n"
        if redis_url is not None:
            cache = f"{{type: redis, url: '{redis_url}', supported_call_types: []}}"
            settings = f"  cache: true\n  cache_params: {cache}\n"
            auth = "custom_auth: limited.user_api_key_auth"
            general = f"general_settings: {{{auth}, master_key: {PROXY_KEY}}}\n"
            Path(home, "limited.py").write_text(_LIMITED)
        config.write_text(
            "model_list:\n  - model_name: small\n    litellm_params:\n"
            f"      {{model: openai/small, api_base: '{url}', api_key: none}}\n"
            f"litellm_settings:\n  num_retries: 0\n  telemetry: false\n{settings}{general}"
        )
        command = [str(python), "-c", "from litellm import run_server; run_server()", "--config", str(config)]
        more = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True"}
        more |= {"PYTHONPATH": home, "LITELLM_LOG": "ERROR", "NO_DOCS": "True"}
        with running(
            [*command, "--host", "127.0.0.1", "--port", str(port)], port, more, "/health/liveliness"
        ):
            yield f"http://127.0.0.1:{port}/v1"


#: A key of a team, with two limits each, far above what is called; LiteLLM counts them in Redis.
_LIMITED = """
from litellm.proxy._types import UserAPIKeyAuth

async def user_api_key_auth(request, api_key):
    return UserAPIKeyAuth(
        api_key="bench", token="bench", team_id="bench", rpm_limit=10**9, tpm_limit=10**12,
        team_rpm_limit=10**9, team_tpm_limit=10**12,
    )
"""


@contextmanager
def portkey(package: Path) -> Iterator[str]:
    """Portkey's open gateway; yields the base URL to call."""
    if (node := shutil.which("node")) is None:
        raise Missing("node is not installed")
    port = free_port()
    server = package / "build" / "start-server.js"
    if not server.exists():
        raise Missing("its package has no server where we look for it")
    more = {"TRUSTED_CUSTOM_HOSTS": "localhost,127.0.0.1", "NODE_ENV": "production"}
    with running([node, str(server), f"--port={port}", "--headless"], port, more):
        yield f"http://127.0.0.1:{port}/v1"


@contextmanager
def running(
    command: list[str], port: int, more: Mapping[str, str] | None = None, path: str | None = None
) -> Iterator[None]:
    """Keep a server running and wait until it answers.

    Raises:
        Missing: it ended, or did not answer in time.
    """
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env={**os.environ, **(more or {})}
        )
        try:
            _wait(process, port, path, said)
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, path: str | None, said: object) -> None:
    ends = time.monotonic() + _START_S
    while time.monotonic() < ends:
        if process.poll() is not None:
            said.seek(0)  # type: ignore[attr-defined]
            last = (said.read().strip().splitlines() or ["nothing"])[-1]  # type: ignore[attr-defined]
            raise Missing(f"its server ended at once: {last[:160]}")
        if _answers(port, path):
            return
        time.sleep(0.2)
    raise Missing(f"its server did not answer within {_START_S:.0f} s")


def _answers(port: int, path: str | None) -> bool:
    try:
        if path is None:
            socket.create_connection(("127.0.0.1", port), 1).close()
        else:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).close()
    except (OSError, urllib.error.URLError):
        return False
    return True


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
