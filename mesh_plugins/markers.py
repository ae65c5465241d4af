"""The marker plugins put on their hook implementations."""

from __future__ import annotations

import pluggy

#: Marks a function or method as the implementation of the hook it is named after.
hookimpl = pluggy.HookimplMarker("mesh")
