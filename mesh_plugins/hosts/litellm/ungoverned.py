"""What litellm can do and Mesh does not govern, refused by name when it is asked of a ``mesh/`` model.

Images, audio, video, reranking, moderation, batches, files, fine-tuning and the like have no price or
usage that a limit could be held to. Left alone, some of them would send a ``mesh/`` name to whatever vendor
the environment names. So every such function of litellm refuses it before anything is sent; for all other
models it stays what it is. A name bound before `install` is litellm's own function, which no one can reach:
most of these do not know a provider ``mesh`` and refuse, too, but moderation, files, batches, fine-tuning and
assistants never look at the model's name and send it on under the caller's own key.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

import litellm

from mesh_plugins.hosts.litellm.doors import DOORS, PREFIX, names
from mesh_plugins.hosts.litellm.errors import hosted
from mesh_store.model.errors import ConfigError

#: litellm marks what reaches a vendor with one decorator; these lack it.
_UNMARKED = names(
    """
    acancel_batch agenerate_content agenerate_content_stream aocr arun_thread cancel_batch create_assistants
    file_content_streaming generate_content generate_content_stream moderation ocr realtime_health_check
    run_thread
    """
)
#: Marked, but what they ask for comes to a door of ours.
_GOVERNED = frozenset({door.name for door in DOORS} | {"anthropic_messages_handler"})


class Active(Protocol):
    """An installation, as far as a refusal needs it.

    Attributes:
        active: False lets every call through untouched.
    """

    @property
    def active(self) -> bool: ...


def functions() -> Iterator[tuple[ModuleType, str, Callable[..., Any]]]:
    """Yield litellm's functions that are none of our doors, at every place where they are looked up."""
    exporters: tuple[Any, ...] = (litellm, import_module("litellm.google_genai"))
    for exporting in exporters:
        for name, function in list(vars(exporting).items()):
            if not inspect.isfunction(function) or name.startswith("__") or name in _GOVERNED:
                continue
            if not function.__module__.startswith("litellm."):
                continue
            if name not in _UNMARKED and not hasattr(function, "__wrapped__"):
                continue
            known: Callable[..., Any] = function
            for module in {exporting, sys.modules[function.__module__]}:
                if vars(module).get(name) == known:
                    yield module, name, known


def refusing(host: Active, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``original`` so that it refuses models of ours.

    Raises:
        ConfigError: when called for a ``mesh/`` model; also litellm's ``BadRequestError``.
    """
    place = _place(name, original)

    def refuse(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        model = kwargs.get("model")
        if model is None and place is not None and len(args) > place:
            model = args[place]
        if host.active and isinstance(model, str) and model.startswith(PREFIX):
            doors = ", ".join(door.name for door in DOORS if not door.is_async)
            text = (
                f"litellm.{name} is not governed by Mesh, so it takes no mesh/ model: nothing was sent. Name "
                f"the vendor's model itself, or use {doors} or anthropic_messages"
            )
            raise hosted(ConfigError(text), model)

    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def awrapper(*args: Any, **kwargs: Any) -> Any:
            refuse(args, kwargs)
            return await original(*args, **kwargs)

        return awrapper

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        refuse(args, kwargs)
        return original(*args, **kwargs)

    return wrapper


def _place(name: str, function: Callable[..., Any]) -> int | None:
    """Return where a function takes its model by position; some async ones only their twin knows."""
    for known in (function, getattr(litellm, name.removeprefix("a"), None)):
        if callable(known):
            parameters = [*inspect.signature(known).parameters]
            if "model" in parameters:
                return parameters.index("model")
    return None
