"""A LiteLLM proxy's ``config.yaml`` as a manifest, with a note on everything that did not translate.

The names of fields are those of litellm 1.106 (``types/router.py``, ``router.py``, ``proxy/_types.py``).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mesh_store.admin.manifest.document import parse
from mesh_store.admin.manifest.faults import ManifestError
from mesh_store.admin.manifest.litellm_config.deployments import read_deployments
from mesh_store.admin.manifest.litellm_config.notes import Note, Notes
from mesh_store.admin.manifest.litellm_config.people import People
from mesh_store.admin.manifest.litellm_config.providers import Providers
from mesh_store.admin.manifest.litellm_config.routing import Routing
from mesh_store.admin.manifest.litellm_config.settings import limits_of_all, note_the_rest, section_of
from mesh_store.admin.manifest.reading import read
from mesh_store.admin.manifest.writing import write

__all__ = ["Note", "Translated", "translate"]


class Translated(NamedTuple):
    """A manifest and what is not in it."""

    text: str
    notes: tuple[Note, ...]


def translate(text: str, file: str) -> Translated:
    """Turn a LiteLLM proxy's config into a manifest.

    Args:
        text: YAML.
        file: what it is called in messages.

    Raises:
        ManifestError: it is not YAML, or no such config.
    """
    document = read(text, file)
    config = document.value
    if not isinstance(config, dict):
        raise ManifestError([document.fault((), "this is no LiteLLM config: it has no model_list")])
    notes = Notes(document)
    found = Providers(notes, section_of(config, "environment_variables"))
    groups, prices = read_deployments(config.get("model_list"), found, notes)
    settings, router = section_of(config, "litellm_settings"), section_of(config, "router_settings")
    routing, people = Routing(groups, notes), People(notes)
    routing.read(settings, "litellm_settings")
    routing.read(router, "router_settings")
    routing.finish(_seconds(router.get("timeout"), settings.get("request_timeout")))
    people.read(config, settings)
    everybody = list(limits_of_all(config, found, notes))
    note_the_rest(config, notes)
    sections: dict[str, list[Any]] = {
        "users": list(people.users.values()),
        "teams": people.teams,
        "providers": found.items,
        "prices": [{"provider": each[0], "model": each[1]} | price for each, price in prices.items()],
        "aliases": routing.aliases,
        "limits": everybody + people.limits + routing.limits,
    }
    parts = [write({name: items}) for name, items in sections.items() if items]
    made = "".join((f"# Made of {file}; read it before it is applied.\n", "version: 1\n", *parts))
    parse(made, f"the translation of {file}")
    return Translated(made, notes.all)


def _seconds(*said: Any) -> float | None:
    return next((float(each) for each in said if isinstance(each, int | float) and each > 0), None)
