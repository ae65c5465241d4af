"""What every family of the suite is given."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from .environments import Environments
from .machine import Foreign

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Stage:
    """What every family of the suite is given.

    Attributes:
        environments: where contenders are installed.
        foreign: watches what others use of the machine.
        rounds: how often everything is measured.
        seconds: how long a slice takes.
        quick: whether a look is enough: fewer and smaller.
        full: whether there is time for the largest sizes.
        only: contenders whose name has this; the floor always takes part.
    """

    environments: Environments
    foreign: Foreign
    rounds: int
    seconds: float
    quick: bool
    full: bool
    only: str = ""

    def quiet(self, measure: Callable[[], _Result]) -> _Result:
        """Measure until others kept away; see `Foreign.quiet`."""
        return self.foreign.quiet(measure)[0]

    def say(self, text: str) -> None:
        """Tell whoever waits what is going on."""
        print(text, file=sys.stderr, flush=True)
