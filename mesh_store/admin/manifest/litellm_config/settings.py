"""What is left in a config once models, routing and people are taken: limits for everybody, and notes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mesh_store.admin.manifest.litellm_config import amounts
from mesh_store.admin.manifest.litellm_config.notes import Notes
from mesh_store.admin.manifest.litellm_config.providers import Providers

_ONE_RULE = "the caller retries, cools down and fails over by rules of its own, the same for all aliases"
_NO_PROXY = "there is no proxy to set up"
_OBSERVED = "facts are kept without it; a plugin may send them elsewhere (hook mesh_sinks)"
_PER_USER = "give each user a limit of its own: limits: [{user: …, limit: …}]"

#: Settings that another room takes, by section.
_TAKEN = {
    "router_settings": {
        "fallbacks", "default_fallbacks", "context_window_fallbacks", "content_policy_fallbacks",
        "model_group_alias", "timeout", "provider_budget_config",
    },
    "litellm_settings": {
        "fallbacks", "default_fallbacks", "context_window_fallbacks", "content_policy_fallbacks",
        "model_group_alias", "default_team_settings", "request_timeout", "max_budget", "budget_duration",
        "default_key_generate_params", "upperbound_key_generate_params", "max_end_user_budget",
        "tag_budget_config",
    },
    "general_settings": {"max_parallel_requests", "global_max_parallel_requests"},
}  # fmt: skip
_WHY = {
    "routing_strategy": "targets are taken by weight; another order is a plugin's (hook mesh_order_targets)",
    "num_retries": _ONE_RULE,
    "retry_after": _ONE_RULE,
    "retry_policy": _ONE_RULE,
    "model_group_retry_policy": _ONE_RULE,
    "allowed_fails": _ONE_RULE,
    "allowed_fails_policy": _ONE_RULE,
    "cooldown_time": _ONE_RULE,
    "max_fallbacks": _ONE_RULE,
    "enable_pre_call_checks": "limits of targets are always checked before a call",
    "enable_tag_filtering": "there is no routing by tags; give teams aliases of their own",
    "callbacks": _OBSERVED,
    "success_callback": _OBSERVED,
    "failure_callback": _OBSERVED,
    "cache": "there is no cache of replies",
    "cache_params": "there is no cache of replies",
    "drop_params": "write options: {drop_params: true} into providers whose kind takes that",
    "max_user_budget": _PER_USER,
    "max_internal_user_budget": _PER_USER,
    "default_internal_user_params": _PER_USER,
    "max_end_user_budget_id": "budgets in LiteLLM's database are not in the file: write the limit itself",
    "master_key": "keys are made with `mesh key create`; operators act on the database",
    "database_url": "set MESH_DATABASE_URL",
    "redis_host": "set MESH_REDIS_URL",
    "redis_url": "set MESH_REDIS_URL",
}
_SECTIONS = {
    "router_settings": "the router has no such setting here",
    "litellm_settings": "there is no such setting here",
    "general_settings": _NO_PROXY,
}
_WHOLE = {
    "environment_variables": "set them where callers run; values that hold secrets do not belong into a file",
    "guardrails": "there are no guardrails; a plugin may refuse a call (hook mesh_authorize)",
    "mcp_servers": "tools are the caller's own business",
    "include": "included files are not read; translate them one by one, or join them",
}
_READ = {"model_list", "teams", "users", "customers", "end_users", "keys", *_SECTIONS}


def limits_of_all(config: Mapping[str, Any], found: Providers, notes: Notes) -> Iterator[dict[str, Any]]:
    """Yield limits that bind every call, or every call to a vendor."""
    for section in ("litellm_settings", "general_settings"):
        for text in amounts.limits_of(section_of(config, section), (section,), notes):
            yield {"limit": text}
    yield from _limits_on_labels(section_of(config, "litellm_settings"), notes)
    budgets = section_of(config, "router_settings").get("provider_budget_config") or {}
    for vendor, budget in budgets.items() if isinstance(budgets, dict) else ():
        path = ("router_settings", "provider_budget_config", str(vendor))
        names = [name for name, each in found.vendors.items() if each == vendor]
        if not names:
            notes.add(path, "no deployment is of this vendor")
        if len(names) > 1:
            notes.add(
                path, f"the vendor has {len(names)} accounts here; each of them has this budget for itself"
            )
        for text in amounts.limits_of(budget, path, notes) if isinstance(budget, dict) else ():
            yield from ({"provider": name, "limit": text} for name in names)


def _limits_on_labels(settings: Mapping[str, Any], notes: Notes) -> Iterator[dict[str, Any]]:
    """Yield limits on each end user, and on tags; LiteLLM's tags are names without values."""
    if (budget := settings.get("max_end_user_budget")) is not None:
        path = ("litellm_settings", "max_end_user_budget")
        for text in amounts.limits_of({"max_budget": budget}, path, notes):
            yield {"end_user": "*", "limit": text}
    tags = settings.get("tag_budget_config") or {}
    for tag, budget in tags.items() if isinstance(tags, dict) else ():
        where = ("litellm_settings", "tag_budget_config", str(tag))
        if not isinstance(budget, dict) or "=" in str(tag) or "*" in str(tag):
            notes.add(where, "a tag's budget is a mapping, and its name has neither '=' nor '*'")
            continue
        for text in amounts.limits_of(budget, where, notes):
            yield {"tag": str(tag), "limit": text}


def note_the_rest(config: Mapping[str, Any], notes: Notes) -> None:
    """Note every setting that nothing was made of."""
    for section, usual in _SECTIONS.items():
        for name, value in section_of(config, section).items():
            if name not in _TAKEN[section] and value not in (None, [], {}):
                notes.add((section, name), _WHY.get(name, usual))
    for name, value in config.items():
        if name not in _READ and value not in (None, [], {}):
            notes.add((name,), _WHOLE.get(name, "nothing here corresponds to it"))


def section_of(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a section, empty when it is absent or no mapping."""
    found = config.get(name)
    return found if isinstance(found, dict) else {}
