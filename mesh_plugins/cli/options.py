"""The options commands share."""

from __future__ import annotations

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Archived = Annotated[bool, typer.Option("--archived", help="Show what is out of use, too.")]
Description = Annotated[str, typer.Option("--description", help="For people; at most 1000 characters.")]
Team = Annotated[str | None, typer.Option("--team", metavar="TEAM", help="A team's name.")]
User = Annotated[str | None, typer.Option("--user", metavar="USER", help="A user's name.")]
