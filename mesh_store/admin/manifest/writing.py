"""Values as YAML that reads back as the same values, here and in tools that still speak YAML 1.1."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import yaml

from mesh_store.admin.manifest.reading import BOOL, FLOAT, INT, MERGE, NULL

#: As long as a line of our own code.
_WIDTH = 110

_BASE: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_BASE):  # type: ignore[misc]
    """Quotes whatever either version of YAML would take for something else than text."""

    def ignore_aliases(self, _data: Any) -> bool:
        """Write everything out; people edit one place without changing another."""
        return True


def _decimal(dumper: Any, value: Decimal) -> Any:
    whole = value == value.to_integral_value()
    return dumper.represent_scalar(
        "tag:yaml.org,2002:int" if whole else "tag:yaml.org,2002:float",
        f"{value:f}" if not whole else f"{value:.0f}",
    )


for _pattern in (NULL, BOOL, INT, FLOAT, MERGE):
    # A tag of no type: text that matches must be quoted, and nothing is ever written with it.
    _Dumper.add_implicit_resolver("tag:mesh,2026:ambiguous", _pattern, None)
_Dumper.add_representer(Decimal, _decimal)


def write(value: Any, *, flow: bool | None = None) -> str:
    """Write plain values.

    Args:
        value: dicts, lists, text, numbers, `Decimal`, booleans and None.
        flow: None puts innermost lists and mappings on one line, False nothing.
    """
    options = {"sort_keys": False, "default_flow_style": flow, "width": _WIDTH, "allow_unicode": True}
    return str(yaml.dump(value, Dumper=_Dumper, **options))
