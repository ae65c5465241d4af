"""Fail when a test was skipped that the list does not name, or when no test ran at all.

Usage: check_skips.py ALLOWED REPORT...

Each line of the list is the name of a test, as ``package.module::name`` or with ``*`` for any
characters, followed by two spaces and the reason; ``#`` starts a comment.
"""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET


def main(allowed: str, *reports: str) -> int:
    """Print what was skipped; 1 when that is more than is allowed."""
    patterns = list(_patterns(Path(allowed)))
    ran = [case for report in reports for case in ET.parse(report).iter("testcase")]  # noqa: S314
    skipped = [(_name(case), mark.get("message", "")) for case in ran for mark in case.iter("skipped")]
    for name, reason in skipped:
        print(f"skipped: {name}  {reason}")
    foreign = [name for name, _ in skipped if not any(fnmatch.fnmatchcase(name, each) for each in patterns)]
    for name in foreign:
        print(f"not in {allowed}: {name}", file=sys.stderr)
    print(f"{len(ran)} tests, {len(skipped)} skipped, {len(foreign)} of them not allowed to be")
    return 1 if foreign or len(ran) == len(skipped) else 0


def _patterns(allowed: Path) -> Iterator[str]:
    for line in allowed.read_text(encoding="utf-8").splitlines():
        name = line.partition("#")[0].partition("  ")[0].strip()
        if name:
            yield name.replace("[", "[[]")  # a parametrised test's own brackets


def _name(case: ET.Element) -> str:
    return f"{case.get('classname', '')}::{case.get('name', '')}"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
