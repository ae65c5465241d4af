"""`MeshMiddleware`: sends an agent's model calls through an alias, whatever model it was built with.

It sees the agent's own calls only: a model called inside a tool, or by another middleware, is not
governed by it. Needs the ``langchain`` package, which brings agents.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse

from mesh_plugins.hosts.langchain.chat import ChatMesh
from mesh_plugins.mesh import Mesh


class MeshMiddleware(AgentMiddleware[Any, Any]):
    """Replaces the model of each call by `ChatMesh`.

    Args:
        alias: the alias to call.
        mesh: the mesh to call through; None uses the process's own, from the environment.
        options: further attributes of `ChatMesh`.
    """

    def __init__(self, alias: str, *, mesh: Mesh | None = None, **options: Any) -> None:
        super().__init__()
        self._model = ChatMesh(model=alias, mesh=mesh, **options)

    def wrap_model_call(
        self, request: ModelRequest, handler: Callable[[ModelRequest], ModelResponse]
    ) -> ModelResponse:
        """Call the alias instead of the request's model."""
        return handler(request.override(model=self._model))

    async def awrap_model_call(
        self, request: ModelRequest, handler: Callable[[ModelRequest], Awaitable[ModelResponse]]
    ) -> ModelResponse:
        """Like `wrap_model_call`, on the caller's event loop."""
        return await handler(request.override(model=self._model))
