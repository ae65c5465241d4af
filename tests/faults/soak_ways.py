"""Every way to call that is installed here: direct, litellm, LangChain and the notebook's magic."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from mesh_plugins import MeshError
from mesh_plugins.mesh import Mesh

#: Calls made at once at most, by one process.
AT_ONCE = 4
#: Seconds a call may take: a provider that is not heard is given up.
TIMEOUT_S = 3.0
ASK: Any = [{"role": "user", "content": "tell me something true, at some length"}]

#: Takes whom the call is for.
Way = Callable[[str], Any]


def ways(mesh: Mesh, alias: str, *, fast: bool) -> dict[str, Way]:
    """Return the ways by name; ``fast`` sends litellm's chat through the direct caller."""
    found = _direct(mesh, alias)
    if importlib.util.find_spec("litellm"):
        found |= _litellm(mesh, alias, fast)
    if importlib.util.find_spec("langchain_core"):
        found |= _langchain(mesh, alias)
    if importlib.util.find_spec("IPython"):
        found["notebook cell"] = _notebook(mesh, alias)
    return found


def on_a_loop(main: Coroutine[Any, Any, Any]) -> None:
    """Run on a loop of its own, on which nothing may be left when it is over."""

    async def through() -> None:
        try:
            await main
        finally:
            until = asyncio.get_running_loop().time() + 30
            while left := {task for task in asyncio.all_tasks() if not _spared(task)}:
                assert asyncio.get_running_loop().time() < until, f"tasks are left: {left}"
                await asyncio.sleep(0.01)

    asyncio.run(through())


def _spared(task: asyncio.Task[Any]) -> bool:
    """Whether a task may stay: this one, and the one that litellm keeps on every loop for its log."""
    return task is asyncio.current_task() or "LoggingWorker" in repr(task.get_coro())


def _direct(mesh: Mesh, alias: str) -> dict[str, Way]:
    params: Any = {"max_tokens": 8, "timeout_s": TIMEOUT_S}

    def left_early(user: str) -> None:
        with mesh.stream(alias, ASK, user=user, **params) as stream:
            next(stream)

    async def read(user: str) -> None:
        _ = [chunk async for chunk in await mesh.astream(alias, ASK, user=user, **params)]

    async def cancelled(user: str) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(mesh.achat(alias, ASK, user=user, **params), 0.004)

    async def many(user: str) -> None:
        calls = [mesh.achat(alias, ASK, user=f"{user}-{number}", **params) for number in range(AT_ONCE)]
        for ended in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(ended, BaseException) and not isinstance(ended, MeshError):
                raise ended

    return {
        "chat": lambda user: mesh.chat(alias, ASK, user=user, **params),
        "stream": lambda user: list(mesh.stream(alias, ASK, user=user, **params)),
        "stream left early": left_early,
        "astream": lambda user: on_a_loop(read(user)),
        "achat cancelled": lambda user: on_a_loop(cancelled(user)),
        "achat at once": lambda user: on_a_loop(many(user)),
    }


def _litellm(mesh: Mesh, alias: str, fast: bool) -> dict[str, Way]:
    import litellm

    from mesh_plugins.hosts.litellm import install

    install(mesh, fast=fast)
    asked: Any = {"model": f"mesh/{alias}", "messages": ASK, "max_tokens": 8, "timeout": TIMEOUT_S}

    async def read(user: str) -> None:
        _ = [chunk async for chunk in await litellm.acompletion(stream=True, user=user, **asked)]

    return {
        "litellm completion": lambda user: litellm.completion(user=user, **asked),
        "litellm stream": lambda user: list(litellm.completion(stream=True, user=user, **asked)),
        "litellm acompletion": lambda user: on_a_loop(litellm.acompletion(user=user, **asked)),
        "litellm astream": lambda user: on_a_loop(read(user)),
    }


def _langchain(mesh: Mesh, alias: str) -> dict[str, Way]:
    from mesh_plugins.hosts.langchain import ChatMesh

    model, ask = ChatMesh(model=alias, mesh=mesh, max_tokens=8, timeout=TIMEOUT_S), ASK[0]["content"]

    async def read(user: str) -> None:
        _ = [chunk async for chunk in model.astream(ask, user=user)]

    return {
        "langchain invoke": lambda user: model.invoke(ask, user=user),
        "langchain stream": lambda user: list(model.stream(ask, user=user)),
        "langchain astream": lambda user: on_a_loop(read(user)),
    }


def _notebook(mesh: Mesh, alias: str) -> Way:
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output
    from traitlets.config import Config

    quiet = Config()
    quiet.HistoryManager.enabled = False
    shell = InteractiveShell.instance(config=quiet)
    shell.run_line_magic("load_ext", "mesh_plugins.hosts.notebook")
    shell.user_ns["mesh"] = mesh

    def cell(user: str) -> None:
        with capture_output():  # a refusal is shown, not raised
            shell.run_cell_magic(
                "mesh", f"{alias} max_tokens=8 timeout_s={TIMEOUT_S} user={user}", ASK[0]["content"]
            )

    return cell
