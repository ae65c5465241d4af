"""What SECURITY.md says is shown by tests is shown by tests that are there."""

from __future__ import annotations

import re

from tests.packaging.declared import ROOT

SAID = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def rows_of(heading: str) -> list[list[str]]:
    """Return the cells of every row of the table under a heading."""
    section = SAID.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows[1:]]


def test_every_threat_has_an_answer_and_tests_that_are_there() -> None:
    threats = rows_of("Threat model")
    assert len(threats) >= 20
    for threat, answer, shown in threats:
        assert threat
        assert answer
        named = re.findall(r"`([^`]+)`", shown)
        assert named, threat
        for each in named:
            assert (ROOT / "tests" / each).is_file(), each


def test_every_promise_names_folders_of_tests() -> None:
    for _, _, shown in rows_of("What holds"):
        for each in re.findall(r"`([^`]+)`", shown):
            assert list((ROOT / each).glob("test_*.py")), each


def test_what_cannot_be_prevented_is_said() -> None:
    unprevented = [threat for threat, answer, _ in rows_of("Threat model") if "**not prevented**" in answer]
    assert any("memory" in threat for threat in unprevented)
    assert any("goes around Mesh" in threat for threat in unprevented)
