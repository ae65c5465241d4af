"""What the story shows of the system itself: the engines, the entities, the report, the end."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mesh_plugins.cli.control import database, place
from mesh_plugins.cli.demo import cast
from mesh_plugins.cli.demo.stage import Stage
from mesh_plugins.cli.demo.telling import Teller
from mesh_plugins.cli.printing import Row
from mesh_plugins.cli.targets import target_text
from mesh_store.embedded import status

if TYPE_CHECKING:
    from mesh_store.admin import Admin


def engines(teller: Teller, stage: Stage) -> None:
    """Say what runs."""
    found = status(stage.home)
    assert found.postgres is not None
    assert found.valkey is not None
    began = "started" if stage.engines.started else "were running already"
    teller.say(
        f"Postgres {found.postgres.version} and Valkey {found.valkey.version} {began}"
        f" under {stage.home} ({teller.seconds:.1f} s)"
    )
    if stage.stand_in is not None:
        teller.say(f"A stand-in provider speaks OpenAI's and Anthropic's formats at {stage.stand_in}")


async def what_there_is(admin: Admin, key_id: str) -> list[Row]:
    """Return what was created, read back."""
    key, alias = await admin.get_key(key_id), await admin.get_alias(cast.ALIAS)
    team = await admin.list_limits(team=cast.TEAM)
    own = await admin.list_limits(key=key_id)
    targets = ", then ".join(target_text(each.model_dump()) for each in alias.targets)
    return [
        {"what": "team", "name": key.team, "means": "; ".join(each.limit for each in team)},
        {"what": "user", "name": key.user, "means": f"member of {key.team}"},
        {
            "what": "key",
            "name": f"mk_{key.id}_…{key.last_four}",
            "means": "; ".join(each.limit for each in own),
        },
        {"what": "alias", "name": alias.name, "means": targets},
    ]


async def usage(by: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the report from Postgres."""
    from mesh_store.postgres.usage import usage_report

    async with place() as found, database(found) as opened:
        return await usage_report(opened, by)


def how_to_go_on(teller: Teller, stage: Stage, played: cast.Cast) -> None:
    """Say what to type next."""
    mesh = _command()
    teller.chapter("Everything stays up; go on like this")
    for line in (
        f"export MESH_HOME={shlex.quote(str(stage.home))}",
        f"export MESH_KEY={played.key}",
        f'{mesh} chat {cast.ALIAS} "Hello"',
        f"{mesh} usage --by alias --by model --flush",
        f"{mesh} limit list",
        f"{mesh} down",
    ):
        teller.console.print(f"  {line}", soft_wrap=True, markup=False)
    teller.say(f"\nDone in {teller.seconds:.1f} s.")


def nothing_left(teller: Teller, stage: Stage) -> None:
    """Say that nothing runs any more, after looking."""
    found = status(stage.home)
    gone = not found.running and found.supervisor is None and not stage.home.exists()
    end = "nothing is left running, and its directory is gone" if gone else f"see {stage.home}"
    teller.say(
        f"\nDone in {teller.seconds:.1f} s; {end}. `{_command()} demo --keep` leaves it up to play with."
    )


def _command() -> str:
    """How this command was called, so that its lines can be copied."""
    called = Path(sys.argv[0])
    if called.name != "mesh":
        return f"{Path(sys.executable).name} -m mesh_plugins.cli"
    return sys.argv[0]
