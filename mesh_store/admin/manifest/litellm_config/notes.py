"""What did not translate: its place in the file, and why."""

from __future__ import annotations

from typing import NamedTuple

from mesh_store.admin.manifest.faults import Path
from mesh_store.admin.manifest.reading import Document


class Note(NamedTuple):
    """One thing that did not translate, or not exactly.

    Attributes:
        file, line: where it stands.
        field: ``"model_list.0.litellm_params.tags"``.
        why: what it means in a mesh, or what to do instead.
    """

    file: str
    line: int
    field: str
    why: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.field}: {self.why}"


class Notes:
    """Collects notes while a document is translated."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._notes: dict[tuple[Path, str], Note] = {}

    def add(self, path: Path, why: str) -> None:
        """Note something at a place; saying the same twice adds nothing."""
        field = ".".join(map(str, path))
        note = Note(self._document.file, self._document.line(path), field, why)
        self._notes.setdefault((path, why), note)

    @property
    def all(self) -> tuple[Note, ...]:
        """Return every note in the order of the file."""
        return tuple(sorted(self._notes.values(), key=lambda note: note.line))
