"""The vendor account behind a deployment: equal accounts become one provider."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mesh_store.admin.manifest.faults import Path
from mesh_store.admin.manifest.litellm_config.naming import Names, slug
from mesh_store.admin.manifest.litellm_config.notes import Notes
from mesh_store.model.errors import Rejected
from mesh_store.model.specs import ProviderSpec, checked

#: LiteLLM's marker of a value that stands in the environment.
ENVIRON = "os.environ/"

#: Stands where an address is missing, so that no credential goes to the wrong one.
_UNKNOWN = "https://fill-in.invalid"

#: Vendors that speak OpenAI's format at an address of their own.
_COMPATIBLE = frozenset(
    {"openai", "custom_openai", "openai_like", "hosted_vllm", "lm_studio", "llamafile", "litellm_proxy"}
)
#: Where LiteLLM looks for a key when the file names none.
_USUAL_KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "azure": "AZURE_API_KEY"}

#: Parameters that are credentials; each may be a reference.
SECRETS = frozenset(
    {
        "api_key", "azure_ad_token", "tenant_id", "client_id", "client_secret", "azure_username",
        "azure_password", "aws_access_key_id", "aws_secret_access_key", "aws_session_token",
        "vertex_credentials",
    }
)  # fmt: skip
#: Parameters that say where a vendor is, which a provider of kind litellm takes as references, too.
PLACES = frozenset(
    {
        "aws_region_name", "aws_profile_name", "aws_role_name", "aws_session_name",
        "aws_web_identity_token", "aws_sts_endpoint", "aws_external_id", "aws_bedrock_runtime_endpoint",
        "region_name", "vertex_project", "vertex_location", "azure_scope", "watsonx_region_name",
    }
)  # fmt: skip
#: Everything `Providers.of` reads.
FIELDS = (
    SECRETS
    | PLACES
    | {"model", "api_base", "base_url", "api_version", "organization", "custom_llm_provider", "extra_headers"}
)


class Providers:
    """The providers found so far.

    Attributes:
        items: as a manifest has them, in the order they were found.
        vendors: LiteLLM's name of each one's vendor, by provider name.
    """

    def __init__(self, notes: Notes, environment: Mapping[str, Any]) -> None:
        self.items: list[dict[str, Any]] = []
        self.vendors: dict[str, str] = {}
        self._notes = notes
        self._environment = environment
        self._names = Names("provider")
        self._found: dict[str, str] = {}

    def of(self, params: Mapping[str, Any], path: Path) -> tuple[str, str]:
        """Return the provider's name and its name of the model, for a deployment's parameters."""
        vendor, model = _vendor(params)
        url = self._url(params, path)
        kind = _kind(vendor, url)
        fields: dict[str, Any] = {"kind": kind}
        if url is not None:
            fields["base_url"] = url
        if secret := self._secret(params, path, vendor, kind, url):
            fields["secret"] = secret
        if vendor == "azure" and kind == "openai":
            version = params.get("api_version")
            fields["options"] = {"azure": True} | ({"api_version": str(version)} if version else {})
            if url is None:
                self._notes.add(path, "Azure needs an api_base; write base_url into the provider")
        if headers := self._headers(params, path):
            fields["headers"] = headers
        name = self._name(vendor, self._usable(fields, path))
        return name, f"{vendor}/{model}" if kind == "litellm" else model

    def _usable(self, fields: dict[str, Any], path: Path) -> dict[str, Any]:
        """Return the fields without what a provider may not hold; never with another address."""
        for name in [name for name in fields if name != "kind"]:
            try:
                checked(ProviderSpec, "provider", {"name": "a", "kind": fields["kind"], name: fields[name]})
            except Rejected as error:
                self._notes.add(path, f"{name} of its {error}")
                fields = {each: value for each, value in fields.items() if each != name}
                fields |= {"base_url": _UNKNOWN} if name == "base_url" else {}
        return fields

    def _name(self, vendor: str, fields: dict[str, Any]) -> str:
        same = json.dumps(fields, sort_keys=True)
        if same not in self._found:
            name = self._names.take(self._wish(vendor, fields))
            self._found[same] = name
            self.vendors[name] = vendor
            self.items.append({"name": name} | fields)
        return self._found[same]

    def _wish(self, vendor: str, fields: dict[str, Any]) -> str:
        """Return the name to try: the vendor's, or for a further account the environment variable's."""
        plain, secret = slug(vendor), fields.get("secret")
        if plain in self._found.values() and isinstance(secret, str) and secret.startswith("env:"):
            return slug(secret.removeprefix("env:").removesuffix("_API_KEY").replace("_", "-"))
        return plain

    def _url(self, params: Mapping[str, Any], path: Path) -> str | None:
        name = "api_base" if params.get("api_base") else "base_url"
        said = params.get(name)
        if not isinstance(said, str) or not said:
            return None
        if not said.startswith(ENVIRON):
            return said
        variable = said.removeprefix(ENVIRON)
        known = self._environment.get(variable)
        if isinstance(known, str) and known.startswith("http"):
            return known
        place = f"https://{slug(variable).replace('_', '-')}.invalid"
        self._notes.add(
            (*path, name),
            f"an address is written out here: put the value of {variable} in the place of {place}",
        )
        return place

    def _secret(
        self, params: Mapping[str, Any], path: Path, vendor: str, kind: str, url: str | None
    ) -> str | dict[str, str] | None:
        found: dict[str, str] = {}
        for name in sorted(SECRETS | (PLACES if kind == "litellm" else frozenset())):
            value = params.get(name)
            if value is None:
                continue
            if isinstance(value, str) and value.startswith(ENVIRON):
                found[name] = "env:" + value.removeprefix(ENVIRON)
            elif name in SECRETS:
                variable = _USUAL_KEYS.get(
                    vendor, f"{slug(vendor)}_{name}".upper().replace("-", "_").replace("/", "_")
                )
                self._notes.add(
                    (*path, name),
                    f"a secret in a file: put it into an environment variable; env:{variable} stands for it",
                )
                found[name] = f"env:{variable}"
            else:
                self._notes.add(
                    (*path, name),
                    f"a provider of kind litellm takes it as a reference: add {name}: 'env:…' to its secret",
                )
        if not found and url is None and vendor in _USUAL_KEYS and kind != "litellm":
            return f"env:{_USUAL_KEYS[vendor]}"  # where LiteLLM would have looked
        return found["api_key"] if list(found) == ["api_key"] else found or None

    def _headers(self, params: Mapping[str, Any], path: Path) -> dict[str, str]:
        headers: dict[str, str] = {}
        for name, value in (params.get("extra_headers") or {}).items():
            if isinstance(value, str) and not value.startswith(ENVIRON):
                headers[name] = value
            else:
                self._notes.add((*path, "extra_headers", name), "a header is plain text here")
        organization = params.get("organization")
        if isinstance(organization, str) and not organization.startswith(ENVIRON):
            headers["OpenAI-Organization"] = organization
        elif organization is not None:
            self._notes.add(
                (*path, "organization"), "write it out, as the header OpenAI-Organization of the provider"
            )
        return headers


def _vendor(params: Mapping[str, Any]) -> tuple[str, str]:
    model = str(params["model"])
    said = params.get("custom_llm_provider")
    if isinstance(said, str) and said:
        return said, model.removeprefix(f"{said}/")
    vendor, slash, rest = model.partition("/")
    if slash:
        return vendor, rest
    return ("anthropic" if model.startswith("claude") else "openai"), model


def _kind(vendor: str, url: str | None) -> str:
    if vendor in ("anthropic", "azure"):
        return "anthropic" if vendor == "anthropic" else "openai"
    # Without an address of its own, a compatible vendor's address is something only LiteLLM knows.
    return "openai" if vendor == "openai" or (vendor in _COMPATIBLE and url is not None) else "litellm"
