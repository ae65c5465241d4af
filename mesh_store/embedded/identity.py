"""As whom Postgres runs when we are root, which it refuses to be.

No user is created and no directory above ours is touched. In order of preference:

1. *Namespace*: a user namespace in which our own uid has another number. Postgres sees an ordinary
   user, the file system sees the owner of the files; everything stays ours, in a private tree too.
2. *Nobody*: an account without rights, plus the one capability to walk through directories, where
   containers forbid namespaces. The cluster belongs to it, inside directories that belong to us.

Postgres looks with access() whether its programs are there, which ignores the capabilities of anybody
but root unless a bit of the process says otherwise. Where a container forbids that bit, too, programs
in a private tree (a virtual environment under /root, say) are out of reach, and the error names the
directory. They are not copied elsewhere.
"""

from __future__ import annotations

import ctypes
import errno
import os
import pwd
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from mesh_store.embedded.failure import EngineFailed

_CLONE_NEWUSER = 0x10000000
_PR_SET_KEEPCAPS, _PR_SET_SECUREBITS = 8, 28
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2  # Docker grants root the first, not the second


class Identity(Protocol):
    """Who a program is; `uid` owns its files as the file system sees it."""

    uid: int
    gid: int

    def enter(self) -> None:
        """Become it, between fork and exec."""


class Itself:
    """The ordinary case: the user who asked."""

    def __init__(self) -> None:
        self.uid, self.gid = os.geteuid(), os.getegid()

    def enter(self) -> None:
        """Nothing to become."""


class Namespace:
    """Our own uid under another number."""

    def __init__(self) -> None:
        self.uid, self.gid = os.geteuid(), os.getegid()
        self._inside = _account()
        self._libc = ctypes.CDLL(None, use_errno=True)

    def enter(self) -> None:
        if self._libc.unshare(_CLONE_NEWUSER) != 0:
            raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWUSER)")
        # Without denying setgroups the kernel refuses a group map written without privileges.
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{self._inside.pw_uid} {self.uid} 1")
        _write("/proc/self/gid_map", f"{self._inside.pw_gid} {self.gid} 1")


class Nobody:
    """An account without rights that can still walk to its files and programs."""

    def __init__(self) -> None:
        account = _account()
        self.uid, self.gid = account.pw_uid, account.pw_gid
        linux = sys.platform.startswith("linux")
        self._libc = ctypes.CDLL(None, use_errno=True) if linux else None

    def enter(self) -> None:
        if self._libc is not None:
            self._check(self._libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0))
            # For access(); needs CAP_SETPCAP. Whether it works without is tried before use.
            self._libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
        os.setgroups([])
        os.setgid(self.gid)
        os.setuid(self.uid)
        if self._libc is not None:
            self._keep_one_capability(self._libc)

    def _keep_one_capability(self, libc: ctypes.CDLL) -> None:
        header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
        for capability in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):
            mask = 1 << capability  # effective, permitted, inheritable; then the upper 32 of each
            if libc.capset(header, struct.pack("=6I", mask, mask, mask, 0, 0, 0)) == 0:
                raised = libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)
                return self._check(raised)
        return None  # we have neither to give; whether it works without is tried before use

    @staticmethod
    def _check(result: int) -> None:
        if result != 0:
            raise OSError(ctypes.get_errno(), "prctl")


def find_identity(postgres: Path, home: Path) -> Identity:
    """Who shall run `postgres` with its files under `home`; every candidate but ourselves is tried.

    Raises:
        EngineFailed: we are root, and nothing less than root can do it.
    """
    if os.geteuid() != 0:
        return Itself()
    reasons: list[str] = []
    for candidate in _candidates():
        try:
            _try_out(candidate, postgres, home)
        except (OSError, subprocess.SubprocessError) as error:
            reasons.append(f"{type(candidate).__name__.lower()}: {error}")
        else:
            return candidate
    raise EngineFailed(
        "Postgres refuses to run as root, and no lesser identity works here ("
        + "; ".join(reasons)
        + "). Run as an ordinary user, install mesh-plugins where others may enter, or use a server of your "
        "own with MESH_DATABASE_URL."
    )


def own(identity: Identity, tree: Path) -> None:
    """Give `tree` to `identity` where another one had it (an image moved to another kind of host)."""
    if tree.lstat().st_uid == identity.uid:
        return
    for directory, names, files in os.walk(tree):
        for name in (*names, *files):
            os.lchown(os.path.join(directory, name), identity.uid, identity.gid)
    os.lchown(tree, identity.uid, identity.gid)  # last: its owner says that the rest is done


def _candidates() -> Iterator[Identity]:
    if sys.platform.startswith("linux"):
        yield Namespace()
    yield Nobody()


def _try_out(identity: Identity, postgres: Path, home: Path) -> None:
    # Shows what it would do and ends; unlike --version, it fails where access() does not see `postgres`.
    show = 'cd "$1" && exec "$2" --show --pgdata "$1"'
    tried = subprocess.run(  # noqa: S603 - the program we were given to run
        ["/bin/sh", "-c", show, "sh", str(home), str(postgres.with_name("initdb"))],
        preexec_fn=identity.enter,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode != 0:
        closed = [each for path in (postgres.parent, home) if (each := _closed(path, identity)) is not None]
        if closed:
            raise OSError(errno.EACCES, f"uid {identity.uid} cannot enter", str(closed[0]))
        raise OSError(errno.EACCES, tried.stderr.strip()[-300:] or f"exit code {tried.returncode}")


def _closed(directory: Path, identity: Identity) -> Path | None:
    """The first directory on the way to ``directory`` that others may not enter, if there is one."""
    for each in (*reversed(directory.parents), directory):
        about = each.stat()
        if about.st_uid != identity.uid and not about.st_mode & stat.S_IXOTH:
            return each
    return None


def _account() -> pwd.struct_passwd:
    """An account that exists (initdb asks for its name) and is not root."""
    others = [entry for entry in pwd.getpwall() if entry.pw_uid != 0]
    if not others:
        raise EngineFailed("Postgres refuses to run as root, and /etc/passwd names nobody else.")
    return next((entry for entry in others if entry.pw_name == "nobody"), others[0])


def _write(path: str, text: str) -> None:
    with open(path, "w") as handle:
        handle.write(text)
