"""A shell for the README's blocks: bash itself, in which `mesh` is answered by this process.

Starting Python anew for each of thirty commands would take a minute; what they print is the same.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from mesh_plugins.cli.app import build

#: What `mesh` is in the shell: hands its words and its environment over, and answers as it was told.
_CLIENT = """
import json, os, socket, sys
asked = {"words": sys.argv[2:], "environ": {k: v for k, v in os.environ.items() if k.startswith("MESH_")}}
with socket.socket(socket.AF_UNIX) as wire:
    wire.connect(sys.argv[1])
    wire.sendall(json.dumps(asked).encode())
    wire.shutdown(socket.SHUT_WR)
    told = json.loads(b"".join(iter(lambda: wire.recv(65536), b"")))
sys.stdout.write(told["out"]); sys.stderr.write(told["err"]); sys.exit(told["code"])
"""
#: Where the README has a vendor's own address, the stand-in answers; what never ends is looked at once.
_PREAMBLE = """
ask() { "$PYTHON" -ISc "$CLIENT" ./ask "$@"; }
mesh() {
  if [ "$1" = watch ]; then
    "$PYTHON" -m mesh_plugins.cli watch > watched & until [ -s watched ]; do sleep 0.05; done
    kill $!; cat watched; return
  fi
  ask "$@"
  case "$*" in
    "provider create openai "*) ask provider set openai --base-url "$STAND_IN_OPENAI" ;;
    "provider create anthropic "*) ask provider set anthropic --base-url "$STAND_IN_ANTHROPIC" ;;
  esac
}
"""


class Shell:
    """Runs blocks one after another; what they export of Mesh's stays.

    Args:
        here: the directory they are run in, which must be this process's own, too.
        environ: variables they have besides this process's.
    """

    def __init__(self, here: Path, environ: dict[str, str]) -> None:
        self._here = here
        self.environ = environ

    def run(self, block: str) -> str:
        """Run a block that must succeed; returns what it wrote to both outputs."""
        kept = self._here / "kept"
        script = f"{_PREAMBLE}\n{block}\nenv -0 > {kept}"
        with socket.socket(socket.AF_UNIX) as listener, (self._here / "transcript").open("w+") as written:
            (self._here / "ask").unlink(missing_ok=True)
            listener.bind("ask")  # relative: a socket's path is short
            listener.listen()
            listener.settimeout(0.05)
            bash = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", script],
                env=os.environ | self.environ | {"PYTHON": sys.executable, "CLIENT": _CLIENT},
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.STDOUT,
            )
            while bash.poll() is None:
                self._serve(listener)
            written.seek(0)
            told = written.read()
        assert bash.returncode == 0, f"the block ended with {bash.returncode}:\n{block}\n{told}"
        pairs = (pair.partition("=") for pair in kept.read_text().split("\0") if pair)
        self.environ |= {name: value for name, _, value in pairs if name.startswith("MESH_")}
        return told

    def _serve(self, listener: socket.socket) -> None:
        try:
            wire, _ = listener.accept()
        except TimeoutError:
            return
        with wire:
            asked = json.loads(b"".join(iter(lambda: wire.recv(65_536), b"")))
            done = CliRunner().invoke(build(), asked["words"], env=asked["environ"])
            if done.exception is not None and not isinstance(done.exception, SystemExit):
                raise done.exception
            told = {"out": done.stdout, "err": done.stderr, "code": done.exit_code}
            wire.sendall(json.dumps(told).encode())
