"""Bad input: file, line, column and field are named, and nothing is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mesh_store.admin.manifest import ManifestError, parse
from mesh_store.admin.manifest.reading import read

if TYPE_CHECKING:
    from tests.manifest.conftest import Ground


def faults(text: str) -> list[str]:
    with pytest.raises(ManifestError) as refused:
        parse(text, "mesh.yaml")
    return refused.value.lines


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "mesh.yaml:1:1: the file is empty"),
        ("[1]", "mesh.yaml:1:1: a manifest is a mapping"),
        ("users: []", "mesh.yaml:1:1: version: Field required"),
        ("version: 2", "mesh.yaml:1:10: version: this Mesh reads version 1"),
        ("version: true", "mesh.yaml:1:10: version: Input should be a valid integer"),
        ("version: 1\nteems: []", "mesh.yaml:2:1: teems: there is no such field"),
        ("version: 1\nteams: [{name: a, nome: b}]", "mesh.yaml:2:19: teams.0.nome: there is no such field"),
        (
            "version: 1\nteams: [{name: A}]",
            "mesh.yaml:2:16: teams.0.name: team name 'A' is not usable: use lower case: 'a'",
        ),
        (
            f"version: 1\nteams: [{{name: {'x' * 10_000}}}]",
            "it has 10000 characters, at most 128 are allowed",
        ),
        ("version: 1\nversion: 1", "mesh.yaml:2:1: version: this key is there already, on line 1"),
        (
            "version: 1\nteams: [{name: a, limits: [-5 requests/min]}]",
            "mesh.yaml:2:28: teams.0.limits.0.limit: limit '-5",
        ),
        ("version: 1\nlimits: [{limit: 9007199254740992 requests/min}]", "limits.0.limit"),
        (
            "version: 1\nprices: [{provider: p, model: m, input: .nan, output: 1}]",
            "mesh.yaml:2:41: prices.0.input: .nan is not a number",
        ),
        (
            "version: 1\nprices: [{provider: p, model: m, input: 1e999, output: 1}]",
            "prices.0.input: 1e999 is not a number",
        ),
        (
            "version: 1\nprices: [{provider: p, model: m, input: -1, output: 1}]",
            "mesh.yaml:2:41: prices.0.input",
        ),
        (
            f"version: 1\nusers: [{{name: a, metadata: {{n: {'9' * 50}}}}}]",
            "a number of 50 digits is too large",
        ),
        (
            f"version: 1\nusers: [{{name: a, metadata: {{n: {2**53}}}}}]",
            "users.0.metadata: numbers go up to",
        ),
        ("version: 1\nteams: &t [*t]", "mesh.yaml:2:8: teams.0: this anchor contains itself"),
        ("version: 1\nteams: !!python/object:os.system {}", "tags such as"),
        ("version: 1\n---\nversion: 1", "there is a second document"),
        ("version: 1\nteams: [", "this is not YAML"),
        ("version: 1\nteams: [a: b: c]", "mesh.yaml:2:"),
        ("version: 1\n\x01", "this is not YAML"),
        ("version: 1\n1: 2", "mesh.yaml:2:1: a key must be text"),
        ("version: 1\nteams: " + "[" * 900 + "]" * 900, "nested deeper than 64"),
        ("version: 1\nteams: [{name: a, members: [{user: b, role: boss}]}]", "teams.0.members.0.role"),
    ],
)
def test_every_fault_names_its_place(text: str, said: str) -> None:
    assert said in faults(text)[0]


def test_all_faults_of_a_file_are_told_at_once_in_its_order() -> None:
    told = faults("version: 1\nlimits: [{limit: nonsense}]\nusers: [{name: A}]\nteams: [{}]\n")
    assert [line.split(":")[1] for line in told] == ["2", "3", "4"]


def test_more_faults_than_anybody_reads_are_counted() -> None:
    told = faults("version: 1\nusers: [" + "{name: A}," * 50 + "]")
    assert len(told) == 21
    assert told[-1] == "mesh.yaml: and 30 more"


def test_a_secret_in_the_file_is_refused_and_never_repeated() -> None:
    canary = "sk-canary-4711"
    text = f"version: 1\nproviders: [{{name: p, kind: openai, secret: {canary}}}]"
    [told] = faults(text)
    assert "never the secret itself" in told
    assert canary not in told


def test_anchors_that_unfold_without_end_are_refused_quickly() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(ManifestError, match="the anchors unfold to more than"):
        read("\n".join(lines), "bomb.yaml")


def test_words_that_other_yaml_takes_for_something_else_are_text() -> None:
    value = read("[no, on, 2026-01-01, 12:30, 1_000, 0755]", "x").value
    assert value == ["no", "on", "2026-01-01", "12:30", "1_000", 755]


def test_merge_keys_share_what_several_things_have() -> None:
    value = read("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}", "x").value
    assert value["b"] == {"x": 1, "y": 3}


def test_a_section_of_comments_alone_is_empty() -> None:
    assert parse("version: 1\nteams:\n  # - name: a\n", "x")[0].teams == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("teams: [{name: a},\n  {name: a}]", "mesh.yaml:3:3: teams.1: team 'a' is there already, on line 2"),
        (
            "teams: [{name: a, limits: [5 requests/min, 6 requests/min]}]",
            "teams.0.limits.1: team a has a limit of this dimension and period already, on line 2",
        ),
        (
            "teams: [{name: a, members: [bob]}]",
            "mesh.yaml:2:29: teams.0.members.0.user: there is no user 'bob'",
        ),
        (
            "aliases: [{name: x, targets: [{provider: p, model: m}]}]",
            "aliases.0.targets.0.provider: there is no provider 'p'",
        ),
        ("aliases: [{name: x, grants: [nobody]}]", "aliases.0.grants: there is no team 'nobody'"),
        (
            "limits: [{limit: 1 concurrent, alias: x}]",
            "mesh.yaml:2:39: limits.0.alias: there is no alias 'x'",
        ),
        ("limits: [{limit: 1 concurrent, key: abcd1234}]", "limits.0.key: there is no live key 'abcd1234'"),
        (
            "prices: [{provider: p, model: m, input: 1, output: 1}]",
            "prices.0.provider: there is no provider 'p'",
        ),
        (
            "aliases: [{name: x}]\nlimits: [{limit: 1 concurrent, alias: x, target: p/m}]",
            "limits.0.target: alias 'x' has no target 'p/m' (it has: none)",
        ),
        (
            "teams: [{name: a, limits: [{limit: 1 concurrent, team: b}]}]",
            "teams.0.limits.0.team: this is a list of team 'a'",
        ),
    ],
)
async def test_what_contradicts_itself_is_refused_before_anything_changes(
    ground: Ground, text: str, said: str
) -> None:
    with pytest.raises(ManifestError) as refused:
        await ground.apply("version: 1\n" + text)
    assert said in refused.value.lines[0]
    assert await ground.revision() == 0


async def test_a_name_that_pruning_takes_away_cannot_be_used(ground: Ground) -> None:
    await ground.apply("version: 1\nusers: [{name: bob}]\n")
    with pytest.raises(ManifestError, match="archived, because this file does not name it"):
        await ground.apply("version: 1\nteams: [{name: a, members: [bob]}]\n", prune=True)
