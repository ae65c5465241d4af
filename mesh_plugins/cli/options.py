"""The options commands share."""

from __future__ import annotations

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Archived = Annotated[bool, typer.Option("--archived", help="Show what is out of use, too.")]
