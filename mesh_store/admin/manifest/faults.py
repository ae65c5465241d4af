"""What is wrong with a file: every fault with its file, line, column and field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mesh_store.model.errors import Rejected

#: Faults that are told; a file with a wrong indentation has thousands.
MAX_TOLD = 20

#: Where in a document: keys and positions from the outermost in.
Path = tuple[str | int, ...]


class Fault(NamedTuple):
    """One fault.

    Attributes:
        file: as it was given, or ``<stdin>``.
        line, column: counted from 1.
        field: ``"teams.0.limits.1"``, or "" where no field is at fault.
        message: what is wrong, and what to do about it.
    """

    file: str
    line: int
    column: int
    field: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: "
        return f"{place}{self.field}: {self.message}" if self.field else place + self.message


class ManifestError(Rejected):
    """A file cannot be used; nothing was changed.

    Attributes:
        faults: everything that is wrong, in the order of the file.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: (fault.line, fault.column)))
        super().__init__("; ".join(self.lines), field=self.faults[0].field or None)

    @property
    def lines(self) -> list[str]:
        """One line for each fault, as many as anybody reads at once."""
        told = [str(fault) for fault in self.faults[:MAX_TOLD]]
        if more := len(self.faults) - len(told):
            told.append(f"{self.faults[0].file}: and {more} more")
        return told
