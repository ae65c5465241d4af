"""What `mesh_plugins.testing` names can be had from there, and costs nothing until then."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from mesh_plugins import testing


@pytest.mark.parametrize("name", testing.__all__)
def test_each_name_is_its_class_and_told_of(name: str) -> None:
    assert getattr(testing, name).__name__ == name
    assert re.search(rf"^\* `{name}` ", str(testing.__doc__), re.MULTILINE)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Memory"):
        testing.Memory  # type: ignore[attr-defined]  # noqa: B018


def test_nothing_is_loaded_before_it_is_asked_for() -> None:
    code = "import mesh_plugins.testing, sys; print('mesh_plugins.testing.provider' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
