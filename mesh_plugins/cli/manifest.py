"""``mesh plan``, ``apply``, ``export``, ``import``, ``schema``: governance kept in a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mesh_plugins.cli.differences import summary, tell
from mesh_plugins.cli.operating import operate
from mesh_plugins.cli.options import AsJson
from mesh_plugins.cli.printing import print_json
from mesh_store.model.errors import Rejected

if TYPE_CHECKING:
    from mesh_plugins.cli.fitting import Looked
    from mesh_store.admin.manifest import Plan

File = Annotated[str, typer.Argument(metavar="FILE", help="The manifest; - is standard input.")]
Prune = Annotated[bool, typer.Option("--prune", help="Archive what the manifest does not name.")]

imports = typer.Typer(no_args_is_help=True, help="Turn the configuration of something else into a manifest.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (plan, apply, export, schema):
        app.command()(command)
    app.add_typer(imports, name="import")


def plan(
    file: File = "mesh.yaml",
    prune: Prune = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with 1 when something would change, like git diff.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what applying a manifest would change; nothing is changed."""
    from mesh_store.admin import manifest

    with _faults_told():
        said = manifest.parse(_text(file), _called(file))
        made = operate(lambda repo: manifest.plan(repo, *said, prune=prune, after=True))
    _show(made, as_json=as_json)
    if exit_code and made.changes:
        raise typer.Exit(1)


def apply(
    file: File = "mesh.yaml",
    prune: Prune = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask before something is archived.")
    ] = False,
    revision: Annotated[
        int | None, typer.Option(help="Refuse unless the configuration still is at this one, as planned.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring the configuration to what a manifest says, in one transaction; callers follow at once."""
    from mesh_store.admin import manifest

    with _faults_told():
        said = manifest.parse(_text(file), _called(file))
        if prune and not yes:
            foreseen = operate(lambda repo: manifest.plan(repo, *said, prune=True, after=True))
            if foreseen.count("archive"):
                _ask(foreseen)
                revision = (
                    foreseen.revision if revision is None else revision
                )  # what was agreed to, or nothing
        made = operate(lambda repo: manifest.apply(repo, *said, prune=prune, revision=revision, after=True))
    _show(made, as_json=as_json, done=True)


def export(
    team: Annotated[str | None, typer.Option("--team", metavar="TEAM", help="Only what is its own.")] = None,
) -> None:
    """Write the present state as a manifest, which applied again changes nothing."""
    from mesh_store.admin import manifest

    typer.echo(manifest.export(operate(manifest.read_settled), team=team), nl=False)


def schema() -> None:
    """Write the JSON schema of manifests, by which editors complete and check them."""
    from mesh_store.admin import manifest

    print_json(manifest.schema())


@imports.command("litellm")
def import_litellm(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG", help="The proxy's config.yaml; - is standard input.")
    ],
    strict: Annotated[
        bool, typer.Option("--strict", help="End with 1 when something did not translate.")
    ] = False,
) -> None:
    """Turn a LiteLLM proxy's config into a manifest; what did not translate is listed on standard error."""
    from mesh_store.admin.manifest.litellm_config import translate

    with _faults_told():
        translated = translate(_text(config), _called(config))
    typer.echo(translated.text, nl=False)
    for note in translated.notes:
        typer.echo(str(note), err=True)
    if strict and translated.notes:
        raise typer.Exit(1)


def _text(file: str) -> str:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise Rejected(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise Rejected(f"{_called(file)} is not UTF-8 (byte {error.start})") from None


def _called(file: str) -> str:
    return "<stdin>" if file == "-" else file


@contextmanager
def _faults_told() -> Iterator[None]:
    """End with one line for each fault of a file."""
    from mesh_store.admin.manifest import ManifestError

    try:
        yield
    except ManifestError as error:
        for line in error.lines:
            typer.echo(f"mesh: {line}", err=True)
        raise typer.Exit(1) from None


def _ask(foreseen: Plan) -> None:
    if not sys.stdin.isatty():
        raise Rejected(
            f"this archives {foreseen.count('archive')} things; look at `mesh plan --prune`, then say --yes"
        )
    tell(foreseen)
    _warn(foreseen)
    typer.confirm("Apply this?", abort=True, err=True)


def _show(made: Plan, *, as_json: bool, done: bool = False) -> None:
    if as_json:
        seen = _looked(made)
        warnings = None if seen is None else [each._asdict() for each in seen.unfit]
        passed_over = None if seen is None else seen.passed_over
        print_json(made.as_json() | {"warnings": warnings, "limits_passed_over": passed_over})
        return
    tell(made)
    typer.echo(summary(made, done=done))
    _warn(made)


def _warn(made: Plan) -> None:
    """Tell on standard error which limits no ordinary call fits into afterwards."""
    from mesh_plugins.cli.fitting import passed_over

    seen = _looked(made)
    if seen is None:
        typer.echo("mesh: whether calls fit into limits was not looked at: only who may write can", err=True)
        return
    for each in seen.unfit:
        typer.echo(f"mesh: warning: {each}: {each.fix}", err=True)
    if seen.passed_over:
        typer.echo(f"mesh: {passed_over(seen)}", err=True)


def _looked(made: Plan) -> Looked | None:
    from mesh_plugins.cli.fitting import look

    return None if made.after is None else look(made.after.document, made.after.keys)
