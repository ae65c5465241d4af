"""Whoever imports Mesh pays for Mesh, not for everything it could do."""

import os
import subprocess
import sys

import pytest

HEAVY = ("IPython", "alembic", "asyncpg", "langchain_core", "litellm", "rich", "sqlalchemy", "typer")


def loaded_by(code: str) -> set[str]:
    """The top-level packages a fresh interpreter has loaded after running `code`."""
    script = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def seconds_to_run(code: str) -> float:
    """Processor time, the best of three: other work on the machine only ever adds."""

    def once() -> float:
        _, status, used = os.wait4(
            os.posix_spawn(sys.executable, [sys.executable, "-c", code], os.environ), 0
        )
        assert status == 0
        return used.ru_utime + used.ru_stime

    return min(once() for _ in range(3))


@pytest.mark.parametrize(
    "code",
    [
        "import mesh_plugins",
        "from mesh_plugins import Mesh",
        "import mesh_plugins.hosts.litellm",
        "import mesh_store.redis, mesh_store.sync, mesh_store.telemetry",
    ],
)
def test_a_caller_loads_no_database_driver_no_host_and_no_terminal(code):
    assert not loaded_by(code) & set(HEAVY)


def test_importing_mesh_costs_less_than_importing_httpx():
    nothing = seconds_to_run("pass")
    ours = seconds_to_run("import mesh_plugins") - nothing
    theirs = seconds_to_run("import httpx") - nothing
    assert ours < max(theirs, 0.3)


def test_listing_the_commands_loads_nothing_that_a_command_needs():
    code = "import sys; sys.argv = ['mesh', '--help']\nfrom mesh_plugins.cli import main\n"
    code += "try:\n    main()\nexcept SystemExit:\n    pass"
    assert not loaded_by(code) & (set(HEAVY) - {"rich", "typer"} | {"pydantic", "redis", "httpx"})


def test_listing_what_is_in_the_database_loads_no_redis_and_no_other_command():
    code = "import mesh_store.admin, mesh_plugins.cli.control, sys\n"
    code += "from mesh_plugins.cli.app import build; build('team')\n"
    code += "assert 'mesh_plugins.cli.keys' not in sys.modules"
    assert not loaded_by(code) & {"aiohttp", "alembic", "opentelemetry", "redis", "rich"}


@pytest.mark.parametrize(
    ("code", "missing", "told"),
    [
        ("from mesh_plugins.hosts.langchain import ChatMesh", "langchain_core", "mesh-plugins[langchain]"),
        ("from mesh_plugins.hosts.langchain import MeshMiddleware", "langchain", "pip install langchain"),
        ("from mesh_plugins.hosts.litellm import install; install()", "litellm", "mesh-plugins[litellm]"),
    ],
)
def test_a_host_that_is_not_there_says_how_to_install_it(code, missing, told):
    hidden = f"import sys; sys.modules[{missing!r}] = None\n{code}"  # as if it were not installed
    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True)
    assert done.returncode == 1
    assert told in done.stderr.splitlines()[-1]
