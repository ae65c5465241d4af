"""``mesh alias``: the model names callers use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh_plugins.cli.operating import done, every, listing, operate
from mesh_plugins.cli.options import Archived, AsJson, Team
from mesh_plugins.cli.targets import parse_parameters, parse_target, target_text

if TYPE_CHECKING:
    from mesh_store.model.entities import AliasEntity

alias = typer.Typer(no_args_is_help=True, help="The model names callers use.")

AliasName = Annotated[
    str, typer.Argument(metavar="ALIAS", help="The alias's name, or a pattern such as 'openai/*'.")
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="PROVIDER/MODEL[,weight=N][,tier=N][,canary=N%]",
        help="What it resolves to; given several times. A higher tier is tried when the lower ones failed; a "
        "canary gets just its share. In a pattern, the model '*' passes on what was asked for.",
    ),
]
Grants = Annotated[
    list[str] | None,
    typer.Option("--grant", metavar="TEAM", help="Only these teams may use it; without any, every team."),
]
Operations = Annotated[
    list[str] | None,
    typer.Option("--operation", help="chat, responses, text_completion or embeddings."),
]
Defaults = Annotated[
    list[str] | None,
    typer.Option("--default", metavar="NAME=VALUE", help="A parameter where the caller gives none."),
]
MostTokens = Annotated[
    int | None, typer.Option("--max-output-tokens", help="Sent along where the caller gives no max_tokens.")
]
Timeout = Annotated[float | None, typer.Option(help="Seconds for a whole call, fallbacks included.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(alias, name="alias")


@alias.command("create")
def create_alias(
    name: AliasName,
    target: Targets = None,
    team: Team = None,
    grant: Grants = None,
    operation: Operations = None,
    default: Defaults = None,
    max_output_tokens: MostTokens = None,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Create an alias; with --team it is that team's own."""
    fields = _fields(target, grant, operation, default, max_output_tokens, timeout)
    made = operate(lambda repo: repo.create_alias(name=name, team=team, **fields))
    done(f"alias {made.name} is there: {_targets(made)}", made, as_json=as_json)


@alias.command("set")
def set_alias(
    name: AliasName,
    target: Targets = None,
    team: Team = None,
    grant: Grants = None,
    everyone: Annotated[bool, typer.Option("--everyone", help="Every team may use it again.")] = False,
    operation: Operations = None,
    default: Defaults = None,
    max_output_tokens: MostTokens = None,
    timeout: Timeout = None,
    deprecated: Annotated[str | None, typer.Option(help="A notice for callers.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change an alias where it runs; what is given replaces what was. Callers follow within a second."""
    fields = _fields(target, grant, operation, default, max_output_tokens, timeout)
    if everyone:
        fields["grants"] = None
    if deprecated is not None:
        fields["deprecated"] = deprecated
    made = operate(lambda repo: repo.update_alias(name, for_team=team, **fields))
    done(f"alias {made.name} is now: {_targets(made)}", made, as_json=as_json)


@alias.command("list")
def list_aliases(team: Team = None, archived: Archived = False, as_json: AsJson = False) -> None:
    """List the aliases; with --team only that team's own."""
    rows = every(lambda repo, **page: repo.list_aliases(**page), team=team, archived=archived)
    if not as_json:
        rows = [row | {"targets": [target_text(each) for each in row["targets"]]} for row in map(dict, rows)]
    listing(rows, ["name", "team", "targets", "grants", "operations"], as_json=as_json, word="aliases")


@alias.command("archive")
def archive_alias(name: AliasName, team: Team = None, as_json: AsJson = False) -> None:
    """Take an alias out of use."""
    gone = operate(lambda repo: repo.archive_alias(name, team=team))
    done(f"alias {gone.name} is archived", gone, as_json=as_json)


def _targets(made: AliasEntity) -> str:
    return " ".join(target_text(each.model_dump()) for each in made.targets) or "no targets yet"


def _fields(
    targets: list[str] | None,
    grants: list[str] | None,
    operations: list[str] | None,
    defaults: list[str] | None,
    max_output_tokens: int | None,
    timeout: float | None,
) -> dict[str, Any]:
    fields = {
        "targets": [parse_target(each) for each in targets] if targets else None,
        "grants": grants or None,
        "operations": operations or None,
        "defaults": parse_parameters(defaults, "default") if defaults else None,
        "max_output_tokens": max_output_tokens,
        "timeout": timeout,
    }
    return {name: value for name, value in fields.items() if value is not None}
