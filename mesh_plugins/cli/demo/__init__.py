"""``mesh demo``: the way of a call, told as a story and true in every number.

* `accounts`  who answers: two accounts at a stand-in on this machine, or at a real provider
* `stage`     a home, the engines, the stand-in, and leaving nothing behind
* `cast`      the team, user, key, alias and limits of the story
* `story`     what happens, in order
* `telling`   how it looks in a terminal
* `toolkit`   LiteLLM, imported while the engines start
"""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Use MESH_HOME, leave everything running, and say how to go on.")
    ] = False,
    provider: Annotated[
        str | None,
        typer.Option("--provider", help="openai or anthropic, with its key in the environment."),
    ] = None,
    base_url: Annotated[
        str | None, typer.Option("--base-url", help="An OpenAI-compatible address to call instead.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="Its model; a second one is for the second account.")
    ] = None,
) -> None:
    """Show a governed call from end to end, in half a minute, and leave nothing behind."""
    from mesh_plugins.cli.demo.accounts import choose
    from mesh_plugins.cli.demo.story import tell

    tell(choose(provider, base_url, model or []), keep=keep)
