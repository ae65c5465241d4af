"""The README's figures are those that were recorded, and can be made again from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.suite.about import OURS, about, ours
from tests.benchmarks.suite.book import Book, Page
from tests.benchmarks.suite.readme import RECORDED, joined, rewritten
from tests.benchmarks.suite.report import markdown
from tests.benchmarks.suite.scale_page import _plain, where_and_when

HERE = Path(__file__).parent
ANOTHER = ("Calls, one caller", "mesh.achat, 4 limits", "added")


@pytest.fixture
def recorded() -> Book:
    return Book.of_json(json.loads((HERE / RECORDED).read_text()))


def test_the_readme_says_what_was_measured(recorded: Book) -> None:
    text = (HERE.parents[1] / "README.md").read_text()
    assert text.count("<!-- measured: ") == 3
    assert rewritten(text, recorded) == text, "run `python tests/benchmarks/run.py --record`"


def test_a_section_says_what_its_family_found_and_others_stay(recorded: Book) -> None:
    both = [f"<!-- measured: {name} -->\nold\n<!-- end of measured -->" for name in ("inputs", "calls")]
    recorded.figures = [figure for figure in recorded.figures if figure.family == "cost"]
    told = rewritten("\n".join(both), recorded)
    collector = recorded.find("Cost of a call: facts", "collector", "CPU")
    assert f"| k | processor time of the collector | {_plain(collector)} us |" in told
    assert told.endswith(both[1])


def test_results_are_read_as_they_were_written(recorded: Book) -> None:
    assert Book.of_json(recorded.as_json()).as_json() == recorded.as_json()


def test_a_family_measured_again_replaces_itself_only(recorded: Book) -> None:
    Page(recorded, "calls").tell(*ANOTHER, "ms", [0.25])
    again = Book(about=recorded.about)
    Page(again, "cost").tell("Cost of a call: the caller", "leases off", "CPU", "us", [1.0, 3.0, 2.0])
    both = joined(recorded, again)
    assert both.find("Cost of a call: the caller", "leases off", "CPU") == 2.0
    assert [figure.family for figure in both.figures].count("cost") == 1
    assert both.find(*ANOTHER) == recorded.find(*ANOTHER)


def test_each_family_keeps_the_date_it_was_measured_on(recorded: Book) -> None:
    again = Book(about={**recorded.about, "at": "2030-01-01 00:00 UTC", "commit": "1234567"})
    Page(again, "calls").tell(*ANOTHER, "ms", [0.25])
    both = joined(recorded, again)
    assert where_and_when(both, "cost") == where_and_when(recorded, "cost")
    assert "2030-01-01" in where_and_when(both, "calls")


def test_whoever_was_left_out_is_named(recorded: Book) -> None:
    page = Page(Book(about=recorded.about), "limiter")
    page.tell("Limits, one task", "Mesh: four limits", "checks/s", "/s", [10.0])
    page.without("throttled-py limiter", "could not be installed: no such package")
    told = markdown(page.book, {})
    assert "throttled-py limiter: could not be installed" in told
    assert "| Mesh: four limits | 10 /s |" in told


@pytest.mark.parametrize("name", OURS)
def test_a_run_of_any_family_names_the_versions_it_measured(name: str) -> None:
    book = Book(about=about(HERE, 1, 1.0, quiet=True), versions=ours())
    told = markdown(book, {}).splitlines()[-1]
    assert told.startswith("Versions: ")
    assert f"{name} {ours()[name]}" in told
