"""The net under names that were bound before `install`.

A function imported earlier (``from litellm import completion``) never reaches our wrapper. An async one
calls its sync twin inside litellm, which is ours: the call starts over there as if it had come to the
right door. A sync one goes on until litellm looks for a provider called ``mesh``, and finds this one. The
call is governed, but litellm stands in between:

- ``user`` and parameters litellm holds unknown to the provider are dropped on the way;
- chunks are rebuilt, so a stream loses what litellm's generic chunk has no field for;
- ``responses`` becomes a chat completion.

litellm's Router asks for a deployment's provider when it is built, which is the other reason why it must
be known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import litellm
from litellm.llms.custom_llm import CustomLLM
from litellm.utils import custom_llm_setup

from mesh_plugins.hosts.litellm.doors import PREFIX, PROVIDER

if TYPE_CHECKING:
    from mesh_plugins.hosts.litellm.installation import Installation

#: What the handlers are told that a call of a public function would not be.
_METADATA = ("metadata", "litellm_metadata")


def register(installation: Installation) -> None:
    """Make ``mesh/…`` a model that litellm itself knows how to call."""
    others = [entry for entry in litellm.custom_provider_map or [] if entry["provider"] != PROVIDER]
    litellm.custom_provider_map = [
        *others,
        {"provider": PROVIDER, "custom_handler": MeshProvider(installation)},
    ]
    custom_llm_setup()


def unregister(installation: Installation) -> None:
    """Take the provider out again."""
    litellm.custom_provider_map = [
        entry
        for entry in litellm.custom_provider_map or []
        if getattr(entry["custom_handler"], "installation", None) is not installation
    ]
    for known in (litellm.provider_list, litellm._custom_providers):  # what custom_llm_setup added
        if PROVIDER in known:
            known.remove(PROVIDER)


def restarted(kwargs: Mapping[str, Any], called_by: tuple[str, str] | None) -> dict[str, Any]:
    """Return the keywords of an async function's inner call as its own caller gave them."""
    _silence(kwargs.get("litellm_logging_obj"))
    inner = {"litellm_logging_obj", "litellm_call_id", *(called_by or ())}
    return {name: value for name, value in kwargs.items() if name not in inner}


class MeshProvider(CustomLLM):  # type: ignore[misc]
    """Hands litellm's call of the provider ``mesh`` to our wrapper of the public function.

    Attributes:
        installation: whose wrappers; its mesh governs.
    """

    def __init__(self, installation: Installation) -> None:
        super().__init__()
        self.installation = installation

    def completion(self, *args: Any, **call: Any) -> Any:
        """Answer a chat completion."""
        return self.installation.door("completion")(**_chat(call))

    def streaming(self, *args: Any, **call: Any) -> Iterator[Any]:
        """Answer with chunks; refused before an iterator is returned."""
        return _generic(self.installation.door("completion")(**_chat(call) | _STREAM))

    def embedding(self, *args: Any, **call: Any) -> Any:
        """Answer embeddings."""
        return self.installation.door("embedding")(**_embedding(call))


_STREAM = {"stream": True, "stream_options": {"include_usage": True}}


def _chat(call: dict[str, Any]) -> dict[str, Any]:
    return {"messages": call["messages"], **_common(call)}


def _embedding(call: dict[str, Any]) -> dict[str, Any]:
    return {"input": call["input"], **_common(call)}


def _common(call: dict[str, Any]) -> dict[str, Any]:
    """Rebuild the keywords of the public function."""
    told = call.get("litellm_params") or {}
    _silence(call.get("logging_obj"))
    given = {name: value for name, value in (call.get("optional_params") or {}).items() if name != "stream"}
    return {
        **given,
        **{name: told[name] for name in _METADATA if told.get(name)},
        "model": PREFIX + call["model"],
        "api_key": call.get("api_key"),
        "timeout": call.get("timeout"),
        "drop_params": True,  # what litellm added for a provider it does not know
    }


def _silence(logging: Any) -> None:
    """Let the inner call alone tell the caller's callbacks: it knows model, provider and usage."""
    if logging is not None:
        for told in (logging.model_call_details.setdefault("litellm_params", {}), logging.litellm_params):
            told["no-log"] = True


def _generic(stream: Iterator[Any]) -> Iterator[Any]:
    return (_generic_chunk(chunk, stream) for chunk in stream)


def _generic_chunk(chunk: Any, rest: Iterator[Any]) -> dict[str, Any]:
    """Rebuild a chunk as litellm's ``GenericStreamingChunk``; it reads none after a finished one."""
    choice = chunk.choices[0] if chunk.choices else None
    delta = choice.delta if choice else None
    finish = choice.finish_reason if choice else None
    usage = getattr(chunk, "usage", None)
    for last in rest if finish else ():
        usage = getattr(last, "usage", None) or usage
    calls = getattr(delta, "tool_calls", None) or [None]
    return {
        "text": (delta.content or "") if delta else "",
        "is_finished": bool(finish),
        "finish_reason": finish or "",
        "index": choice.index if choice else 0,
        "tool_use": calls[0].model_dump() if calls[0] is not None else None,
        "usage": usage.model_dump() if usage is not None else None,
    }
