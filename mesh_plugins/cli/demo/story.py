"""What happens, in order. Every number that is printed was just read from the system."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from rich.markup import escape

from mesh_plugins import Mesh, QuotaExceeded, hookimpl
from mesh_plugins.cli.demo import cast, closing
from mesh_plugins.cli.demo.accounts import Accounts
from mesh_plugins.cli.demo.stage import Stage, set_up
from mesh_plugins.cli.demo.telling import Teller, dollars
from mesh_plugins.cli.demo.toolkit import Toolkit
from mesh_plugins.cli.operating import operate
from mesh_plugins.cli.printing import Row
from mesh_plugins.settings import Settings
from mesh_store.model.errors import ConfigUnavailable
from mesh_store.model.snapshot import Snapshot

QUESTION = [{"role": "user", "content": "What is governed here?"}]
MOST_TOKENS = 32
#: More calls than the key's limit lets through at once, even while a slow provider answers.
MANY = 40


class Heard:
    """A plugin that tells when this process has a revision; plugins are plain objects like this one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._revision = 0

    @hookimpl
    def mesh_snapshot_changed(self, new: Snapshot) -> None:
        """Note the revision."""
        with self._changed:
            self._revision = new.revision
            self._changed.notify_all()

    def wait(self, revision: int) -> None:
        """Wait until this process has a revision."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._revision >= revision, timeout=10):
                raise ConfigUnavailable(f"revision {revision} did not arrive within 10 s")


def tell(accounts: Accounts, *, keep: bool) -> None:
    """Tell the story from the start of the engines to the report, and leave nothing running."""
    teller = Teller()
    teller.say("[bold]Mesh[/]: governance for LLM calls, without a gateway in their path")
    toolkit = Toolkit()
    with ExitStack() as held:
        teller.chapter("Postgres and Valkey, from wheels, over unix sockets")
        with teller.waiting("starting the engines"):
            stage = held.enter_context(set_up(stand_in=accounts.stand_in, keep_running=keep))
        closing.engines(teller, stage)
        played = _create(teller, stage, accounts)
        heard = Heard()
        settings = Settings.of(home=stage.home, key=played.key)
        mesh = held.enter_context(Mesh(settings, plugins=[heard]))
        heard.wait(played.revision)
        _call_directly(teller, mesh)
        _call_through_litellm(teller, mesh, toolkit)
        pause = _exhaust(teller, mesh, stage)
        _point_elsewhere(teller, mesh, heard, accounts, pause)
        _report(teller, mesh)
        if keep:
            closing.how_to_go_on(teller, stage, played)
    if not keep:
        closing.nothing_left(teller, stage)


def _create(teller: Teller, stage: Stage, accounts: Accounts) -> cast.Cast:
    teller.chapter("A team, a user, a key, an alias with two targets, limits")
    urls = {} if stage.stand_in is None else {"openai": f"{stage.stand_in}/v1", "anthropic": stage.stand_in}
    with teller.waiting("creating them in Postgres"):
        played = operate(lambda admin: cast.engage(admin, accounts, urls))
        rows = operate(lambda admin: closing.what_there_is(admin, played.key_id))
    teller.table(rows, ["what", "name", "means"])
    teller.say(
        f"The configuration is at revision {played.revision}, in Redis for every caller;"
        " each change is in the audit log."
    )
    return played


def _call_directly(teller: Teller, mesh: Mesh) -> None:
    teller.chapter("Calls from Python, straight to the provider")
    teller.say('  [dim]mesh.chat("fast", [{"role": "user", "content": …}], max_tokens=32)')
    rows = [_called("mesh.chat", lambda: mesh.chat(cast.ALIAS, QUESTION, max_tokens=MOST_TOKENS))]
    rows.append(_called("mesh.achat", lambda: asyncio.run(_ask(mesh))))
    teller.table(rows, ["caller", "answered by", "tokens in", "tokens out", "cost", "ms"])


async def _ask(mesh: Mesh) -> Any:
    return await mesh.achat(cast.ALIAS, QUESTION, max_tokens=MOST_TOKENS)


def _called(caller: str, call: Callable[[], Any]) -> Row:
    began = time.perf_counter()
    reply = call()
    took = (time.perf_counter() - began) * 1000
    return {
        "caller": caller,
        "answered by": reply.mesh.target,
        "tokens in": reply.mesh.usage.input_tokens,
        "tokens out": reply.mesh.usage.output_tokens,
        "cost": dollars(reply.mesh.cost),
        "ms": round(took, 1),
    }


def _call_through_litellm(teller: Teller, mesh: Mesh, toolkit: Toolkit) -> None:
    teller.chapter('The same from LiteLLM: one line, and model="mesh/fast" is governed')
    if not toolkit.installed:
        teller.say(
            "LiteLLM is not installed here (pip install 'mesh-plugins\\[litellm]'), so this part is skipped."
        )
        return
    with teller.waiting("importing litellm"):
        litellm = toolkit.wait()
    from mesh_plugins.hosts.litellm import install, uninstall

    teller.say('  [dim]install(); litellm.completion(model="mesh/fast", messages=…)')
    asked = {"model": f"mesh/{cast.ALIAS}", "messages": QUESTION, "max_tokens": MOST_TOKENS}
    install(mesh)
    try:
        rows = [
            _answered("litellm.completion", lambda: litellm.completion(**asked)),
            _answered("litellm.acompletion", lambda: asyncio.run(litellm.acompletion(**asked))),
        ]
    finally:
        uninstall()
    teller.table(rows, ["caller", "true model", "tokens in", "tokens out", "ms"])


def _answered(caller: str, call: Callable[[], Any]) -> Row:
    began = time.perf_counter()
    reply = call()
    return {
        "caller": caller,
        "true model": reply.model,
        "tokens in": reply.usage.prompt_tokens,
        "tokens out": reply.usage.completion_tokens,
        "ms": round((time.perf_counter() - began) * 1000, 1),
    }


def _exhaust(teller: Teller, mesh: Mesh, stage: Stage) -> float:
    """Call until a limit refuses; returns the seconds it asks to wait."""
    teller.chapter(f"A limit refuses: the key has {cast.KEY_LIMIT}")
    before = stage.requests_at_provider()
    for admitted in range(MANY):
        try:
            mesh.chat(cast.ALIAS, QUESTION, max_tokens=MOST_TOKENS)
        except QuotaExceeded as refusal:
            teller.say(f"{admitted} more calls are admitted; the next one raises [bold]QuotaExceeded[/]:")
            teller.say(f"  [yellow]{escape(str(refusal))}[/]")
            teller.say(f"  retry_after = {refusal.retry_after} s")
            after = stage.requests_at_provider()
            if before is not None and after is not None:
                teller.say(f"  {admitted + 1} calls, {after - before} requests at the provider")
            return refusal.retry_after or 0.0
    raise ConfigUnavailable(f"{MANY} calls were admitted although the key has {cast.KEY_LIMIT}")


def _point_elsewhere(teller: Teller, mesh: Mesh, heard: Heard, accounts: Accounts, pause: float) -> None:
    teller.chapter("The alias is pointed elsewhere while this process runs")
    goal = cast.target(accounts.second, 1)
    teller.command(f"mesh alias set {cast.ALIAS} --target {accounts.second.target}")
    before = mesh.config.snapshot().revision
    took: list[float] = []

    async def change(admin: Any) -> int:
        began = time.perf_counter()
        await admin.update_alias(cast.ALIAS, targets=[goal])
        revision: int = (await admin.database.head()).revision
        await asyncio.to_thread(heard.wait, revision)
        took.append((time.perf_counter() - began) * 1000)
        return revision

    waited_from = time.monotonic()
    revision = operate(change)
    teller.say(
        f"revision {before} → {revision}: committed in Postgres, published, and here after {took[0]:.0f} ms"
    )
    left = max(0.0, pause - (time.monotonic() - waited_from))
    with teller.waiting(f"the limit said to wait {pause:.1f} s"):
        time.sleep(left)
    row = _called("mesh.chat", lambda: mesh.chat(cast.ALIAS, QUESTION, max_tokens=MOST_TOKENS))
    teller.table([row], ["caller", "answered by", "tokens in", "tokens out", "cost", "ms"])


def _report(teller: Teller, mesh: Mesh) -> None:
    teller.chapter("What it cost, read from Postgres")
    teller.command("mesh usage --by team --by alias --by model --flush")
    with teller.waiting("waiting until every fact is committed"):
        if not mesh.flush(20, collected=True):
            teller.say("[yellow]Some facts are still on their way.[/]")
        rows = asyncio.run(closing.usage(["team", "alias", "provider", "model"]))
    columns = [
        "team",
        "alias",
        "provider",
        "model",
        "calls",
        "denied",
        "input_tokens",
        "output_tokens",
        "cost",
    ]
    teller.table([row | {"cost": dollars(row["cost_usd"])} for row in rows], columns)
