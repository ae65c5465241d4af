"""The built-in plugins, one concern a file; registered first, asked last."""

from __future__ import annotations

from mesh_plugins.defaults.access import Access
from mesh_plugins.defaults.charging import Charging
from mesh_plugins.defaults.estimating import Estimating
from mesh_plugins.defaults.ordering import Ordering
from mesh_plugins.defaults.pricing import Pricing
from mesh_plugins.defaults.resolving import Resolving

__all__ = ["Access", "Charging", "Estimating", "Ordering", "Pricing", "Resolving", "builtin_plugins"]


def builtin_plugins() -> list[object]:
    """Return fresh built-in plugins; what they learn stays with the `Mesh` they are given to."""
    return [Resolving(), Access(), Ordering(), Estimating(), Charging(), Pricing()]
