"""What a forked child does with the calls its parent had open: nothing. They are the parent's to end.

The child has a copy of each open stream, and collects, closes or reads it some day; written down there,
the same call would be billed twice.
"""

from __future__ import annotations

from mesh_store.model.facts import Asked, Cancel, Done, Intent, Settlement


class Unrecorded:
    """A `RecorderPort` that writes nothing down."""

    def asked(self, asked: Asked) -> None:
        """The parent asks."""

    def intent(self, intent: Intent) -> None:
        """The parent knows that it was sent."""

    def done(self, done: Done) -> None:
        """The parent settles it."""

    def cancel(self, cancel: Cancel) -> None:
        """The parent gives it back."""

    def settle(self, settlement: Settlement) -> None:
        """The parent settles it."""

    def flush_settlements(self, timeout_s: float) -> bool:
        """Nothing waits here."""
        return True
