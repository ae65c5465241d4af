"""A whole mesh to play with: engines, a provider that costs nothing, a team, an alias and a key.

::

    from mesh_plugins.testing.playground import Playground

    playground = Playground(limits=["6 requests/min"])
    mesh = Mesh.from_env()           # the environment names the playground's home and key
    playground.close()               # nothing is left: no process, no file, no variable

Everything lives in a temporary directory; engines you use for real are never touched.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from mesh_plugins.core.plan import plan_call
from mesh_plugins.mesh import Mesh
from mesh_plugins.settings import COLLECTOR
from mesh_plugins.shared import close_shared_mesh
from mesh_plugins.testing.provider import StandInProvider
from mesh_store.admin import BlockingAdmin
from mesh_store.admin.blocking import BlockingRepository
from mesh_store.embedded import attach, stop
from mesh_store.sync.publisher_key import load_signer

TEAM, USER = "research", "ada@example.com"
#: Two models, as (provider, model, USD per million input tokens, per million output tokens).
_MODELS = (("east", "small", "0.15", "0.60"), ("west", "large", "3", "15"))


class Playground:
    """A mesh of one team, on engines of its own.

    Two providers, both played by one stand-in on this machine: ``east`` speaks OpenAI's wire format and
    has the model ``small``, ``west`` speaks Anthropic's and has ``large``; both models have prices.
    ``MESH_HOME`` and ``MESH_KEY`` are set in this process until `close`; other ``MESH_*`` variables are
    put aside as long.

    Args:
        aliases: names callers may use; all mean ``small``, and ``large`` when ``small`` fails.
        limits: limits of the team, as people write them (``"10 requests/min"``).

    Attributes:
        provider: the stand-in; it counts requests and misbehaves on demand.
        database_url, redis_url: the engines.
        signer: signs what an operator publishes here.
        admin: an operator's hand, for code that does not await.
        key, key_id: the caller's key and its id.
    """

    def __init__(self, *, aliases: Sequence[str] = ("fast",), limits: Sequence[str] = ()) -> None:
        self._closing = ExitStack()
        try:
            self._start()
            with self.admin.batch() as admin:
                _found(admin, self.provider)
                for alias in aliases:
                    admin.create_alias(name=alias, targets=_targets())
                for limit in limits:
                    admin.create_limit(team=TEAM, limit=limit)
            key, minted = self.admin.create_key(team=TEAM, user=USER)
        except BaseException:
            self._closing.close()
            raise
        self._closing.callback(close_shared_mesh)
        self.key_id, self.key = key.id, minted.text
        os.environ["MESH_KEY"] = self.key
        atexit.register(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def wait_for_budgets(self, alias: str, *, key: str | None = None, timeout_s: float = 30.0) -> None:
        """Wait until the budgets that bind a call are open: a new one is when its day was counted.

        Raises:
            TimeoutError: one is still closed, or used up.
        """
        deadline = time.monotonic() + timeout_s
        with Mesh.from_env() as mesh:
            request = mesh.request("chat", alias, {"messages": []}, key=key, max_tokens=1)
            charges = plan_call(request, mesh.config.snapshot(), mesh.hooks).charges
            while charges and 0 in mesh.limiter.peek(charges).remaining:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"after {timeout_s:g} s a limit of {alias!r} still has nothing left")
                time.sleep(0.05)

    def close(self) -> None:
        """Stop everything and remove what it wrote; may be called twice."""
        atexit.unregister(self.close)
        self._closing.close()

    def _start(self) -> None:
        home = Path(tempfile.mkdtemp(prefix="mesh-playground-"))
        self._closing.callback(shutil.rmtree, home, ignore_errors=True)
        self._closing.callback(_restore, {name: os.environ[name] for name in _variables()})
        for name in _variables():
            del os.environ[name]
        os.environ["MESH_HOME"] = str(home)
        self.provider = self._closing.enter_context(StandInProvider())
        self._closing.callback(stop, home)
        engines = self._closing.enter_context(attach(home, companions=[COLLECTOR], timeout=180.0))
        self.database_url, self.redis_url = engines.database_url, engines.redis_url
        self.signer = load_signer(None, home)
        self.admin = self._closing.enter_context(
            BlockingAdmin(
                self.database_url, self.redis_url, actor="playground", migrate=True, signer=self.signer
            )
        )


def _found(admin: BlockingRepository, provider: StandInProvider) -> None:
    admin.create_team(name=TEAM)
    admin.create_user(name=USER)
    admin.add_member(team=TEAM, user=USER)
    admin.create_provider(name="east", kind="openai", base_url=provider.base_url)
    admin.create_provider(name="west", kind="anthropic", base_url=provider.anthropic_url)
    for name, model, given, generated in _MODELS:
        admin.set_price(provider=name, model=model, input=given, output=generated)


def _targets() -> list[dict[str, object]]:
    return [
        {"provider": provider, "model": model, "tier": tier}
        for tier, (provider, model, *_) in enumerate(_MODELS, start=1)
    ]


def _variables() -> list[str]:
    return [name for name in os.environ if name.startswith("MESH_")]


def _restore(before: dict[str, str]) -> None:
    for name in _variables():
        del os.environ[name]
    os.environ.update(before)
