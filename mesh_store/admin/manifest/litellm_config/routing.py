"""From groups of deployments to aliases: weights, fallbacks as further tiers, other names for a group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mesh_store.admin.manifest.faults import Path
from mesh_store.admin.manifest.litellm_config.deployments import Group, Target, weights_of
from mesh_store.admin.manifest.litellm_config.naming import Names
from mesh_store.admin.manifest.litellm_config.notes import Notes

_TOO_LONG = "there is no fallback for inputs that are too long: name a target of a larger window in the alias"
_REFUSED = "there is no fallback for refused content: the provider's refusal reaches the caller"


class Routing:
    """What the router's settings say about groups.

    Attributes:
        aliases: as a manifest has them.
        limits: of their targets.
    """

    def __init__(self, groups: Mapping[str, Group], notes: Notes) -> None:
        self.aliases: list[dict[str, Any]] = []
        self.limits: list[dict[str, Any]] = []
        self._groups = dict(groups)
        self._notes = notes
        self._names = Names("alias")
        self._fallbacks: dict[str, list[tuple[str, Path]]] = {}
        self._limited: dict[Path, str] = {}

    def read(self, settings: Mapping[str, Any], section: str) -> None:
        """Take fallbacks and other names from a section, ``router_settings`` or ``litellm_settings``."""
        for index, item in enumerate(settings.get("fallbacks") or ()):
            path: Path = (section, "fallbacks", index)
            for name, models in item.items() if isinstance(item, dict) else ():
                self._fall_back(str(name), models, (*path, str(name)))
        for model in settings.get("default_fallbacks") or ():
            self._fall_back("*", [model], (section, "default_fallbacks"))
        for name, why in (("context_window_fallbacks", _TOO_LONG), ("content_policy_fallbacks", _REFUSED)):
            for index, item in enumerate(settings.get(name) or ()):
                for model in item if isinstance(item, dict) else ():
                    self._notes.add((section, name, index, str(model)), why)
        self._other_names(settings.get("model_group_alias") or {}, (section, "model_group_alias"))

    def _fall_back(self, name: str, models: Any, path: Path) -> None:
        for said in models if isinstance(models, list) else [models]:
            model = said.get("model") if isinstance(said, dict) else said
            if isinstance(said, dict):
                self._notes.add(path, "a fallback's own parameters go; its model is taken")
            if str(model) in self._groups:
                self._fallbacks.setdefault(name, []).append((str(model), path))
            else:
                self._notes.add(path, f"there is no model_name {model!r} to fall back to")
        if name != "*" and name not in self._groups:
            self._notes.add(path, f"there is no model_name {name!r}")

    def _other_names(self, said: Any, path: Path) -> None:
        for name, meant in said.items() if isinstance(said, dict) else ():
            model = str(meant.get("model") if isinstance(meant, dict) else meant)
            if name in self._groups:
                self._notes.add((*path, name), "it is a model_name, too; its own deployments are taken")
            elif model not in self._groups:
                self._notes.add((*path, name), f"there is no model_name {model!r}")
            else:
                group = self._groups[model]
                self._groups[name] = Group((*path, name), group.targets, group.operations, group.timeout)
                self._fallbacks.setdefault(name, []).extend(self._fallbacks.get(model, []))

    def finish(self, timeout: float | None) -> None:
        """Make the aliases; ``timeout`` is the router's, in seconds."""
        for name, group in self._groups.items():
            tiers = list(self._tiers(name, group))
            alias: dict[str, Any] = {"name": self._names.give(name, self._notes, group.path)}
            if group.operations:
                alias["operations"] = group.operations
            defaults = _shared([target for tier in tiers for target in tier])
            if defaults:
                alias["defaults"] = defaults
            if (seconds := group.timeout or timeout) is not None:
                alias["timeout"] = min(float(seconds), 86_400.0)
            alias["targets"] = list(self._targets(alias["name"], tiers, defaults))
            self.aliases.append(alias)

    def _tiers(self, name: str, group: Group) -> Iterator[list[Target]]:
        """Yield the targets of each tier: the group's own by their order, then those of each fallback."""
        seen: set[str] = set()
        fallbacks = self._fallbacks.get(name) or self._fallbacks.get("*", [])
        for other, path in [(name, group.path), *fallbacks]:
            targets = group.targets if other == name else self._groups[other].targets
            for order in sorted({target.said.get("tier", 1) for target in targets}):
                tier = [
                    each for each in targets if each.said.get("tier", 1) == order and each.place not in seen
                ]
                seen.update(target.place for target in tier)
                if tier:
                    yield tier
            if self._groups[other].operations != group.operations:
                self._notes.add(path, f"{other!r} answers other operations than {name!r}")

    def _targets(
        self, alias: str, tiers: list[list[Target]], defaults: dict[str, Any]
    ) -> Iterator[dict[str, Any]]:
        for number, tier in enumerate(tiers[:100], start=1):
            for target, weight in zip(tier, weights_of(tier), strict=True):
                said = {name: value for name, value in target.said.items() if name != "tier"}
                said |= {"tier": number} if number > 1 else {}
                said |= {"weight": weight} if weight != 1 else {}
                if not defaults and target.params:
                    said["params"] = target.params
                    self._notes.add(
                        target.path, "its parameters differ between targets, so callers cannot change them"
                    )
                if target.limits and self._limited.setdefault(target.path, alias) != alias:
                    self._notes.add(
                        target.path, "several aliases reach it, and each counts its limits for itself"
                    )
                for text in target.limits:
                    self.limits.append({"alias": alias, "target": target.place, "limit": text})
                yield said


def _shared(targets: list[Target]) -> dict[str, Any]:
    """Return parameters that all targets have alike: defaults of the alias, which callers may change."""
    first = targets[0].params if targets else {}
    return first if all(target.params == first for target in targets) else {}
