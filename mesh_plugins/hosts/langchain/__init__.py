"""LangChain: a chat model and embeddings of our own, and best-effort gates for models of others.

::

    from mesh_plugins.hosts.langchain import ChatMesh

    ChatMesh(model="fast").invoke("Hello").content

The names load on first use; nothing here is imported unless LangChain is wanted.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mesh_plugins.hosts.langchain.chat import ChatMesh
    from mesh_plugins.hosts.langchain.embeddings import MeshEmbeddings
    from mesh_plugins.hosts.langchain.handler import MeshCallbackHandler
    from mesh_plugins.hosts.langchain.middleware import MeshMiddleware
    from mesh_plugins.hosts.langchain.rate_limiter import MeshRateLimiter

__all__ = ["ChatMesh", "MeshCallbackHandler", "MeshEmbeddings", "MeshMiddleware", "MeshRateLimiter"]

_ROOMS = {
    "ChatMesh": "chat",
    "MeshEmbeddings": "embeddings",
    "MeshCallbackHandler": "handler",
    "MeshMiddleware": "middleware",
    "MeshRateLimiter": "rate_limiter",
}
#: What to do where a package is missing.
_BROUGHT_BY = {
    "langchain_core": "pip install 'mesh-plugins[langchain]'",
    "langchain": "pip install langchain",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        error.add_note(f"{name} needs {missing}: {_BROUGHT_BY.get(missing, 'install it')}")
        raise
    globals()[name] = value
    return value
