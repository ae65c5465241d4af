"""How far a batch is, under the cell that asked for it."""

from __future__ import annotations

from typing import Any

from IPython.display import display


class Progress:
    """A bar that moves where it was shown first.

    ::

        mesh.map("fast", prompts, progress=Progress(len(prompts)))

    Args:
        total: how many prompts there are.
    """

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self._shown: Any = None

    def __call__(self, done: int) -> None:
        """Show that so many are done."""
        self.done = done
        if self._shown is None:
            self._shown = display(self, display_id=True)
        else:
            self._shown.update(self)

    def _repr_html_(self) -> str:
        return f'<progress value="{self.done}" max="{self.total}"></progress> {self}'

    def __repr__(self) -> str:
        return f"{self.done:,} of {self.total:,}"
