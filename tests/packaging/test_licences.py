"""Whoever installs Mesh knows what comes along, and under which licence; nothing known to be bad does."""

from __future__ import annotations

import re
from importlib.metadata import metadata

import pytest

from tests.packaging.declared import ROOT, brought, pyproject, requirements

#: Permissive licences and the MPL, as packages name them: by expression, by classifier, or in words.
ALLOWED = {
    *("0BSD", "Apache 2.0", "Apache Software License", "Apache-2.0", "Apache License", "BSD License"),
    *("BSD-2-Clause", "BSD-3-Clause", "3-Clause BSD License", "CNRI-Python", "ISC", "ISC License (ISCL)"),
    *("MIT", "MIT License", "MIT-0", "MPL-2.0", "Mozilla Public License 2.0 (MPL 2.0)", "PSF-2.0"),
    *("Python Software Foundation License", "Unlicense", "Zlib"),
}

#: What is under another licence, or does not say which: how, and why that is no trouble.
EXPLAINED = {
    "pygal": "LGPL-3.0-or-later: an extra (report), used as it is published, its objects never linked",
    "pyreqwest": "Apache-2.0 by its LICENSE file; its metadata name none",
}

EXTRAS = [None, *(name for name in pyproject()["optional-dependencies"] if name != "all")]


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_licence_is_permissive_or_the_mpl_or_explained(extra):
    strange = {name: _licences(name) for name in brought(extra) if not _licences(name) <= ALLOWED}
    assert strange.keys() <= EXPLAINED.keys(), strange


def test_nothing_is_explained_that_needs_no_explanation():
    everything = brought("all")
    assert EXPLAINED.keys() <= everything
    assert not [name for name in EXPLAINED if _licences(name) and _licences(name) <= ALLOWED]


def test_the_core_brings_neither_a_toolkit_nor_a_database_driver():
    assert not brought() & {"litellm", "langchain-core", "asyncpg", "sqlalchemy", "fastapi", "pygal"}


def test_what_security_md_says_of_licences_is_so():
    said = (ROOT / "SECURITY.md").read_text()
    for extra in EXTRAS:
        row = re.search(
            rf"^\| {f'`{extra}`' if extra else 'none'} \| ([^|]+) \| ([^|]+) \|$", said, re.MULTILINE
        )
        assert row, extra
        named = set(re.findall(r"`([^`]+)`", row[1]))
        assert named == {each.name for each in requirements(*[extra] if extra else [])} - (
            {each.name for each in requirements()} if extra else set()
        ), extra


@pytest.mark.parametrize("version", ["1.82.7", "1.82.8"])
def test_uploads_known_to_be_malicious_are_refused_by_name_and_by_floor(version):
    [litellm] = [each for each in requirements("litellm") if each.name == "litellm"]
    assert not litellm.specifier.contains(version)
    assert f"!={version}" in str(litellm.specifier)  # also when somebody lowers the floor


def _licences(name: str) -> set[str]:
    """Return the licences a package may be had under; of a choice between several, those that are allowed."""
    said = metadata(name)
    if expression := said.get("License-Expression"):
        return _parsed(expression)
    classified = [each for each in said.get_all("Classifier", []) if each.startswith("License ::")]
    if classified:
        return {each.rpartition(" :: ")[2] for each in classified} - {"OSI Approved"}
    first = (said.get("License") or "").strip().partition("\n")[0].strip()
    return _parsed(first) if first else {"(none said)"}


def _parsed(expression: str) -> set[str]:
    return {part for all_of in expression.split(" AND ") for part in _chosen(all_of)}


def _chosen(choice: str) -> set[str]:
    parts = {part.strip("() ") for part in choice.split(" OR ")}
    return (parts & ALLOWED) or parts
