"""`MeshEmbeddings`: LangChain embeddings that name an alias."""

from __future__ import annotations

from typing import Any

from langchain_core.embeddings import Embeddings
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from mesh_plugins.mesh import Mesh
from mesh_plugins.shared import shared_mesh


class MeshEmbeddings(BaseModel, Embeddings):
    """Governed embeddings.

    Attributes:
        model: the alias to call.
        mesh: the mesh to call through; None uses the process's own, from the environment.
        key: the caller's key; None uses the mesh's (``MESH_KEY``).
        dimensions: length of the vectors, where the model lets one choose.
        batch_size: texts sent with one call.
        mesh_tags: labels for the facts of these calls.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    model: str
    mesh: Any = Field(default=None, exclude=True, repr=False)
    key: SecretStr | None = None
    dimensions: int | None = None
    batch_size: int = Field(default=512, ge=1, le=2_048)
    mesh_tags: dict[str, str] = Field(default_factory=dict)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector per text, in their order."""
        mesh, vectors = self._mesh(), list[list[float]]()
        for batch in self._batches(texts):
            governed = mesh.call(mesh.request(**self._asked(batch)), mesh.sender)
            vectors += _vectors(governed.body)
        return vectors

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Like `embed_documents`, on the caller's event loop."""
        mesh, vectors = self._mesh(), list[list[float]]()
        for batch in self._batches(texts):
            governed = await mesh.acall(await mesh.arequest(**self._asked(batch)), mesh.async_sender)
            vectors += _vectors(governed.body)
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of one text."""
        return self.embed_documents([text])[0]

    async def aembed_query(self, text: str) -> list[float]:
        """Like `embed_query`, on the caller's event loop."""
        return (await self.aembed_documents([text]))[0]

    def _mesh(self) -> Mesh:
        return self.mesh if self.mesh is not None else shared_mesh()

    def _batches(self, texts: list[str]) -> list[list[str]]:
        return [texts[start : start + self.batch_size] for start in range(0, len(texts), self.batch_size)]

    def _asked(self, texts: list[str]) -> dict[str, Any]:
        payload: dict[str, Any] = {"input": texts}
        if self.dimensions is not None:
            payload["dimensions"] = self.dimensions
        return {
            "operation": "embeddings",
            "alias": self.model,
            "payload": payload,
            "key": self.key.get_secret_value() if self.key else None,
            "host": "langchain",
            "tags": self.mesh_tags,
        }


def _vectors(body: Any) -> list[list[float]]:
    return [item["embedding"] for item in sorted(body.to_dict()["data"], key=lambda item: item["index"])]
