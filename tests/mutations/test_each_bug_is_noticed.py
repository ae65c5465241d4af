"""Tests that notice nothing are worth nothing: each deliberate bug of the table turns at least one red."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutations.mutant import Copy
from tests.mutations.table import ROOT, mutations

MUTATIONS = mutations()
PARAMETERS = [pytest.param(each, id=f"{Path(each.file).stem}-{at}") for at, each in enumerate(MUTATIONS)]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return Copy(tmp_path_factory.mktemp("copy"))


def test_the_table_is_long_enough_and_tells_its_bugs_apart():
    assert len(MUTATIONS) >= 40
    assert len({each.bug for each in MUTATIONS}) == len(MUTATIONS)


@pytest.mark.parametrize("mutation", PARAMETERS)
def test_its_place_is_there_exactly_once_and_what_it_makes_can_be_read(mutation):
    made = mutation.applied((ROOT / mutation.file).read_text(encoding="utf-8"))
    if mutation.file.endswith(".py"):
        ast.parse(made)
    for each in mutation.tests:
        file, *names = each.split("::")
        text = (ROOT / "tests" / file).read_text(encoding="utf-8")
        for name in names:
            assert f"def {name}(" in text or f"class {name}" in text, each


@pytest.mark.full
@pytest.mark.timeout(900)
def test_without_a_bug_they_all_pass(copy):
    done = copy.run(sorted({test for each in MUTATIONS for test in each.tests}))
    assert done.code == 0, done.said


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mutation", PARAMETERS)
def test_it_is_noticed(copy, mutation):
    done = copy.with_bug(mutation)
    assert done.code == 1, f"{'survived' if done.code == 0 else 'broken'}: {mutation.bug}\n{done.said}"
