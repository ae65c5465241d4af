"""The notebooks run from top to bottom, leave nothing behind, and are committed with what they answered."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import nbformat
import pytest

from tests.notebooks.running import NOTEBOOKS, PATIENCE_S, run

#: What must not be in a committed notebook: this or any machine's paths, keys, terminal colours.
_PRIVATE = re.compile(r"/(home|root|tmp|Users|var/folders|private)/|mk_[0-9A-Za-z]{8}_|\\u001b\[")

named = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)


def outputs(content: nbformat.NotebookNode) -> list[tuple[int, nbformat.NotebookNode]]:
    """Every output with the number of its cell."""
    return [
        (number, output)
        for number, cell in enumerate(content.cells)
        if cell.cell_type == "code"
        for output in cell.outputs
    ]


@pytest.mark.timeout(2 * PATIENCE_S)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of nbclient's and jupyter_client's loops
@named
def test_it_runs_and_leaves_nothing_behind(notebook: Path, tmp_path: Path):
    content = run(notebook, tmp_path)
    assert [output.text for _, output in outputs(content) if output.get("name") == "stderr"] == []
    assert list(tmp_path.glob("mesh-playground-*")) == []
    assert gone(str(tmp_path)), "a process of the notebook is still running"


@named
def test_it_is_committed_with_what_it_answered(notebook: Path):
    content = nbformat.read(notebook, as_version=4)
    nbformat.validate(content)
    counts = [cell.execution_count for cell in content.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1)), "run tests/notebooks/running.py and commit the notebook"
    told = outputs(content)
    assert len(told) >= 4
    assert not [
        output for _, output in told if output.output_type == "error" or output.get("name") == "stderr"
    ]
    assert not _PRIVATE.search(notebook.read_text(encoding="utf-8"))


def test_there_are_five_and_a_first_call_takes_no_more_than_five_lines():
    assert [notebook.stem[0] for notebook in NOTEBOOKS] == list("12345")
    quickstart = nbformat.read(NOTEBOOKS[0], as_version=4)
    [cell] = [cell.source for cell in quickstart.cells if "Mesh.from_env()" in cell.source]
    assert len([line for line in cell.splitlines() if line.strip()]) <= 5


def gone(words: str, timeout_s: float = 60.0) -> bool:
    """Wait until no process has these words in its command line."""
    end = time.monotonic() + timeout_s
    while words in subprocess.run(["ps", "-Aww", "-o", "args"], capture_output=True, text=True).stdout:
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
