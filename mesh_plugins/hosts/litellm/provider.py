"""The provider ``mesh`` in litellm: the net under names that were bound before `install`.

A function imported earlier (``from litellm import completion``) never reaches our wrapper. litellm then
looks for a provider called ``mesh``, finds this one, and the call is governed after all. It is a net,
not a way in, because litellm stands in between:

- ``user`` and parameters litellm holds unknown to the provider are dropped on the way;
- chunks are rebuilt, so a stream loses what litellm's generic chunk has no field for;
- ``responses`` and ``anthropic_messages`` become chat completions.

Limits, keys and facts are the same as ever. litellm's Router asks for a deployment's provider when it
is built, which is the other reason why it must be known.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import litellm
from litellm.llms.custom_llm import CustomLLM
from litellm.utils import custom_llm_setup

from mesh_plugins.hosts.litellm.doors import PREFIX

if TYPE_CHECKING:
    from mesh_plugins.hosts.litellm.installation import Installation

_NAME = PREFIX.rstrip("/")
#: What the handlers are told that a call of a public function would not be.
_METADATA = ("metadata", "litellm_metadata")


def register(installation: Installation) -> None:
    """Make ``mesh/…`` a model that litellm itself knows how to call."""
    others = [entry for entry in litellm.custom_provider_map or [] if entry["provider"] != _NAME]
    litellm.custom_provider_map = [*others, {"provider": _NAME, "custom_handler": MeshProvider(installation)}]
    custom_llm_setup()


def unregister(installation: Installation) -> None:
    """Take the provider out again."""
    litellm.custom_provider_map = [
        entry
        for entry in litellm.custom_provider_map or []
        if getattr(entry["custom_handler"], "installation", None) is not installation
    ]
    for known in (litellm.provider_list, litellm._custom_providers):  # what custom_llm_setup added
        if _NAME in known:
            known.remove(_NAME)


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

    async def acompletion(self, *args: Any, **call: Any) -> Any:
        """Answer a chat completion, on the caller's event loop."""
        return await self.installation.door("acompletion")(**_chat(call))

    def streaming(self, *args: Any, **call: Any) -> Iterator[Any]:
        """Answer with chunks; refused before an iterator is returned."""
        return _generic(self.installation.door("completion")(**_chat(call) | _STREAM))

    async def astreaming(self, *args: Any, **call: Any) -> AsyncIterator[Any]:
        """Answer with chunks, on the caller's event loop; litellm starts it with the first read."""
        async for chunk in await self.installation.door("acompletion")(**_chat(call) | _STREAM):
            yield _generic_chunk(chunk)

    def embedding(self, *args: Any, **call: Any) -> Any:
        """Answer embeddings."""
        return self.installation.door("embedding")(**_embedding(call))

    async def aembedding(self, *args: Any, **call: Any) -> Any:
        """Answer embeddings, on the caller's event loop."""
        return await self.installation.door("aembedding")(**_embedding(call))


_STREAM = {"stream": True, "stream_options": {"include_usage": True}}


def _chat(call: dict[str, Any]) -> dict[str, Any]:
    return {"messages": call["messages"], **_common(call)}


def _embedding(call: dict[str, Any]) -> dict[str, Any]:
    return {"input": call["input"], **_common(call)}


def _common(call: dict[str, Any]) -> dict[str, Any]:
    """Rebuild the keywords of the public function, and keep litellm from telling callbacks twice."""
    told = call.get("litellm_params") or {}
    logging = call.get("logging_obj")
    if logging is not None:
        # The inner call tells the caller's callbacks, with the true model, provider and usage.
        logging.model_call_details.setdefault("litellm_params", {})["no-log"] = True
        logging.litellm_params["no-log"] = True
    given = {name: value for name, value in (call.get("optional_params") or {}).items() if name != "stream"}
    return {
        **given,
        **{name: told[name] for name in _METADATA if told.get(name)},
        "model": PREFIX + call["model"],
        "api_key": call.get("api_key"),
        "timeout": call.get("timeout"),
        "drop_params": True,  # what litellm added for a provider it does not know
    }


def _generic(stream: Iterator[Any]) -> Iterator[Any]:
    return (_generic_chunk(chunk) for chunk in stream)


def _generic_chunk(chunk: Any) -> dict[str, Any]:
    """Rebuild a chunk as litellm's ``GenericStreamingChunk``."""
    choice = chunk.choices[0] if chunk.choices else None
    delta = choice.delta if choice else None
    usage = getattr(chunk, "usage", None)
    calls = getattr(delta, "tool_calls", None) or [None]
    return {
        "text": (delta.content or "") if delta else "",
        "is_finished": bool(choice and choice.finish_reason),
        "finish_reason": (choice.finish_reason or "") if choice else "",
        "index": choice.index if choice else 0,
        "tool_use": calls[0].model_dump() if calls[0] is not None else None,
        "usage": usage.model_dump() if usage is not None else None,
    }
