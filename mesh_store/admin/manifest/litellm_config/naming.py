"""Names that a mesh takes, made of names that LiteLLM takes."""

from __future__ import annotations

import re

from mesh_store.admin.manifest.faults import Path
from mesh_store.admin.manifest.litellm_config.notes import Notes
from mesh_store.model.ids import NAME
from mesh_store.model.patterns import is_pattern


class Names:
    """Gives every thing of one kind a name of its own."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._given: dict[str, str] = {}
        self._taken: set[str] = set()

    def give(self, original: str, notes: Notes, path: Path) -> str:
        """Return the name for what LiteLLM calls ``original``; notes it when it is another one."""
        if original not in self._given:
            name = self.take(original if is_pattern(original) else slug(original))
            self._given[original] = name
            if name != original:
                notes.add(path, f"the {self._kind} is called {name!r} here; callers use that name")
        return self._given[original]

    def take(self, wanted: str) -> str:
        """Return a name nobody has yet: the wanted one, or one with a number behind it."""
        name, number = wanted, 2
        while name in self._taken:
            name, number = f"{wanted[:120]}-{number}", number + 1
        self._taken.add(name)
        return name


def slug(text: str) -> str:
    """Return the nearest usable name."""
    lowered = re.sub(r"[^a-z0-9._/-]+", "-", text.lower()).strip("-._/")[:128]
    return lowered if NAME.fullmatch(lowered) else "unnamed"
