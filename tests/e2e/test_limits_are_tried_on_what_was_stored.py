"""`mesh quota simulate --since`: limits tried on the calls of the last days, as they were stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mesh_plugins import QuotaExceeded
from mesh_plugins.cli.app import build

ASK = [{"role": "user", "content": "hi"}]


def test_calls_of_the_last_days_are_replayed_as_they_were(make_world: Any, tmp_path: Path) -> None:
    world = make_world(limits=("6 requests/hour, burst 6",))
    alias, mesh = world.alias(), world.mesh()
    used = [mesh.chat(alias, ASK, max_tokens=8).usage.total_tokens for _ in range(6)]
    with pytest.raises(QuotaExceeded):
        mesh.chat(alias, ASK, max_tokens=8)
    mesh.close()
    world.collect()
    stored = world.rows("e.outcome, e.estimate_tokens")
    assert [row["outcome"] for row in stored] == ["ok"] * 6 + ["denied"]

    def simulated(limit: str, *options: str) -> Any:
        manifest = tmp_path / "mesh.yaml"
        manifest.write_text(
            f"version: 1\nteams: [{{name: {world.team}, limits: [{limit!r}]}}]\n"
            f"providers: [{{name: {world.name('local')}, kind: openai, base_url: 'http://127.0.0.1:1/v1'}}]\n"
            f"aliases: [{{name: {alias}, targets: [{{provider: {world.name('local')}, model: small}}]}}]\n"
        )
        command = ["quota", "simulate", str(manifest), "--team", world.team, "--json", *options]
        result = CliRunner().invoke(build(), command, env=world.environ)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    # The refused call was wanted, too.
    said = simulated("4 requests/hour, burst 4", "--since", "7d")
    assert (said["calls"], said["admitted"], said["refused"], said["not_decided"]) == (7, 4, 3, {})
    [limit] = said["limits"]
    assert limit["refused_by_caller"] == {f"team {world.team}, key {world.key_id}": 3}
    assert len(said["refusals"]) == 3
    assert simulated("7 requests/hour, burst 7", "--since", "7d")["refused"] == 0
    # Each is charged what it was estimated at when it was made, and settled at what it took.
    estimate = stored[0]["estimate_tokens"]
    enough = sum(used) + estimate + stored[-1]["estimate_tokens"]
    assert simulated(f"1 tokens/hour, burst {enough}", "--since", "7d")["refused"] == 0
    assert simulated(f"1 tokens/hour, burst {estimate - 1}", "--since", "7d")["admitted"] == 0
    assert simulated("4 requests/hour", "--since", "7d", "--until", "1h")["calls"] == 0
