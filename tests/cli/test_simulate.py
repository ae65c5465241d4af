"""`mesh quota simulate`: limits tried on traffic that was, from a file without engines or from the store."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mesh_plugins.cli.app import build

MANIFEST = """
version: 1
teams: [{name: research, limits: ["10 requests/min", "$1/day"]}]
providers: [{name: openai, kind: openai}]
aliases: [{name: fast, targets: [{provider: openai, model: gpt-4.1-mini}]}]
"""


def calls(count: int) -> list[dict[str, Any]]:
    return [
        {
            "at": 1_900_000_000_000_000 + n * 1_000_000,
            "team": "research",
            "alias": "fast",
            "input_tokens": 100,
            "output_tokens": 10,
            "cost_usd": "0.01",
            "note": "passed over",
        }
        for n in range(count)
    ]


@pytest.fixture
def told(tmp_path: Path) -> Any:
    """Run the command over a trace; returns what it prints as JSON."""

    def run(trace: Path, *options: str, manifest: str = MANIFEST, code: int = 0) -> Any:
        (tmp_path / "mesh.yaml").write_text(manifest)
        command = ["quota", "simulate", str(tmp_path / "mesh.yaml"), str(trace), *options]
        result = CliRunner().invoke(build(command[0]), command)
        assert result.exit_code == code, result.output
        return json.loads(result.stdout) if "--json" in options and not code else result.output

    return run


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_it_says_what_would_have_been_refused_to_whom_when_and_by_what(told: Any, tmp_path: Path) -> None:
    said = told(jsonl(tmp_path / "t.jsonl", calls(15)), "--json")
    assert (said["calls"], said["admitted"], said["refused"]) == (15, 12, 3)
    [rate, money] = said["limits"]
    assert (rate["limit"], rate["refused"], rate["peak"], rate["at_once"]) == ("10 requests/min", 3, 10, 10)
    assert rate["refused_by_caller"] == {"team research": 3}
    assert (money["peak"], money["peak_percent"]) == (0.12, 12.0)
    first = said["refusals"][0]
    assert first["at"] == rate["first_refused_at"] == "2030-03-17T17:46:51+00:00"
    assert 0 < first["retry_after_s"] <= 6


def test_csv_says_the_same_in_any_order(told: Any, tmp_path: Path) -> None:
    rows = list(reversed(calls(15)))
    with (tmp_path / "t.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    as_csv = told(tmp_path / "t.csv", "--json")
    assert as_csv == told(jsonl(tmp_path / "t.jsonl", rows), "--json")


def test_people_get_a_table_and_a_sentence(told: Any, tmp_path: Path) -> None:
    shown = told(jsonl(tmp_path / "t.jsonl", calls(15)))
    assert "10 requests/min" in shown
    assert "15 calls" in shown
    assert "12 admitted, 3 refused (20.00 %)" in shown


def test_what_the_manifest_does_not_know_is_named_and_not_counted_as_a_limits(
    told: Any, tmp_path: Path
) -> None:
    rows = [row | {"alias": "slow"} for row in calls(2)] + [row | {"team": "sales"} for row in calls(1)]
    said = told(jsonl(tmp_path / "t.jsonl", rows), "--json")
    assert (said["admitted"], said["refused"], sum(said["not_decided"].values())) == (0, 0, 3)
    assert any("slow" in reason for reason in said["not_decided"])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("not json", "line 1 is not JSON"),
        ('{"at": 1, "alias": "fast"}', "line 1: team is missing"),
        ('{"at": "yesterday", "team": "a", "alias": "b"}', "neither microseconds nor an ISO 8601 time"),
        ('{"at": 1, "team": "a", "alias": "b", "input_tokens": -5}', "input_tokens"),
        ('{"at": 1, "team": "a", "alias": "b", "cost_usd": "NaN"}', "cost_usd"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(told: Any, tmp_path: Path, line: str, reason: str) -> None:
    (tmp_path / "t.jsonl").write_text(line + "\n")
    assert reason in told(tmp_path / "t.jsonl", code=1).replace("\n", " ")


def test_a_stored_call_that_a_pattern_caught_is_a_call_of_its_model(told: Any, tmp_path: Path) -> None:
    caught = "{name: openai/*, targets: [{provider: openai, model: '*'}]}"
    manifest = MANIFEST.replace("aliases: [", f"aliases: [{caught}, ")
    known, strange = (call | {"alias": "openai/*"} for call in calls(2))
    rows = [known | {"model": "gpt-4o"}, strange | {"model": "../what no caller may say"}]
    said = told(jsonl(tmp_path / "t.jsonl", rows), "--json", manifest=manifest)
    assert (said["admitted"], said["not_decided"]) == (2, {})


def test_what_was_stored_can_be_replayed_too(operated: Any, tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(MANIFEST)
    said = operated.json("quota", "simulate", str(tmp_path / "mesh.yaml"), "--since", "7d")
    assert said["calls"] == said["admitted"] + said["refused"] + sum(said["not_decided"].values())
    assert "name a trace" in operated.refused("quota", "simulate", str(tmp_path / "mesh.yaml"))


def test_stored_calls_are_those_of_the_team_and_the_time_that_were_asked_for(
    make_world: Any, tmp_path: Path
) -> None:
    world, other = make_world(), make_world()
    for each in (world, other):
        alias, mesh = each.alias(), each.mesh()
        for _ in range(2):
            mesh.chat(alias, [{"role": "user", "content": "hi"}], max_tokens=5)
        assert mesh.flush(60)
        each.collect()
    (tmp_path / "mesh.yaml").write_text(MANIFEST)

    def said(*options: str) -> Any:
        command = ["quota", "simulate", str(tmp_path / "mesh.yaml"), "--json", *options]
        result = CliRunner().invoke(build(command[0]), command, env=world.environ)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    assert said("--since", "1h", "--team", world.team)["calls"] == 2
    assert said("--since", "1h")["calls"] >= 4
    assert said("--since", "2h", "--until", "1h", "--team", world.team)["calls"] == 0


def test_a_trace_can_be_narrowed_to_a_team(told: Any, tmp_path: Path) -> None:
    rows = calls(3) + [row | {"team": "sales"} for row in calls(2)]
    said = told(jsonl(tmp_path / "t.jsonl", rows), "--json", "--team", "sales")
    assert (said["calls"], sum(said["not_decided"].values())) == (2, 2)


APART = """
version: 1
teams: [{name: research, members: [anna]}]
users: [{name: anna}]
providers: [{name: openai, kind: openai}]
aliases: [{name: fast, targets: [{provider: openai, model: gpt-4.1-mini}]}]
limits:
- {team: research, end_user: "*", limit: "2 requests/min"}
- {team: research, tag: "job=*", limit: "3 requests/min"}
- {user: anna, limit: "4 requests/min"}
"""


@pytest.mark.parametrize(
    ("said", "admitted"),
    [
        ({}, 6),
        ({"end_user": "u"}, 2),
        ({"tags": {"job": "nightly"}}, 3),
        ({"user": "anna"}, 4),
        ({"user": "anna", "end_user": "u", "tags": {"job": "x"}}, 2),
    ],
    ids=str,
)
def test_who_calls_and_for_whom_is_read_from_the_trace(
    told: Any, tmp_path: Path, said: dict[str, Any], admitted: int
) -> None:
    rows = [row | said for row in calls(6)]
    assert told(jsonl(tmp_path / "t.jsonl", rows), "--json", manifest=APART)["admitted"] == admitted


def test_end_users_and_tags_of_a_trace_are_told_apart(told: Any, tmp_path: Path) -> None:
    rows = [row | {"end_user": f"u{n % 3}"} for n, row in enumerate(calls(6))]
    assert told(jsonl(tmp_path / "t.jsonl", rows), "--json", manifest=APART)["admitted"] == 6


def test_a_slot_is_held_for_as_long_as_the_call_took(told: Any, tmp_path: Path) -> None:
    manifest = MANIFEST.replace('"10 requests/min"', '"1 concurrent"')
    rows = [row | {"duration_s": 2.5} for row in calls(6)]  # one a second
    said = told(jsonl(tmp_path / "t.jsonl", rows), "--json", manifest=manifest)
    assert (said["admitted"], said["refused"]) == (2, 4), "the first, and the fourth when it has ended"


def test_a_limit_in_shadow_mode_refuses_nobody_and_says_whom_it_would(told: Any, tmp_path: Path) -> None:
    manifest = MANIFEST.replace('"10 requests/min"', '{limit: "10 requests/min", enforce: false}')
    trace = jsonl(tmp_path / "t.jsonl", calls(15))
    said = told(trace, "--json", manifest=manifest)
    assert (said["admitted"], said["refused"], said["would_refuse"]) == (15, 0, 3)
    [rate] = [row for row in said["limits"] if row["dimension"] == "requests"]
    assert (rate["refused"], rate["refused_by_caller"]) == (3, {"team research": 3})
    assert "3 (shadow)" in told(trace, manifest=manifest)


def test_a_target_without_room_is_passed_over_as_by_a_caller(told: Any, tmp_path: Path) -> None:
    manifest = """
version: 1
teams: [{name: research}]
providers: [{name: openai, kind: openai}, {name: spare, kind: openai, base_url: "http://spare.invalid/v1"}]
aliases:
- {name: fast, targets: [{provider: openai, model: gpt-4.1-mini}, {provider: spare, model: m, tier: 2}]}
limits: [{provider: openai, limit: "2 requests/min"}]
"""
    said = told(jsonl(tmp_path / "t.jsonl", calls(6)), "--json", manifest=manifest)
    assert (said["admitted"], said["refused"]) == (6, 0)
