"""A law fails because of what it found, never because of the clock or the seed of a run."""

from __future__ import annotations

import time

from hypothesis import given, settings, strategies

seen: list[list[int]] = [[], []]


def _ask(into: list[int]) -> None:
    @given(strategies.integers())
    @settings(max_examples=20)
    def law(number: int) -> None:
        into.append(number)

    law()


def test_two_runs_of_a_law_see_the_same(request) -> None:
    same = request.config.option.markexpr != "full"
    for each in seen:
        _ask(each)
    assert (seen[0] == seen[1]) == same


@given(strategies.booleans())
def test_an_example_may_take_its_time(either: bool) -> None:
    assert either in (True, False)
    time.sleep(0.25)  # longer than hypothesis' own deadline
