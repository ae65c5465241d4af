"""`mesh demo`: true, quick, and gone afterwards."""

import os
import re
import resource
import signal
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from mesh_plugins.cli.demo.accounts import choose
from mesh_plugins.testing.provider import StandInProvider
from mesh_store.embedded.processes import is_running
from mesh_store.model.errors import ConfigError

#: The promise, seconds on a machine of its own: so much of a processor the story takes at most.
SECONDS = 30


def homes():
    return {place for place in Path(tempfile.gettempdir()).glob("mesh-demo-*") if place.is_dir()}


def processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def home_in(text: str) -> Path:
    found = re.search(r"under (\S*mesh-demo-\S+)", text)
    assert found, text
    return Path(found[1])


@pytest.fixture
def without_litellm(mesh, tmp_path):
    """A home for a `mesh` that has no litellm: quicker, and the story must bear it."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['litellm'] = None")
    mesh.environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), mesh.variables()["PYTHONPATH"]])
    return mesh


@pytest.mark.skipif(find_spec("litellm") is None, reason="needs litellm")
def test_the_story_is_told_from_the_engines_to_the_report_and_nothing_is_left(mesh, servers_in):
    before, began = homes(), processor_s()
    told = mesh("demo")
    assert processor_s() - began < SECONDS
    assert homes() <= before
    assert not home_in(told).exists()
    assert servers_in(home_in(told)) == []
    assert not any(mesh.home.iterdir()), "the user's own home is not the demo's"

    for claim in (
        r"litellm\.acompletion +small +\d+ +\d+",
        r"mesh\.chat +east/small +\d+ +\d+ +\$0\.\d+",
        r"QuotaExceeded",
        r"retry_after = \d",
        r"mesh\.chat +west/large +\d+ +\d+ +\$0\.\d+",
        r"research +fast +west +large +1 +0",
        r"research +fast +- +- +0 +1",
        r"nothing is left running",
    ):
        assert re.search(claim, told), f"{claim!r} is not in:\n{told}"
    called, arrived = map(int, re.search(r"(\d+) calls, (\d+) requests at the provider", told).groups())
    assert arrived == called - 1, "the refused call never reached the provider"
    reported = int(re.search(r"research +fast +east +small +(\d+)", told)[1])
    assert reported == 4 + arrived, (
        "Postgres has two direct calls, two through litellm, and the admitted ones"
    )


def test_it_can_be_kept_and_gone_on_with_and_calls_the_provider_it_was_told_to(without_litellm, servers_in):
    mesh = without_litellm
    with StandInProvider() as provider:
        place = ("--base-url", provider.base_url, "--model", "smol", "--model", "grande")
        told = mesh("demo", "--keep", *place)
        assert [each.json["model"] for each in provider.requests].count("grande") == 1
        assert "LiteLLM is not installed" in told

        status = mesh.json("status")
        assert status["kept"] is True
        mesh.environment["MESH_KEY"] = re.search(r"export MESH_KEY=(\S+)", told)[1]
        said = mesh.json("chat", "fast", "Hello", "--max-wait", "30")  # the story used up the key's burst
        assert said["target"] == "west/grande"

    pids = servers_in(mesh.home) + [each["pid"] for each in status["companions"]]
    mesh("down")
    assert servers_in(mesh.home) == []
    assert not [pid for pid in pids if pid and is_running(pid)]


@pytest.mark.full
def test_a_second_one_in_the_same_home_takes_what_is_there(without_litellm):
    mesh = without_litellm
    mesh("demo", "--keep")
    companions = mesh.json("status")["companions"]
    assert "west/large" in mesh("demo", "--keep")
    assert [each["argv"] for each in mesh.json("status")["companions"]] == [
        each["argv"] for each in companions
    ]
    assert len(mesh.json("team", "list")) == 1
    mesh("down")


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.full)])
def test_interrupted_in_the_middle_it_still_leaves_nothing(without_litellm, servers_in, number):
    process = without_litellm.start("demo")
    assert process.stdout is not None
    seen = ""
    while "mesh.chat(" not in seen:
        line = process.stdout.readline()
        assert line, seen
        seen += line
    os.kill(process.pid, number)
    process.communicate(timeout=240)
    assert process.returncode != 0
    assert not home_in(seen).exists()
    assert servers_in(home_in(seen)) == []


@pytest.mark.parametrize(
    ("provider", "base_url", "models", "said"),
    [
        ("openai", "http://x", [], "not both"),
        ("nobody", None, [], "choose from openai, anthropic"),
        ("openai", None, [], "OPENAI_API_KEY"),
        (None, "http://x", [], "--model"),
        (None, None, ["m"], "--provider or --base-url"),
        (None, "http://x", ["a", "b", "c"], "twice"),
    ],
)
def test_what_does_not_fit_together_is_refused(provider, base_url, models, said, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match=said):
        choose(provider, base_url, models)


def test_a_real_provider_plays_both_accounts_with_its_key_from_the_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    accounts = choose("openai", None, [])
    assert accounts.stand_in is False
    assert {accounts.first.secret, accounts.second.secret} == {"env:OPENAI_API_KEY"}
    assert {accounts.first.base_url, accounts.second.base_url} == {None}
