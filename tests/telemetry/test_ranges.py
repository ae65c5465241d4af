"""Ranges reported in any order add up."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh_store.telemetry.ranges import Ranges

pairs = st.tuples(st.integers(0, 60), st.integers(0, 60))


@given(st.lists(pairs, max_size=30), st.integers(0, 60))
@settings(deadline=None)
def test_one_gets_as_far_as_the_positions_are_without_a_gap(added: list[tuple[int, int]], start: int) -> None:
    ranges = Ranges()
    model: set[int] = set()
    for first, last in added:
        ranges.add(first, last)
        model |= set(range(first, last))
    end = start
    while end in model:
        end += 1
    assert ranges.reach(start) == end


@given(st.lists(pairs, max_size=30), st.integers(0, 60))
@settings(deadline=None)
def test_forgetting_what_lies_behind_changes_nothing_ahead(
    added: list[tuple[int, int]], position: int
) -> None:
    ranges, kept = Ranges(), Ranges()
    for first, last in added:
        ranges.add(first, last)
        kept.add(first, last)
    ranges.drop_before(position)
    assert all(ranges.reach(at) == kept.reach(at) for at in range(position, 61))


def test_touching_ranges_become_one_so_that_the_set_stays_small() -> None:
    ranges = Ranges()
    for start in range(0, 1000, 2):
        ranges.add(start, start + 1)
    for start in range(1, 1000, 2):
        ranges.add(start, start + 1)
    assert len(ranges) == 1
