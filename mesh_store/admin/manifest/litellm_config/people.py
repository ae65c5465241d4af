"""Budgets and rates of teams, users and keys, as far as a file holds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mesh_store.admin.manifest.faults import Path
from mesh_store.admin.manifest.litellm_config import amounts
from mesh_store.admin.manifest.litellm_config.naming import Names, slug
from mesh_store.admin.manifest.litellm_config.notes import Notes

_KEYS = "keys are not in a manifest: `mesh key create`, then `mesh limit create --key`"


class People:
    """Teams, users and limits found so far, as a manifest has them."""

    def __init__(self, notes: Notes) -> None:
        self.users: dict[str, dict[str, Any]] = {}
        self.teams: list[dict[str, Any]] = []
        self.limits: list[dict[str, Any]] = []
        self._notes = notes
        self._teams = Names("team")

    def read(self, config: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """Take ``default_team_settings``, and teams, users and keys as the proxy's routes list them."""
        for section, listed in (
            (("teams",), config.get("teams")),
            (("litellm_settings", "default_team_settings"), settings.get("default_team_settings")),
        ):
            for index, team in enumerate(listed if isinstance(listed, list) else ()):
                if isinstance(team, dict):
                    self._team(team, (*section, index))
        for index, user in enumerate(config.get("users") or ()):
            if isinstance(user, dict) and (name := self._user(user)):
                path: Path = ("users", index)
                self.limits.extend(
                    {"user": name, "limit": text} for text in amounts.limits_of(user, path, self._notes)
                )
        self._end_users(config)
        for index, key in enumerate(config.get("keys") or ()):
            if isinstance(key, dict):
                self._key(key, ("keys", index))
        for name in ("default_key_generate_params", "upperbound_key_generate_params"):
            if isinstance(settings.get(name), dict):
                self._key(settings[name], ("litellm_settings", name))

    def _team(self, said: Mapping[str, Any], path: Path) -> None:
        name = self._teams.give(str(said.get("team_alias") or said.get("team_id")), self._notes, path)
        team: dict[str, Any] = {"name": name}
        members = [
            self._user(member) for member in said.get("members_with_roles") or () if isinstance(member, dict)
        ]
        if named := [member for member in dict.fromkeys(members) if member]:
            team["members"] = named
        if limits := list(amounts.limits_of(said, path, self._notes)):
            team["limits"] = limits
        self.teams.append(team)
        known = amounts.FIELDS | {"team_id", "team_alias", "members_with_roles", "members", "admins", "spend"}
        for field, value in said.items():
            if field == "models" and value:
                self._notes.add((*path, field), "say in each alias's grants which teams may use it")
            elif field not in known and value:
                self._notes.add((*path, field), "a team has no such setting here")

    def _user(self, said: Mapping[str, Any]) -> str | None:
        original = said.get("user_email") or said.get("user_id")
        if not isinstance(original, str) or not original:
            return None
        name = original.lower() if "@" in original else slug(original)
        self.users.setdefault(name, {"name": name})
        return name

    def _end_users(self, config: Mapping[str, Any]) -> None:
        for section in ("customers", "end_users"):
            for index, said in enumerate(config.get(section) or ()):
                if isinstance(said, dict) and (end_user := said.get("user_id")):
                    budget = {**(said.get("litellm_budget_table") or {}), **said}
                    texts = amounts.limits_of(budget, (section, index), self._notes)
                    self.limits.extend({"end_user": str(end_user), "limit": text} for text in texts)

    def _key(self, said: Mapping[str, Any], path: Path) -> None:
        limits = list(amounts.limits_of(said, path, self._notes))
        self._notes.add(path, f"{_KEYS} ({', '.join(limits)})" if limits else _KEYS)
