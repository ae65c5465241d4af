"""Whose a limit is: from the columns of its row to its subject, and to what it is called."""

from __future__ import annotations

from typing import Any

from mesh_store.model.snapshot import Subject
from mesh_store.postgres.repository.limit_values import label_of

_SAID = ("end_user", "tag")
_SUBJECTS = {name: name if name in _SAID else f"{name}_id" for name in Subject.__struct_fields__}
_LABELS = ("team", "user", "key", "alias", "provider", "target", *_SAID)


def subject_of(row: Any) -> Subject:
    """Return whose it is, by ids."""
    return Subject(**{name: row[column] for name, column in _SUBJECTS.items()})


def label_of_row(row: Any) -> str:
    """Return whose it is, in words."""
    return label_of({name: row[name] for name in _LABELS})
