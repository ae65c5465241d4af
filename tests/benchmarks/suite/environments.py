"""A virtual environment for each contender, made once and kept beside the results."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_PIP_S, _NPM_S = 900, 600


class Missing(Exception):
    """A contender cannot run here; the text says why."""


@dataclass
class Environments:
    """Makes environments under one folder.

    Attributes:
        folder: where they are kept; removing it makes them anew.
    """

    folder: Path

    def python(self, requirements: tuple[str, ...]) -> Path:
        """Return the interpreter of an environment with ``requirements``; none of them is this very one.

        Raises:
            Missing: they could not be installed.
        """
        if not requirements:
            return Path(sys.executable)
        home = self.folder / hashlib.sha256(repr(sorted(requirements)).encode()).hexdigest()[:12]
        python, done = home / "bin" / "python", home / "installed"
        if not done.exists():
            shutil.rmtree(home, ignore_errors=True)
            _run([sys.executable, "-m", "venv", str(home)], 120)
            _run([str(python), "-m", "pip", "install", "--quiet", *requirements], _PIP_S)
            done.touch()
        return python

    def node(self, package: str) -> Path:
        """Return the folder of an npm package.

        Raises:
            Missing: there is no npm, or it could not be installed.
        """
        if shutil.which("npm") is None:
            raise Missing("npm is not installed")
        home = self.folder / ("npm-" + package.replace("/", "-").replace("@", ""))
        if not (home / "installed").exists():
            home.mkdir(parents=True, exist_ok=True)
            _run(["npm", "install", "--silent", "--prefix", str(home), package], _NPM_S)
            (home / "installed").touch()
        return home / "node_modules" / package


def _run(command: list[str], timeout: float) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"could not be installed: {type(error).__name__}") from None
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).splitlines() if "error" in line.lower()]
        raise Missing(f"could not be installed: {(said or ['no reason given'])[-1][:160]}")


def versions(python: Path, packages: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of ``packages`` in an environment."""
    code = (
        "import importlib.metadata as m, sys\n"
        "for name in sys.argv[1:]:\n"
        "    try: print(name, m.version(name))\n"
        "    except m.PackageNotFoundError: pass"
    )
    done = subprocess.run([str(python), "-c", code, *packages], capture_output=True, text=True, check=True)
    return dict(line.split() for line in done.stdout.splitlines())
