"""LiteLLM's model_list: deployments of one model_name become the targets of one alias."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from math import lcm
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mesh_store.admin.manifest.faults import Path
from mesh_store.admin.manifest.litellm_config import amounts, providers
from mesh_store.admin.manifest.litellm_config.naming import slug
from mesh_store.admin.manifest.litellm_config.notes import Notes
from mesh_store.admin.manifest.litellm_config.providers import ENVIRON, Providers
from mesh_store.model import fields
from mesh_store.model.patterns import is_pattern

_PARAMETERS: TypeAdapter[dict[str, Any]] = TypeAdapter(fields.Parameters)

#: Prices per token in a deployment or its model_info, and what they are called here.
_PRICES = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_request": "request",
}
_MODES = {
    None: None,
    "chat": None,
    "completion": ["text_completion"],
    "embedding": ["embeddings"],
    "responses": ["responses"],
}
#: Parameters that are about LiteLLM's own ways, and what is instead of them.
_OTHERWISE = {
    "tags": "there is no routing by tags; give teams aliases of their own",
    "num_retries": "the caller retries by one rule for all aliases",
    "max_retries": "the caller retries by one rule for all aliases",
    "stream_timeout": "a stream ends when nothing comes for options.idle_timeout_s of its provider",
    "drop_params": "write options: {drop_params: true} into the provider, where its kind takes that",
    "litellm_credential_name": "write the credential's references into the provider's secret",
    "default_api_key_tpm_limit": "give each key a limit of its own: mesh limit create --key",
    "default_api_key_rpm_limit": "give each key a limit of its own: mesh limit create --key",
    "mock_response": "there are no mocked replies",
    "cache": "there is no cache of replies",
}
_SAME = "same model and account as a deployment above: one target with both shares and the first one's limits"
_SILENT = {"order", "weight", "timeout", "max_tokens", "max_completion_tokens", "tpm", "rpm", *_PRICES}


@dataclass(slots=True)
class Target:
    """A deployment: the target's fields, the limits on it, and where it stands."""

    said: dict[str, Any]
    path: Path
    share: Fraction
    params: dict[str, Any] = field(default_factory=dict)
    limits: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """What limits call it."""
        return f"{self.said['provider']}/{self.said['model']}"


@dataclass(slots=True)
class Group:
    """All deployments of one model_name."""

    path: Path
    targets: list[Target] = field(default_factory=list)
    operations: list[str] | None = None
    timeout: float | None = None


def read_deployments(
    listed: Any, found: Providers, notes: Notes
) -> tuple[dict[str, Group], dict[tuple[str, str], dict[str, Any]]]:
    """Return the groups by model_name, and prices by provider and model."""
    groups: dict[str, Group] = {}
    prices: dict[tuple[str, str], dict[str, Any]] = {}
    for index, item in enumerate(listed if isinstance(listed, list) else []):
        path: Path = ("model_list", index)
        params = item.get("litellm_params") if isinstance(item, dict) else None
        if (
            not isinstance(params, dict)
            or not item.get("model_name")
            or not isinstance(params.get("model"), str)
        ):
            notes.add(path, "a deployment has a model_name, and litellm_params with a model")
            continue
        info = item.get("model_info") if isinstance(item.get("model_info"), dict) else {}
        if (why := _ungoverned(str(item["model_name"]), params, info)) is not None:
            notes.add(path, why)
            continue
        _add(groups, prices, item, path, found, notes)
    return groups, prices


def _ungoverned(name: str, params: Mapping[str, Any], info: Mapping[str, Any]) -> str | None:
    model = params["model"]
    if "*" in name + model and not (is_pattern(name) and slug(name[:-2]) == name[:-2] and _passes(model)):
        return (
            "only 'prefix/*' is a pattern here, in lower case, and passes on what it caught: write one for "
            "each vendor, or one alias for each model that is used"
        )
    if info.get("mode") not in _MODES:
        return f"calls of mode {info['mode']!r} are not governed, so there is no alias for them"
    return None


def _passes(model: str) -> bool:
    return "*" not in model or (model.index("*") == len(model) - 1 and "/" in model)


def _add(
    groups: dict[str, Group], prices: dict[tuple[str, str], dict[str, Any]], item: dict[str, Any], path: Path,
    found: Providers, notes: Notes,
) -> None:  # fmt: skip
    params, info = item["litellm_params"], item.get("model_info") or {}
    inner = (*path, "litellm_params")
    provider, model = found.of(params, inner)
    rates = {name: item[name] for name in ("rpm", "tpm") if name in item} | params
    said: dict[str, Any] = {"provider": provider, "model": model}
    if isinstance(order := params.get("order"), int) and 1 <= order <= 100:
        said["tier"] = order
    if isinstance(most := params.get("max_tokens", params.get("max_completion_tokens")), int):
        said["max_output_tokens"] = most
    if isinstance(window := info.get("max_input_tokens"), int):
        said["context_window"] = window
    target = Target(said, inner, _share(rates))
    target.params = _call_parameters(params, inner, notes)
    target.limits = tuple(amounts.limits_of(rates, inner, notes))
    if price := _price(info | params, inner, notes):
        prices[provider, model] = price
    group = groups.setdefault(str(item["model_name"]), Group(path))
    _join(group, target, notes)
    group.operations = group.operations or _MODES.get(info.get("mode"))
    if isinstance(timeout := params.get("timeout"), int | float) and timeout > 0:
        group.timeout = max(group.timeout or 0.0, float(timeout))
    _leave_info(info, (*path, "model_info"), notes)


def _join(group: Group, target: Target, notes: Notes) -> None:
    for other in group.targets:
        if other.place == target.place and other.said.get("tier") == target.said.get("tier"):
            notes.add(target.path, _SAME)
            other.share += target.share
            return
    group.targets.append(target)


def _share(rates: Mapping[str, Any]) -> Fraction:
    """Return how much a deployment gets, by what simple-shuffle goes by; 1 where nothing is said."""
    for name in ("weight", "rpm", "tpm"):
        value = rates.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return Fraction(str(value))
    return Fraction(1)


def weights_of(targets: list[Target]) -> list[int]:
    """Return shares as the smallest whole numbers in the same proportion, at most a million."""
    shares = [target.share for target in targets]
    whole = [int(share * lcm(*(share.denominator for share in shares))) for share in shares]
    divisor = Fraction(1)
    if (most := max(whole)) > 1_000_000:
        divisor = Fraction(most, 1_000_000)
    common = 0
    scaled = [round(value / divisor) for value in whole]
    for value in scaled:
        common = _gcd(common, value)
    return [value // common for value in scaled] if common else [1 for _ in scaled]


def _gcd(left: int, right: int) -> int:
    while right:
        left, right = right, left % right
    return left


def _call_parameters(params: Mapping[str, Any], path: Path, notes: Notes) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in params.items():
        if name in providers.FIELDS or name in amounts.FIELDS or name in _SILENT or value is None:
            continue
        if name in _OTHERWISE:
            notes.add((*path, name), _OTHERWISE[name])
        elif isinstance(value, str) and value.startswith(ENVIRON):
            notes.add((*path, name), "a parameter is written out here")
        else:
            try:
                kept |= _PARAMETERS.validate_python({name: value})
            except ValidationError as error:
                notes.add((*path, name), error.errors()[0]["msg"].removeprefix("Value error, "))
    return kept


def _price(said: Mapping[str, Any], path: Path, notes: Notes) -> dict[str, Any] | None:
    price: dict[str, Any] = {}
    for name, ours in _PRICES.items():
        value = said.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            exact = Decimal(str(value)) * (1 if ours == "request" else 10**6)
            price[ours] = exact.quantize(Decimal("0.000001")).normalize()
            if price[ours] != exact:
                notes.add((*path, name), f"rounded to {price[ours]:f} USD per million")
    if not price:
        return None
    return {"input": Decimal(0), "output": Decimal(0)} | price


def _leave_info(info: Mapping[str, Any], path: Path, notes: Notes) -> None:
    for name in ("access_groups", "team_id", "team_public_model_name", "base_model", "tags"):
        if info.get(name) is not None:
            why = {
                "base_model": "give the model a price of its own if the list does not know it",
                "tags": _OTHERWISE["tags"],
            }.get(name, "say in the alias's grants which teams may use it")
            notes.add((*path, name), why)
