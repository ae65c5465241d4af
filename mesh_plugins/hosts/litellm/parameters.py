"""Sorting a caller's keywords: what is the request, what stays in this process, what is ours to decide.

The alias owns the URL: a call that gets a credential from us takes no address, header, client or key
from its caller. So parameters pass by an allow-list, and one that is on no list is refused by name.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import litellm
from litellm.types.utils import all_litellm_params

from mesh_plugins.hosts.litellm import callers
from mesh_plugins.hosts.litellm.doors import PROVIDER, Door, names
from mesh_store.model.errors import ConfigError

_log = logging.getLogger("mesh_plugins.litellm")

#: Read by litellm inside this process only: callbacks, caches, mocks, how to treat parameters.
LOCAL = names(
    """
    additional_drop_params allowed_openai_params assistant_continue_message cache caching caching_groups
    disable_add_transform_inline_image_block drop_params enable_json_schema_validation
    ensure_alternating_roles guardrails id litellm_call_id litellm_disabled_callbacks litellm_logging_obj
    litellm_metadata litellm_parent_otel_span litellm_session_id litellm_trace_id logger_fn
    merge_reasoning_content_in_choices metadata mock_delay mock_response mock_timeout mock_tool_calls
    model_info no-log proxy_server_request supports_system_message tags ttl turn_off_message_logging
    user_continue_message verbose
    """
)
#: The caller's, but never used: where, with what credential, by which client and how often are the alias's.
OURS = names(
    """
    api_base api_key api_type api_version azure azure_ad_token azure_ad_token_provider base_url client
    context_window_fallback_dict cooldown_time custom_llm_provider default_headers deployment_id extra_query
    fallbacks headers http_client max_retries model model_list num_retries organization retry_policy
    retry_strategy shared_session ssl_verify stream timeout request_timeout
    """
)
#: Ignoring these changes what the caller gets, so it is said.
_SAID = frozenset(
    {"api_base", "base_url", "client", "custom_llm_provider", "fallbacks", "headers", "model_list"}
    | {"context_window_fallback_dict", "extra_query"}
)
#: Headers that ask for a feature or carry a trace; none of them can authenticate or redirect.
_HEADERS = frozenset({"anthropic-beta", "openai-beta", "traceparent", "tracestate", "x-request-id"})
#: Words of a body that would undo what the alias decides.
_BODY_OURS = frozenset({"model", "models", "stream", "stream_options", "route", "provider", "fallbacks"})


@dataclass(slots=True)
class Asked:
    """A caller's keywords, sorted.

    Attributes:
        payload: the request in the operation's shape.
        local: what litellm is told besides.
        options: what `Runtime.request` is told: key, labels, timeout.
        stream: True when the caller wants chunks.
        wants_usage: True when the caller asked for a usage chunk.
    """

    payload: dict[str, Any] = field(default_factory=dict)
    local: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    stream: bool = False
    wants_usage: bool = False


def sort(door: Door, original: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Asked:
    """Sort the arguments of one call.

    Raises:
        ConfigError: a parameter is on no list; ``drop_params=True`` leaves such parameters out.
    """
    given = _named(door, original, args, kwargs) if args else dict(kwargs)
    asked = Asked(stream=given.get("stream") is True)
    unknown = []
    for name, value in given.items():
        if value is None:
            continue
        if name in door.parameters:
            asked.payload[name] = value
        elif name in LOCAL:
            asked.local[name] = value
        elif name == "extra_body":
            _spread(asked, door, value)
        elif name == "extra_headers":
            asked.local[name] = _harmless(value)
        elif name in OURS or name in all_litellm_params:
            _ignored(name, value)
        else:
            unknown.append(name)
    theirs = given.get("custom_llm_provider") == PROVIDER  # called by litellm itself
    if unknown and not (theirs or given.get("drop_params") or litellm.drop_params):
        raise _refused(door, unknown)
    _finish(asked, door, given)
    return asked


def _finish(asked: Asked, door: Door, given: Mapping[str, Any]) -> None:
    stream_options = asked.payload.pop("stream_options", None)
    asked.wants_usage = isinstance(stream_options, Mapping) and stream_options.get("include_usage") is True
    if isinstance(asked.payload.get("messages"), list):
        asked.payload["messages"] = [_plain(message) for message in asked.payload["messages"]]
    asked.options = _options(door, given, asked.local, asked.payload)


def _options(
    door: Door, given: Mapping[str, Any], local: dict[str, Any], payload: dict[str, Any]
) -> dict[str, Any]:
    """Say who calls and how the caller labels it. Identity comes from the key alone."""
    key = None
    for place, name in ((local, "metadata"), (local, "litellm_metadata"), (payload, "metadata")):
        if isinstance(place.get(name), Mapping) and "mesh_key" in place[name]:
            place[name] = dict(place[name])
            key = place[name].pop("mesh_key")
    labels = local.get(door.metadata)
    labels = labels if isinstance(labels, Mapping) else {}
    api_key = given.get("api_key")
    if isinstance(api_key, str) and api_key.startswith("mk_"):
        key = api_key
    return {
        "key": callers.served() or key,
        "tags": _tags(labels.get("tags") or local.get("tags")),
        "session": labels.get("session_id") or local.get("litellm_session_id"),
        "end_user": given.get("user"),
        "timeout_s": _seconds(given.get("timeout") or given.get("request_timeout")),
    }


def _named(
    door: Door, original: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Give positional arguments their names."""
    known = _positional(original) or door.positional  # litellm's own async functions take *args
    if len(args) > len(known):
        raise TypeError(f"{door.name}() takes at most {len(known)} positional arguments, not {len(args)}")
    given = dict(zip(known, args, strict=False))
    twice = given.keys() & kwargs.keys()
    if twice:
        raise TypeError(f"{door.name}() got multiple values for argument {min(twice)!r}")
    return given | dict(kwargs)


@cache
def _positional(function: Callable[..., Any]) -> tuple[str, ...]:
    parameters = inspect.signature(function).parameters.values()
    return tuple(p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _spread(asked: Asked, door: Door, body: Any) -> None:
    """Take an ``extra_body`` apart: known words count as parameters, so that no limit is written around."""
    if not isinstance(body, Mapping):
        raise ConfigError(f"extra_body must be a mapping, not {type(body).__name__}")
    extra = {}
    for name, value in body.items():
        if name in _BODY_OURS:
            _log.warning("extra_body[%r] is ignored: the alias decides it", name)
        elif name in door.parameters:
            asked.payload.setdefault(name, value)
        else:
            extra[name] = value
    if extra:
        asked.payload["extra_body"] = extra


def _harmless(headers: Any) -> dict[str, str]:
    given = dict(headers) if isinstance(headers, Mapping) else {}
    kept = {name: value for name, value in given.items() if str(name).lower() in _HEADERS}
    if len(kept) < len(given):
        _log.warning("extra_headers: %s ignored: the alias decides them", sorted(given.keys() - kept.keys()))
    return kept


def _ignored(name: str, value: Any) -> None:
    if name in _SAID and value and value != PROVIDER:
        _log.warning(
            "%s is ignored for mesh/ models: the alias decides where a call goes and what it falls back to",
            name,
        )


def _refused(door: Door, unknown: list[str]) -> ConfigError:
    return ConfigError(
        f"litellm.{door.name}: {', '.join(sorted(unknown))} cannot be passed to a mesh/ model. Put a "
        "vendor's own request parameters into extra_body, settings of the target into the alias, or drop "
        "them with drop_params=True"
    )


def _plain(message: Any) -> Any:
    """Make a message that litellm returned usable as one that is sent and measured."""
    return message.model_dump(exclude_none=True) if hasattr(message, "model_dump") else message


def _tags(tags: Any) -> Any:
    if isinstance(tags, str):
        return (tags,)
    return tags if isinstance(tags, Mapping | list | tuple | set) else None


def _seconds(timeout: Any) -> float | None:
    """Return a total deadline from litellm's timeout: a number, its text, or an ``httpx.Timeout``."""
    if hasattr(timeout, "read"):
        phases = (timeout.connect, timeout.read, timeout.write, timeout.pool)
        known = [phase for phase in phases if phase is not None]
        return max(known) if known else None
    try:
        seconds = float(timeout) if timeout is not None else None
    except (TypeError, ValueError):
        raise ConfigError(f"timeout must be a number of seconds, not {timeout!r}") from None
    return seconds
