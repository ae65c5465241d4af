"""LangChain's own standard suites, over both wire formats."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from mesh_plugins.hosts.langchain import ChatMesh, MeshEmbeddings


class TestChatMeshByItself(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatMesh

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "fast"}

    @property
    def model_override_value(self) -> str:
        return "slow"

    @pytest.mark.xfail(reason="LangChain loads only partners on its own list; see test_chat_mesh.py for ours")
    def test_serdes(self, model: BaseChatModel, snapshot: Any) -> None:
        super().test_serdes(model, snapshot)


class _OverHttp(ChatModelIntegrationTests):
    alias = "fast"

    @pytest.fixture(autouse=True)
    def _with_mesh(self, shared: Any) -> None:
        type(self)._shared = shared

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatMesh

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": self.alias, "mesh": getattr(type(self), "_shared", None)}

    @property
    def model_override_value(self) -> str:
        return "slow"


class TestChatMeshOverOpenAI(_OverHttp):
    pass


class TestChatMeshOverAnthropic(_OverHttp):
    alias = "claude"

    @property
    def model_override_value(self) -> str:
        return "fast"


class TestMeshEmbeddings(EmbeddingsIntegrationTests):
    @pytest.fixture(autouse=True)
    def _with_mesh(self, shared: Any) -> None:
        type(self)._shared = shared

    @property
    def embeddings_class(self) -> type[Embeddings]:
        return MeshEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "fast", "mesh": getattr(type(self), "_shared", None)}
