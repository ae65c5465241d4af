"""A promise, and the tests that hold it."""

from __future__ import annotations

#: Promise, then its tests as ``folder/file::test``, without ``test_`` and ``.py``.
Promises = dict[str, tuple[str, ...]]
