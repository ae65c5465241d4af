"""``mesh chat``: one governed call from a terminal."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mesh_plugins.cli.options import AsJson
from mesh_plugins.cli.printing import print_json


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(chat)


def chat(
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="The alias to call.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to say.")],
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", help="At most this many tokens.")] = None,
    system: Annotated[str | None, typer.Option("--system", help="Instructions for the model.")] = None,
    max_wait: Annotated[
        float | None, typer.Option("--max-wait", help="Wait this many seconds for a limit to have room.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say something to an alias with the key in MESH_KEY."""
    from mesh_plugins import Mesh

    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": text})
    asked = {"max_tokens": max_tokens, "max_wait_s": max_wait}
    params: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    with Mesh.from_env() as mesh:
        reply = mesh.chat(alias, messages, **params)
    if as_json:
        print_json(_plain(reply))
        return
    typer.echo(reply.choices[0].message.content)
    cost = "unpriced" if reply.mesh.cost is None else f"${reply.mesh.cost.normalize():f}"
    tokens = f"{reply.usage.prompt_tokens} + {reply.usage.completion_tokens} tokens"
    typer.echo(f"{reply.mesh.target}, {tokens}, {cost}, revision {reply.mesh.revision}", err=True)


def _plain(reply: Any) -> dict[str, Any]:
    return {
        "content": reply.choices[0].message.content,
        "target": reply.mesh.target,
        "input_tokens": reply.mesh.usage.input_tokens,
        "output_tokens": reply.mesh.usage.output_tokens,
        "cost_usd": reply.mesh.cost,
        "attempts": reply.mesh.attempts,
        "revision": reply.mesh.revision,
        "call_id": reply.mesh.call_id,
    }
