"""Where everything lies under one home, and the short directory for the sockets.

::

    home/
      postgres/     the cluster           valkey/    the append-only file
      logs/         of the engines        run/       the sockets, if the path is short enough
      engines/      lock  lease  watch  keep  stop  state.json  companions/
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mesh_store.embedded.failure import EngineFailed

# sun_path has 108 bytes on Linux and 104 on macOS, with the closing zero; the longest name below
# the runtime directory is "/pg/.s.PGSQL.5432.lock".
_LONGEST_RUNTIME_DIR = 103 - len("/pg/.s.PGSQL.5432.lock")
_PLAIN = re.compile(r"[A-Za-z0-9/._-]+")  # Postgres splits its list of socket directories at commas


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one home; makes nothing by itself.

    Attributes:
        home: absolute, symbolic links resolved, so that two spellings of one place are one home.
    """

    home: Path

    @classmethod
    def of(cls, home: Path | str | None) -> Layout:
        """The layout of `home`, or of ``$MESH_HOME``, or of the platform's data directory."""
        chosen = Path(home).expanduser() if home is not None else default_home()
        return cls(Path(os.path.realpath(chosen)))

    @property
    def postgres(self) -> Path:
        return self.home / "postgres"

    @property
    def valkey(self) -> Path:
        return self.home / "valkey"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def engines(self) -> Path:
        return self.home / "engines"

    @property
    def lock(self) -> Path:
        """Held while somebody starts the engines."""
        return self.engines / "lock"

    @property
    def lease(self) -> Path:
        """Held shared by every user."""
        return self.engines / "lease"

    @property
    def watch(self) -> Path:
        """Held by the supervisor as long as it lives."""
        return self.engines / "watch"

    @property
    def keep(self) -> Path:
        """Exists while the engines shall run without any user."""
        return self.engines / "keep"

    @property
    def stop(self) -> Path:
        """Appears when the supervisor shall stop at once."""
        return self.engines / "stop"

    @property
    def state(self) -> Path:
        """What the supervisor says about the running pair."""
        return self.engines / "state.json"

    @property
    def companions(self) -> Path:
        """One file for each companion somebody asked for."""
        return self.engines / "companions"

    def make(self) -> None:
        """Make the directories that are missing, private to this user.

        A home that exists keeps its mode: it is somebody's directory, and everything of value lies
        in directories of our own below it.
        """
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        for directory in (self.engines, self.companions, self.logs, self.valkey):
            make_private(directory)


def default_home() -> Path:
    """``$MESH_HOME``, else the platform's place for a user's data."""
    if configured := os.environ.get("MESH_HOME"):
        return Path(configured).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "mesh"
    base = os.environ.get("XDG_DATA_HOME") or ""
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "share") / "mesh"


def make_private(directory: Path) -> None:
    """Make `directory` with mode 0700, whatever the umask, and keep it so."""
    directory.mkdir(mode=0o700, exist_ok=True)
    directory.chmod(0o700)


def runtime_dir(layout: Layout) -> Path:
    """A private directory whose path is short and plain enough for sockets.

    Beside the data when possible, because processes that share a home need not share ``/tmp``;
    else under a fixed ``/tmp`` (``$TMPDIR`` differs between processes, and is long on macOS).

    Raises:
        EngineFailed: no candidate can be used.
    """
    reasons: list[str] = []
    for candidate in _candidates(layout):
        try:
            make_private(candidate)
            _check(candidate)
        except OSError as error:
            reasons.append(f"{candidate}: {error}")
        else:
            return candidate
    raise EngineFailed(
        "No directory for the engines' sockets: a short path that this user owns is needed. Tried "
        + "; ".join(reasons)
        + ". Choose a short MESH_HOME on a local file system."
    )


def _candidates(layout: Layout) -> Iterator[Path]:
    beside = layout.home / "run"
    if len(os.fsencode(beside)) <= _LONGEST_RUNTIME_DIR and _PLAIN.fullmatch(str(beside)):
        yield beside
    digest = hashlib.sha256(os.fsencode(layout.home)).hexdigest()[:12]
    name = f"mesh-{os.geteuid()}-{digest}"
    for base in ("/tmp", "/var/tmp"):  # noqa: S108 - the directory is checked to be ours alone
        yield Path(os.path.realpath(base)) / name


def _check(directory: Path) -> None:
    """Refuse a directory somebody else put there, and file systems without sockets."""
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError("exists, but is not a directory of this user")
    probe = directory / f"probe-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(str(probe))
        finally:
            probe.unlink(missing_ok=True)
