"""What the README says of figures: written anew from `results.json`, between markers.

::

    <!-- measured: NAME -->
    …
    <!-- end of measured -->
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from .book import Book
from .scale_page import arithmetic, inputs, where_and_when

#: Where figures are kept beside the programs that measured them.
RECORDED = "results.json"
_SECTION = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end of measured -->)", re.DOTALL)
#: The README's names of contenders, in its order.
CONTENDERS = {
    "mesh.achat, 4 limits": "**Mesh**, alias, 4 limits, fact",
    "TensorZero embedded, 4 limits": "TensorZero embedded, 4 limits in Valkey",
    "nginx hop": "nginx as a hop, no limits",
    "openai SDK": "openai SDK, nothing governed",
    "Portkey gateway": "Portkey gateway, no limits",
    "litellm SDK": "litellm SDK, nothing governed",
    "litellm through mesh": "**litellm through Mesh**",
    "litellm through mesh, fast": "**litellm through Mesh**, `install(fast=True)`",
    "LiteLLM proxy, 4 limits in Redis": "LiteLLM proxy, 4 limits in Redis",
    "langchain ChatOpenAI": "LangChain `ChatOpenAI`, nothing governed",
    "ChatMesh, 4 limits": "**LangChain `ChatMesh`**, 4 limits",
}


def record(book: Book, folder: Path) -> None:
    """Keep figures in ``folder``, those of families that were not measured as they are; write the README."""
    kept = folder / RECORDED
    book = joined(Book.of_json(json.loads(kept.read_text())) if kept.exists() else Book(), book)
    kept.write_text(json.dumps(book.as_json(), indent=1) + "\n")
    readme = folder.parents[1] / "README.md"
    readme.write_text(rewritten(readme.read_text(), book))


def joined(old: Book, new: Book) -> Book:
    """Return the new figures, and the old ones of families not measured again; each family has its date."""
    again = {figure.family for figure in new.figures}
    dated = {family: {"at": new.about["at"], "commit": new.about["commit"]} for family in sorted(again)}
    return Book(
        figures=[figure for figure in old.figures if figure.family not in again] + new.figures,
        missing={**{who: why for who, why in old.missing.items() if not again}, **new.missing},
        versions={**old.versions, **new.versions},
        refused=new.refused,
        seconds={**old.seconds, **new.seconds},
        about={**new.about, "measured": {**old.about.get("measured", {}), **dated}},
    )


def rewritten(text: str, book: Book) -> str:
    """Return a page with every section made anew whose family was measured; the others stay as they are.

    Raises:
        KeyError: a section nobody makes, or a figure its family did not measure.
    """
    measured = {figure.family for figure in book.figures}

    def anew(found: re.Match[str]) -> str:
        family, made = SECTIONS[found[2]]
        return found[1] + made(book) + found[3] if family in measured else found[0]

    return _SECTION.sub(anew, text)


def calls(book: Book) -> str:
    """Return the table of "What it costs"."""
    lines = ["| | added, 1 caller | of bare calls/s, 32 callers |", "|---|--:|--:|"]
    for case, name in CONTENDERS.items():
        if case in book.missing:
            lines.append(f"| {name} | not measured: {book.missing[case]} | |")
            continue
        added = book.find("Calls, one caller", case, "added")
        share = book.find("Calls, 32 callers", case, "of the floor's calls/s")
        lines.append(f"| {name} | {added:.2f} ms | {share:.2f} |")
    return "\n".join([*lines, "", where_and_when(book, "calls")]) + "\n"


#: Sections of the README: the family each tells of, and what writes it.
SECTIONS: dict[str, tuple[str, Callable[[Book], str]]] = {
    "calls": ("calls", calls),
    "inputs": ("cost", inputs),
    "arithmetic": ("cost", arithmetic),
}
