"""Run the notebooks, each in a kernel of its own; as a program, write their outputs down, too.

``python tests/notebooks/running.py [notebook …]`` refreshes what is committed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
#: Seconds a cell may take; some start engines, and the machine may have other things to do.
PATIENCE_S = 300
#: What a kernel needs of the environment; nothing of this machine's mesh, nor of anybody's accounts.
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV")
#: Nowhere: whoever calls the network anyway is refused at once.
_NOWHERE = "http://127.0.0.1:9"


def run(notebook: Path, scratch: Path) -> nbformat.NotebookNode:
    """Execute a notebook; raises when a cell does, or hangs.

    Args:
        notebook: the file; it is not changed.
        scratch: where everything it writes belongs.
    """
    content = nbformat.read(notebook, as_version=4)
    for cell in content.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(content, timeout=PATIENCE_S, kernel_name="python3", record_timing=False)
    client.execute(cwd=str(scratch), env=environ(os.environ, scratch))
    return content


def environ(outside: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """Return a kernel's environment."""
    return {
        **{name: outside[name] for name in _KEPT if name in outside},
        "MESH_HOME": str(scratch / "home"),
        "TMPDIR": str(scratch),
        "IPYTHONDIR": str(scratch / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(scratch / "jupyter"),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), _NOWHERE),
        "NO_PROXY": "127.0.0.1,localhost",
    }


def _write(notebook: Path) -> None:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="nb-") as scratch:
        content = run(notebook, Path(scratch))
    for cell in content.cells:
        cell.metadata.clear()
    content.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.write(content, notebook)
    print(notebook.name)


if __name__ == "__main__":
    for each in [Path(name) for name in sys.argv[1:]] or NOTEBOOKS:
        _write(each)
