"""Values and rules, without I/O: what a limit, a call, a price and a snapshot *are*."""

from mesh_store.model.errors import (
    AccessDenied,
    BudgetExceeded,
    ConfigError,
    ConfigUnavailable,
    Denied,
    InvalidKey,
    MeshError,
    PluginError,
    ProviderError,
    QuotaExceeded,
    QuotaUnavailable,
    Unavailable,
    UnknownAlias,
)
from mesh_store.model.limits import Charge, Decision, Limit, Reservation

__all__ = [
    "AccessDenied",
    "BudgetExceeded",
    "Charge",
    "ConfigError",
    "ConfigUnavailable",
    "Decision",
    "Denied",
    "InvalidKey",
    "Limit",
    "MeshError",
    "PluginError",
    "ProviderError",
    "QuotaExceeded",
    "QuotaUnavailable",
    "Reservation",
    "Unavailable",
    "UnknownAlias",
]
