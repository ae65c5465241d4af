"""Every promise has tests, they exist, and no test of a fault holds nothing."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.faults import promises

TESTS = Path(__file__).parents[1]


@cache
def names_in(file: str) -> frozenset[str]:
    """Return the names of the tests in a file, those of its classes too."""
    folder, _, stem = file.rpartition("/")
    tree = ast.parse((TESTS / folder / f"test_{stem}.py").read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


@pytest.mark.parametrize("promise", promises.PROMISES)
def test_a_promise_names_tests_that_exist(promise: str) -> None:
    held = promises.PROMISES[promise]
    assert held
    for named in held:
        file, _, test = named.partition("::")
        assert f"test_{test}" in names_in(file), named


def test_no_promise_is_written_twice() -> None:
    assert sum(map(len, promises.PARTS)) == len(promises.PROMISES)


def test_every_test_of_a_fault_holds_a_promise() -> None:
    held = {named for tests in promises.PROMISES.values() for named in tests}
    for path in Path(__file__).parent.glob("test_*.py"):
        if path == Path(__file__):
            continue
        file = f"faults/{path.stem.removeprefix('test_')}"
        assert {f"{file}::{test.removeprefix('test_')}" for test in names_in(file)} <= held
