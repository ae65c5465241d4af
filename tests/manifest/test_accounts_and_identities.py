"""Providers that are a team's own, and secrets that are no secrets, in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mesh_store.admin.manifest import ManifestError

if TYPE_CHECKING:
    from tests.manifest.conftest import Ground

WHOLE = """\
version: 1
teams: [{name: research}]
providers:
  - {name: openai, kind: openai, secret: "sealed:key"}
  - {name: openai, team: research, kind: openai, secret: "env:RESEARCH_KEY"}
  - name: vendor
    kind: openai
    secret:
      federated:
        token_url: https://auth.example.com/oauth/token
        subject_token: "file:/var/run/secrets/token"
        audience: https://api.example.com
aliases:
  - {name: fast, targets: [{provider: openai, model: m}]}
"""


async def test_they_are_applied_exported_and_applied_again_to_no_change(ground: Ground) -> None:
    await ground.apply(WHOLE)
    own = await ground.repo.get_provider("openai", team="research")
    assert own.secret == "env:RESEARCH_KEY"
    assert (await ground.repo.get_provider("openai")).secret == "sealed:key"
    assert not (await ground.plan(WHOLE)).changes
    exported = await ground.export()
    assert not (await ground.plan(exported)).changes
    assert "None" not in exported


async def test_one_is_changed_and_archived_without_the_other(ground: Ground) -> None:
    await ground.apply(WHOLE)
    await ground.apply(WHOLE.replace("RESEARCH_KEY", "OTHER_KEY"))
    assert (await ground.repo.get_provider("openai", team="research")).secret == "env:OTHER_KEY"
    without = "".join(line for line in WHOLE.splitlines(keepends=True) if "RESEARCH_KEY" not in line)
    plan = await ground.apply(without, prune=True)
    assert [(change.action, change.thing.name) for change in plan.changes] == [("archive", "research:openai")]
    assert (await ground.repo.get_provider("openai")).secret == "sealed:key"


async def test_a_team_that_is_not_there_is_named(ground: Ground) -> None:
    with pytest.raises(ManifestError, match="there is no team 'nobody'"):
        await ground.plan(WHOLE.replace("team: research", "team: nobody"))
