"""However a call from a notebook's cell ends: see `tests.ledger`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from mesh_plugins.http.sender import DirectSender
from mesh_plugins.shared import set_shared_mesh
from mesh_plugins.testing.provider import StandInProvider
from tests.ledger import ENDINGS, audited, calls, ledger
from tests.ledger.table import TOO_LONG


@pytest.fixture(scope="module")
def provider() -> Iterator[StandInProvider]:
    with StandInProvider() as running:
        yield running


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    made = InteractiveShell.instance()
    made.run_line_magic("load_ext", "mesh_plugins.hosts.notebook")
    with capture_output():
        yield made
    InteractiveShell.clear_instance()


class Cells:
    """Cells that call; what they leave in the notebook's names is taken out again."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell

    def call(self, text: str = "one two", deadline_s: float | None = None) -> Any:
        return self._ran("chat", text, deadline_s)

    async def acall(self, text: str = "one two", deadline_s: float | None = None) -> Any:
        return await self._awaited("achat", text, deadline_s)

    def stream(self, text: str = "one two", deadline_s: float | None = None) -> Any:
        return self._ran("stream", text, deadline_s)

    async def astream(self, text: str = "one two", deadline_s: float | None = None) -> Any:
        return await self._awaited("astream", text, deadline_s)

    def _ran(self, verb: str, text: str, deadline_s: float | None) -> Any:
        cell = f"answer = mesh.{self._cell(verb, text, deadline_s)}"
        return self._answer(self._shell.run_cell(cell))

    async def _awaited(self, verb: str, text: str, deadline_s: float | None) -> Any:
        cell = f"answer = await mesh.{self._cell(verb, text, deadline_s)}"
        return self._answer(await self._shell.run_cell_async(cell, transformed_cell=cell))

    def _cell(self, verb: str, text: str, deadline_s: float | None) -> str:
        self._shell.user_ns["asked"] = [{"role": "user", "content": text}]
        return f"{verb}('fast', asked, timeout_s={deadline_s}, max_tokens=50)"

    def _answer(self, result: Any) -> Any:
        result.raise_error()
        return self._shell.user_ns.pop("answer")


#: These ask twice within the moment for which a refusal is remembered; showing a traceback takes longer.
_TOO_QUICK = {"refused", "refused_on_a_loop"}
_PLAYED = [
    pytest.param(name, marks=[] if each.play.__module__ == calls.__name__ else [pytest.mark.full])
    for name, each in ENDINGS.items()
    if name not in _TOO_QUICK
]


@pytest.mark.parametrize("name", _PLAYED)
async def test_one_fact_nothing_reserved_nothing_hanging(
    name: str, shell: InteractiveShell, provider: StandInProvider
) -> None:
    provider.clear()
    sender = DirectSender()
    mesh = ledger(provider, sender)
    shell.user_ns["mesh"] = mesh
    try:
        await audited(name, Cells(shell), mesh, provider)
    finally:
        await sender.aclose()


MAGIC: dict[str, tuple[dict[str, Any], str, str]] = {
    "ok": ({}, "", "one two"),
    "error": ({"status": 400}, "", "one two"),
    "timeout": ({"latency_s": 30}, "timeout_s=0.3", "one two"),
    "denied": ({}, "", TOO_LONG),
    "cancelled": ({"latency_s": 60}, "", "one two"),
}


@pytest.mark.parametrize("outcome", MAGIC)
def test_a_cell_that_is_a_prompt_leaves_one_fact_however_it_ends(
    outcome: str, shell: InteractiveShell, provider: StandInProvider
) -> None:
    provider.clear()
    script, parameters, prompt = MAGIC[outcome]
    running = threading.Event()
    running.set()
    if script:
        provider.script(**script)
    mesh = ledger(provider, sender := DirectSender())
    set_shared_mesh(mesh)  # type: ignore[arg-type]
    shell.user_ns.pop("mesh", None)
    try:
        if outcome == "cancelled":
            _interrupt_once_asked(provider, running)
        shell.run_cell(f"%%mesh fast max_tokens=50 {parameters}\n{prompt}")
        running.clear()
        assert [fact.outcome for fact in mesh.facts] == [outcome]
        assert not mesh.memory.open_intents
        if outcome == "cancelled":
            assert provider.wait_for(lambda p: p.aborted == 1), "the button was heard with the answer"
    finally:
        set_shared_mesh(None)
        sender.close()


def _interrupt_once_asked(provider: StandInProvider, running: threading.Event) -> None:
    """Interrupt this very cell, as the notebook's stop button does, when its call has arrived."""
    here = threading.main_thread().ident
    assert here is not None

    def press() -> None:
        if provider.wait_for(lambda p: p.count >= 1) and running.is_set():
            signal.pthread_kill(here, signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
