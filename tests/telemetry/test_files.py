"""Ring files: private, preallocated, owned by one process, and replaced by memory where they cannot be."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from mesh_store.telemetry import files

SIZE = 256 * 1024


def test_a_ring_file_is_private_and_its_blocks_are_reserved(tmp_path: Path) -> None:
    made = files.create(tmp_path, SIZE)
    assert made.path is not None
    found = made.path.stat()
    assert found.st_mode & 0o777 == 0o600
    assert made.path.parent.stat().st_mode & 0o777 == 0o700
    assert found.st_blocks * 512 >= SIZE
    made.close(remove=True)


def test_a_ring_in_use_is_nobody_elses(tmp_path: Path) -> None:
    made = files.create(tmp_path, SIZE)
    assert list(files.orphans(tmp_path)) == []
    made.close()
    (found,) = files.orphans(tmp_path)
    assert found.ring.identity == made.ring.identity
    assert list(files.orphans(tmp_path)) == []
    found.close(remove=True)
    assert list(files.orphans(tmp_path)) == []


def test_a_ring_left_behind_shrinks_to_what_it_holds(tmp_path: Path) -> None:
    made = files.create(tmp_path, SIZE)
    made.ring.append(b"kept")
    made.close()
    assert made.path is not None
    assert made.path.stat().st_size < 8192
    (found,) = files.orphans(tmp_path)
    assert [frame.payload for frame in found.ring.frames(0, found.ring.head)] == [b"kept"]
    found.close()


def test_a_file_that_is_no_ring_is_put_aside_and_not_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "rings"
    folder.mkdir()
    (folder / "x.ring").write_bytes(b"something else entirely")
    assert list(files.orphans(tmp_path)) == []
    assert (folder / "x.damaged").exists()


def test_a_home_that_cannot_be_written_gives_a_ring_in_memory_and_says_why(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    made = files.create(blocked, SIZE)
    assert made.path is None
    assert str(blocked) in str(made.reason)
    assert made.ring.append(b"still works")
    made.close()


def test_a_read_only_file_system_gives_a_ring_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", read_only)
    made = files.create(tmp_path, SIZE)
    assert made.path is None
    assert os.strerror(errno.EROFS) in str(made.reason)
    made.close()


def test_a_full_disk_gives_a_ring_in_memory_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    made = files.create(tmp_path, SIZE)
    assert made.path is None
    assert os.strerror(errno.ENOSPC) in str(made.reason)
    assert list((tmp_path / "rings").iterdir()) == []
    made.close()


def test_a_file_system_that_cannot_preallocate_is_filled_with_zeros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    made = files.create(tmp_path, SIZE)
    assert made.path is not None
    assert made.path.stat().st_blocks * 512 >= SIZE
    made.close(remove=True)


def test_a_ring_whose_maker_died_is_removed_and_one_being_made_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "rings"
    folder.mkdir()
    old, young = folder / "old.new", folder / "young.new"
    for path in (old, young):
        path.write_bytes(b"")
    os.utime(old, (0, 0))
    assert list(files.orphans(tmp_path)) == []
    assert list(folder.iterdir()) == [young]
