"""`mesh demo`: true, quick, and gone afterwards."""

import os
import re
import signal
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from mesh_plugins.cli.demo.accounts import choose
from mesh_plugins.testing.provider import StandInProvider
from mesh_store.embedded.processes import is_running
from mesh_store.model.errors import ConfigError

#: The promise is 30 s; a busy machine gets some grace before a test calls it broken.
SECONDS = 60


def homes():
    return {place for place in Path(tempfile.gettempdir()).glob("mesh-demo-*") if place.is_dir()}


def home_in(text: str) -> Path:
    found = re.search(r"under (\S*mesh-demo-\S+)", text)
    assert found, text
    return Path(found[1])


@pytest.mark.skipif(find_spec("litellm") is None, reason="needs litellm")
def test_the_story_is_told_from_the_engines_to_the_report_and_nothing_is_left(mesh, servers_in):
    before, began = homes(), time.monotonic()
    told = mesh("demo")
    assert time.monotonic() - began < SECONDS
    assert homes() <= before
    assert not home_in(told).exists()
    assert servers_in(home_in(told)) == []
    assert not any(mesh.home.iterdir()), "the user's own home is not the demo's"

    for claim in (
        r"litellm\.acompletion +small +\d+ +\d+",
        r"mesh\.chat +east/small +\d+ +\d+ +\$0\.\d+",
        r"QuotaExceeded",
        r"retry_after = \d",
        r"3 calls, 2 requests at the provider",
        r"mesh\.chat +west/large +\d+ +\d+ +\$0\.\d+",
        r"research +fast +east +small +6 +0",
        r"research +fast +west +large +1 +0",
        r"research +fast +- +- +0 +1",
        r"nothing is left running",
    ):
        assert re.search(claim, told), f"{claim!r} is not in:\n{told}"


def test_it_can_be_kept_and_gone_on_with(mesh, servers_in):
    told = mesh("demo", "--keep")
    assert mesh.json("status")["kept"] is True
    mesh.environment["MESH_KEY"] = re.search(r"export MESH_KEY=(\S+)", told)[1]
    reply = mesh.json("chat", "fast", "Hello")
    assert reply["target"] == "west/large"
    assert reply["cost_usd"] > 0

    companions = mesh.json("status")["companions"]
    assert "revision" in mesh("demo", "--keep"), "a second one in the same home works, too"
    assert len(mesh.json("status")["companions"]) == len(companions)

    pids = servers_in(mesh.home) + [each["pid"] for each in companions]
    mesh("down")
    assert servers_in(mesh.home) == []
    assert not [pid for pid in pids if pid and is_running(pid)]


def test_it_calls_another_provider_when_told_to(mesh):
    with StandInProvider() as provider:
        told = mesh("demo", "--base-url", provider.base_url, "--model", "smol", "--model", "grande")
        asked = [each.json["model"] for each in provider.requests]
    assert "east/smol" in told
    assert asked.count("grande") == 1
    assert asked.count("smol") >= 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_in_the_middle_it_still_leaves_nothing(mesh, servers_in, number):
    process = mesh.start("demo")
    assert process.stdout is not None
    seen = ""
    while "mesh.chat(" not in seen:
        line = process.stdout.readline()
        assert line, seen
        seen += line
    os.kill(process.pid, number)
    process.communicate(timeout=60)
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
