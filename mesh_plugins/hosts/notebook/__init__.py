"""Jupyter: ``%load_ext mesh_plugins.hosts.notebook`` gives ``%mesh`` and ``%%mesh``.

::

    %mesh status            what this process sees: revision, state, telemetry
    %mesh usage team alias  a table by those dimensions
    %mesh plot cost_usd team  one of its figures as bars
    %mesh quota fast        what is left of every limit that binds a call of this alias

    %%mesh fast max_tokens=200
    The cell's text is the prompt; the answer is shown as Markdown.

``mesh.map(alias, prompts, progress=Progress(len(prompts)))`` shows how far it is, with `progress.Progress`.
"""

from __future__ import annotations

from typing import Any


def load_ipython_extension(shell: Any) -> None:
    """Register the magics; IPython calls this for ``%load_ext``."""
    from mesh_plugins.hosts.notebook.magics import MeshMagics

    shell.register_magics(MeshMagics)
