"""The ``%mesh`` line magic and the ``%%mesh`` cell magic."""

from __future__ import annotations

import ast
import shlex
from typing import Any

from IPython.core.magic import Magics, line_cell_magic, magics_class
from IPython.display import display

from mesh_plugins.hosts.notebook.plots import Bars
from mesh_plugins.hosts.notebook.tables import Answer, QuotaTable, StatusTable
from mesh_plugins.mesh import Mesh
from mesh_plugins.shared import shared_mesh
from mesh_plugins.usage import Usage
from mesh_store.model.errors import ConfigError, MeshError

_HELP = (
    "say 'status', 'usage [dimension …]', 'plot <figure> [dimension …]', 'quota <alias>', "
    "or use %%mesh <alias> over a prompt"
)


@magics_class
class MeshMagics(Magics):  # type: ignore[misc]  # IPython is untyped
    """Looks at and talks through the process's own mesh, or the one called ``mesh`` in the notebook."""

    @line_cell_magic  # type: ignore[untyped-decorator]
    def mesh(self, line: str, cell: str | None = None) -> Any:
        """Answer a command, or a prompt when it stands over a cell; refusals are told in a line."""
        words = shlex.split(line)
        try:
            return self._ask(words, cell) if cell is not None else self._command(words)
        except MeshError as error:
            display(Answer.refused(error))
            return None

    def _command(self, words: list[str]) -> Any:
        match words:
            case ["status"] | []:
                return StatusTable.of(self._mesh)
            case ["usage", *dimensions]:
                return self._usage(dimensions)
            case ["plot", figure, *dimensions]:
                return Bars(self._usage(dimensions), figure)
            case ["quota", alias]:
                return QuotaTable.of(self._mesh, alias)
        raise ConfigError(f"%mesh {' '.join(words)}: {_HELP}")

    def _usage(self, dimensions: list[str]) -> Usage:
        self._mesh.flush(5.0, collected=True)
        return self._mesh.usage(dimensions or ("team", "alias"))

    def _ask(self, words: list[str], prompt: str) -> Answer:
        if not words:
            raise ConfigError("%%mesh needs the alias to ask: %%mesh fast")
        params = dict(_parameter(word) for word in words[1:])
        return Answer(self._mesh.chat(words[0], [{"role": "user", "content": prompt.strip()}], **params))

    @property
    def _mesh(self) -> Mesh:
        named = self.shell.user_ns.get("mesh") if self.shell is not None else None
        return named if isinstance(named, Mesh) else shared_mesh()


def _parameter(word: str) -> tuple[str, Any]:
    name, equals, text = word.partition("=")
    if not equals:
        raise ConfigError(f"{word!r} is not a parameter; write it like max_tokens=200")
    try:
        return name, ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return name, text
