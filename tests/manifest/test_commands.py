"""`mesh plan | apply | export | import | schema`, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

from tests.manifest.conftest import Mesh

TEAM = "version: 1\nteams: [{name: research, limits: [5 requests/min]}]\n"


def test_a_plan_reads_like_a_diff(mesh: Mesh) -> None:
    said = mesh("plan", text=TEAM).stdout
    assert said.splitlines() == [
        "+ team research",
        "+ limit team research: 5 requests/min",
        "would be 2 created (at revision 0)",
    ]
    mesh("apply")
    said = mesh("plan", "mesh.yaml", text=TEAM.replace("5 req", "50 req")).stdout
    assert "~ limit team research\n    limit: 5 requests/min → 50 requests/min\n" in said


def test_applying_says_what_was_done_and_a_second_time_that_nothing_was_to_do(mesh: Mesh) -> None:
    assert mesh("apply", text=TEAM).stdout.endswith("done: 2 created\n")
    assert mesh("apply").stdout == "nothing to change\n"


def test_changed_targets_are_shown_one_a_line(mesh: Mesh) -> None:
    text = """\
version: 1
providers: [{name: p, kind: openai}]
aliases: [{name: fast, targets: [{provider: p, model: a}, {provider: p, model: b}]}]
"""
    mesh("apply", text=text)
    said = mesh("plan", text=text.replace("model: b", "model: b, weight: 9")).stdout
    assert "~ alias fast\n    targets:\n      - p/b\n      + p/b,weight=9\n" in said


def test_as_json_a_plan_is_for_programs(mesh: Mesh) -> None:
    said = json.loads(mesh("plan", "--json", text=TEAM).stdout)
    assert (said["revision"], said["create"], said["update"], said["archive"]) == (0, 2, 0, 0)
    assert said["changes"][1]["fields"]["limit"] == {"before": None, "after": "5 requests/min"}


def test_an_exit_code_tells_whether_something_would_change_when_asked_for(mesh: Mesh) -> None:
    mesh("plan", "--exit-code", text=TEAM, exit_code=1)
    mesh("plan", exit_code=0)
    mesh("apply")
    mesh("plan", "--exit-code", exit_code=0)


def test_archiving_without_a_terminal_wants_a_yes(mesh: Mesh) -> None:
    mesh("apply", text=TEAM)
    refused = mesh("apply", "--prune", text="version: 1\n", exit_code=1)
    assert "this archives 2 things" in refused.stderr
    assert "done: 2 archived" in mesh("apply", "--prune", "--yes").stdout


def test_a_plan_pinned_to_a_revision_is_refused_later(mesh: Mesh) -> None:
    revision = str(json.loads(mesh("plan", "--json", text=TEAM).stdout)["revision"])
    mesh("team", "create", "other")
    assert "not at 0 any more" in mesh("apply", "--revision", revision, exit_code=1).stderr


def test_every_fault_of_a_file_has_a_line_and_the_end_is_one(mesh: Mesh) -> None:
    done = mesh("apply", text="version: 1\nteams: [{name: A}]\nnope: 1\n", exit_code=1)
    assert done.stdout == ""
    assert [line.split(" ")[1] for line in done.stderr.splitlines()] == ["mesh.yaml:2:16:", "mesh.yaml:3:1:"]


def test_a_file_that_is_not_there_is_named(mesh: Mesh) -> None:
    assert "nowhere.yaml cannot be read" in mesh("plan", "nowhere.yaml", exit_code=1).stderr


def test_a_manifest_may_come_from_standard_input_and_go_to_standard_output(
    mesh: Mesh, tmp_path: Path
) -> None:
    mesh("apply", text=TEAM)
    exported = mesh("export").stdout
    assert mesh("plan", text=exported).stdout == "nothing to change\n"
    assert "team: research" in mesh("export", "--team", "research").stdout


def test_the_schema_is_json(mesh: Mesh) -> None:
    assert json.loads(mesh("schema").stdout)["properties"]["version"]["const"] == 1


def test_an_import_writes_the_manifest_out_and_the_rest_to_standard_error(mesh: Mesh, tmp_path: Path) -> None:
    config = (
        "model_list: [{model_name: m, litellm_params: {model: gpt-4o}}]\ngeneral_settings: {master_key: x}\n"
    )
    (tmp_path / "config.yaml").write_text(config, "utf-8")
    done = mesh("import", "litellm", "config.yaml")
    assert mesh("apply", text=done.stdout).stdout.endswith("done: 2 created\n")
    assert done.stderr.startswith("config.yaml:2: general_settings.master_key: keys are made with")
    mesh("import", "litellm", "config.yaml", "--strict", exit_code=1)
