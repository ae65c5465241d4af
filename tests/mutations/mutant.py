"""A copy of the project in which a bug is made, the tests run, and the bug undone; never the tree itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutations.table import ROOT, Mutation

#: What is compiled beforehand: most of the time a bug takes would go there.
PACKAGES = ("mesh_plugins", "mesh_store", "tests")
#: Seconds one bug's tests may take; each test has a timeout of its own besides.
PATIENCE_S = 600
#: Seconds one test may take: a bug may make it wait for what never comes.
TEST_S = 60


@dataclass(frozen=True)
class Verdict:
    """How pytest ended.

    Attributes:
        code: pytest's exit code: 0 all passed, 1 some failed; anything else is a fault of the table.
        said: the end of its output.
    """

    code: int
    said: str


class Copy:
    """The project's files as they lie in the work tree, somewhere else."""

    def __init__(self, home: Path) -> None:
        self.home = home
        listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        done = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        for name in filter(None, done.stdout.decode().split("\0")):
            if (ROOT / name).is_file():
                (home / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, home / name)
        # Checked by hash, not by time and size: else a stale .pyc would hide a bug made within a second.
        compiling = ["-m", "compileall", "-q", "--invalidation-mode", "checked-hash"]
        subprocess.run(
            [sys.executable, *compiling, *PACKAGES], cwd=home, check=True, stdin=subprocess.DEVNULL
        )

    def with_bug(self, mutation: Mutation) -> Verdict:
        """Run a bug's tests with the bug."""
        path = self.home / mutation.file
        sound = path.read_text(encoding="utf-8")
        path.write_text(mutation.applied(sound), encoding="utf-8")
        try:
            return self.run(mutation.tests, "--exitfirst")
        finally:
            path.write_text(sound, encoding="utf-8")

    def run(self, tests: Sequence[str], *options: str) -> Verdict:
        """Run tests in the copy; every process they start finds the copy's packages first."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        environ |= {"PYTHONPATH": str(self.home), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
        command += ["--timeout", str(TEST_S), "--tb", "line", *options, *(f"tests/{each}" for each in tests)]
        done = subprocess.run(
            command,
            cwd=self.home,
            env=environ,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE_S,
        )
        return Verdict(done.returncode, (done.stdout + done.stderr)[-2_000:])
