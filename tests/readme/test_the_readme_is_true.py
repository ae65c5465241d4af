"""What README.md prints is run as it is printed; what it names is there."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from IPython.core.interactiveshell import InteractiveShell

from mesh_plugins.cli.app import build
from mesh_plugins.settings import Settings
from mesh_plugins.shared import close_shared_mesh, shared_mesh
from mesh_plugins.testing.provider import StandInProvider
from mesh_store.embedded import stop
from mesh_store.redis.servers.address import parse_address
from tests.readme.blocks import README, Block, blocks, inline_code
from tests.readme.shell import Shell

ROOT = README.parent
pytest_plugins = ["mesh_plugins.testing.pytest_plugin"]
pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # litellm's and what it brings
    pytest.mark.filterwarnings("error:::mesh_plugins"),
]

#: A block is known by words it contains, and says here which test runs it.
INSTALLING = ("python3 -m venv",)  # .ci/run and tests/packaging install by themselves
DRAWING = ("flowchart LR",)
ADDRESSES = ("redis+sentinel://",)
IN_PYTHON = ("with Mesh.from_env()", "litellm.completion(", "ChatMesh(model=")
A_DAY = ("mesh up", *IN_PYTHON, "%load_ext", "mesh alias set", "mesh export")
TESTS = ("pytest_plugins", "def test_")


def block(words: str) -> Block:
    """Return the first block that contains these words."""
    return next(block for block in blocks() if words in block.text)


def test_every_block_is_run_by_a_test():
    known = (*INSTALLING, *DRAWING, *ADDRESSES, *A_DAY, *TESTS)
    strangers = [block.first_line for block in blocks() if not any(words in block.text for words in known)]
    assert strangers == [], "say above which test runs it"


@pytest.fixture(scope="module")
def provider() -> Iterator[StandInProvider]:
    with StandInProvider() as provider:
        yield provider


@pytest.fixture
def shell(provider: StandInProvider, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A newcomer's directory and home; the vendors' part is played by the stand-in."""
    here = Path(tempfile.mkdtemp(prefix="mesh-readme-")).resolve()
    monkeypatch.chdir(here)
    for name in [name for name in os.environ if name.startswith("MESH_")]:
        monkeypatch.delenv(name)
    environ = {
        "MESH_HOME": str(here / "home"),
        "MESH_DECISION_S": "30",  # a busy machine is not an outage
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "OPENAI_API_KEY": "sk-of-a-newcomer",
        "ANTHROPIC_API_KEY": "sk-of-a-newcomer",
        "STAND_IN_OPENAI": provider.base_url,
        "STAND_IN_ANTHROPIC": provider.anthropic_url,
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    yield Shell(here, environ)
    close_shared_mesh()
    stop(here / "home", timeout=30)
    shutil.rmtree(here)


@pytest.mark.timeout(900)  # engines start, thirty commands: seconds, but not on every machine
def test_a_newcomers_first_day(shell: Shell, provider: StandInProvider, monkeypatch: pytest.MonkeyPatch):
    told = shell.run(block("mesh up").text)
    assert "stand-in gpt-4.1-mini: Hello" in told
    assert re.search(r"research +gpt-4\.1-mini +1 ", told)
    monkeypatch.setenv("MESH_KEY", shell.environ["MESH_KEY"])

    for words in IN_PYTHON:
        before = provider.count
        _run_python(block(words))
        assert provider.count == before + 1, f"{words} asked the provider something else than once"
        assert provider.requests[-1].json["model"] == "gpt-4.1-mini"
    assert shared_mesh().flush(60)
    shell.run("mesh usage --flush")
    assert [row["calls"] for row in _notebook(block("%load_ext"))] == [4]

    (Path.cwd() / "config.yaml").write_text(
        "model_list:\n- model_name: fast\n  litellm_params: {model: openai/gpt-4.1-mini}\n"
    )
    key_id = re.search(r"key (\w{8}) of ada@example.com", told)
    assert key_id
    told = shell.run(block("mesh alias set").text.replace("<key id>", key_id[1]))
    assert f"key {key_id[1]} of ada@example.com in team research is revoked" in told
    assert "revision" in told
    told = shell.run(block("mesh export").text)
    assert told.count("nothing to change") == 3, "what was exported is what there is"
    assert "gpt-4.1-mini" in (Path.cwd() / "litellm.yaml").read_text()
    shell.run("mesh down")


def _run_python(printed: Block) -> None:
    from mesh_plugins.hosts.litellm import uninstall

    try:
        exec(compile(printed.text, "README.md", "exec"), {"__name__": "readme"})
    finally:
        uninstall()


def _notebook(printed: Block) -> Any:
    """Run a block in IPython; returns what its first line with a result shows."""
    shell = InteractiveShell.instance()
    try:
        shown = []
        for line in printed.text.splitlines():
            done = shell.run_cell(line)
            done.raise_error()
            shown.append(done.result)
        assert [thing for thing in shown if thing is not None and repr(thing)]
        return next(thing for thing in shown if thing is not None)
    finally:
        InteractiveShell.clear_instance()


def test_its_tests_of_code_that_uses_mesh_pass(
    mesh_memory: Any, stand_in_provider: StandInProvider, monkeypatch: pytest.MonkeyPatch
):
    from mesh_plugins.hosts.litellm import uninstall

    names: dict[str, Any] = {}
    exec(block("pytest_plugins").text, names)
    assert names["pytest_plugins"] == pytest_plugins
    exec(block("def test_").text, names)
    fixtures = {"mesh_memory": mesh_memory, "stand_in_provider": stand_in_provider}
    tests = [test for name, test in names.items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        try:
            test(**{name: fixtures[name] for name in inspect.signature(test).parameters})
        finally:
            uninstall()


def test_each_address_of_redis_is_one():
    addresses = re.findall(r'MESH_REDIS_URL="(.+)"', block("redis+sentinel://").text)
    assert len(addresses) == 4
    for address in addresses:
        parse_address(address)


COMMANDS = [code for code in dict.fromkeys(inline_code()) if code.startswith("mesh ")]


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_in_a_sentence_is_understood(words: str):
    for spelled in _spelled(words.removeprefix("mesh ")):
        command: Any = typer.main.get_command(build())
        left = spelled.split()
        while left and (below := getattr(command, "commands", None)) is not None:
            assert left[0] in below, f"there is no command {words!r}"
            command, left = below[left[0]], left[1:]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in left if word.startswith("-")} <= known, words


def _spelled(words: str) -> list[str]:
    """Return what ``words`` stand for: ``set|list`` is two commands, an ellipsis anything."""
    words = words.replace("…", "").replace("'", "").strip()
    several = re.search(r"\S+\|\S+", words)
    if several is None:
        return [words]
    return [words.replace(several[0], one) for one in several[0].split("|")]


def test_what_it_names_is_there():
    text = README.read_text(encoding="utf-8")
    sources = "\n".join(path.read_text() for path in sorted(ROOT.glob("mesh_*/**/*.py")))
    settings = {f"MESH_{name.upper()}" for name in Settings.model_fields}
    named = set(re.findall(r"\bMESH_[A-Z_]+\b", text)) - settings
    missing = [name for name in sorted(named) if name not in sources]
    assert missing == []
    paths = [code for code in inline_code() if re.fullmatch(r"[\w.]+(/[\w.]+)+\.?\w*/?|\.ci/\w+", code)]
    assert [path for path in paths if "." in path and not (ROOT / path).exists()] == []
