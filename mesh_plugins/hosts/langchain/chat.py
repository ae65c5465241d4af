"""`ChatMesh`: a LangChain chat model that names an alias instead of a vendor's model.

The alias is resolved per call, so an operator's change reaches a model that was built, bound and put
into an agent long ago. Denials are the classes of `mesh_plugins`; ``with_retry`` and
``with_fallbacks`` leave them out with ``retry_if_exception_type=(ProviderError,)`` and
``exceptions_to_handle=(ProviderError,)``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, Field, SecretStr

from mesh_plugins.core.info import call_info
from mesh_plugins.hosts.langchain.messages import last_chunk, summed, to_chunk, to_openai, to_result
from mesh_plugins.mesh import Mesh
from mesh_plugins.shared import shared_mesh

#: Keyword arguments of a call that are Mesh's and not the model's.
_OPTIONS = ("timeout_s", "max_wait_s", "session", "end_user")


class ChatMesh(BaseChatModel):
    """A governed chat model.

    Attributes:
        model: the alias to call.
        mesh: the mesh to call through; None uses the process's own, from the environment.
        key: the caller's key; None uses the mesh's (``MESH_KEY``).
        temperature, max_tokens, stop, seed: the model's parameters, as everywhere in LangChain.
        timeout: total deadline of a call in seconds.
        mesh_tags: labels for the facts of these calls.
        model_kwargs: further parameters, sent as they are.
    """

    model_config = ConfigDict(populate_by_name=True, arbitrary_types_allowed=True)

    model: str
    mesh: Any = Field(default=None, exclude=True, repr=False)
    key: SecretStr | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    stop: list[str] | None = Field(default=None, alias="stop_sequences")
    seed: int | None = None
    timeout: float | None = None
    max_retries: int | None = Field(default=None, description="accepted and unused: Mesh retries by itself")
    mesh_tags: dict[str, str] = Field(default_factory=dict)
    model_kwargs: dict[str, Any] = Field(default_factory=dict)

    @property
    def _llm_type(self) -> str:
        return "mesh-chat"

    @property
    def lc_secrets(self) -> dict[str, str]:
        """Which attribute is a secret, and the variable it comes from."""
        return {"key": "MESH_KEY"}

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.model, **self._parameters(None, {})}

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Tell LangChain that this model can be written down; the mesh itself is left out."""
        return True

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = LangSmithParams(
            ls_provider="mesh", ls_model_name=kwargs.get("model") or self.model, ls_model_type="chat"
        )
        given = self._parameters(stop, kwargs)
        if given.get("temperature") is not None:
            params["ls_temperature"] = given["temperature"]
        if given.get("max_tokens") is not None:
            params["ls_max_tokens"] = given["max_tokens"]
        if given.get("stop"):
            params["ls_stop"] = given["stop"]
        return params

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        mesh, asked = self._mesh(), self._asked(messages, stop, kwargs, stream=False)
        governed = mesh.call(mesh.request(**asked), mesh.sender)
        return to_result(governed.body, call_info(governed.receipt))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        mesh, asked = self._mesh(), self._asked(messages, stop, kwargs, stream=False)
        governed = await mesh.acall(await mesh.arequest(**asked), mesh.async_sender)
        return to_result(governed.body, call_info(governed.receipt))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        mesh, asked = self._mesh(), self._asked(messages, stop, kwargs, stream=True)
        with mesh.stream_call(mesh.request(**asked), mesh.sender) as stream:
            for body in stream:
                chunk = to_chunk(body)
                if chunk is not None:
                    if run_manager:
                        run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk
            if stream.receipt is not None:
                yield last_chunk(call_info(stream.receipt))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        mesh, asked = self._mesh(), self._asked(messages, stop, kwargs, stream=True)
        async with await mesh.astream_call(await mesh.arequest(**asked), mesh.async_sender) as stream:
            async for body in stream:
                chunk = to_chunk(body)
                if chunk is not None:
                    if run_manager:
                        await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk
            if stream.receipt is not None:
                yield last_chunk(call_info(stream.receipt))

    def _combine_llm_outputs(self, llm_outputs: list[dict[str, Any] | None]) -> dict[str, Any]:
        return summed(llm_outputs)

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Let the model call these tools.

        Args:
            tools: functions, pydantic models, LangChain tools or OpenAI schemas.
            tool_choice: a tool's name, ``"auto"``, ``"none"``, ``"any"`` (or True: it must call one).
            strict: ask the provider to keep to the schemas exactly.
            kwargs: bound as they are.
        """
        formatted = [convert_to_openai_tool(tool, strict=strict) for tool in tools]
        choice = _tool_choice(tool_choice, formatted)
        if choice is not None:
            kwargs["tool_choice"] = choice
        return self.bind(tools=formatted, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        method: Literal["function_calling", "json_schema", "json_mode"] = "function_calling",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return answers as ``schema``; by a tool call, or by the provider's JSON modes.

        Args:
            schema: a pydantic model, a typed dictionary, or a JSON schema with a title.
            method: how the provider is asked.
            include_raw: return the message, too, and what was wrong with it instead of raising.
            strict: ask the provider to keep to the schema exactly.
            kwargs: none; unknown ones are refused by name.
        """
        from mesh_plugins.hosts.langchain.structured import structured_output

        if kwargs:
            raise ValueError(f"with_structured_output takes no {', '.join(sorted(kwargs))}")
        return structured_output(self, schema, method=method, include_raw=include_raw, strict=strict)

    def _mesh(self) -> Mesh:
        return self.mesh if self.mesh is not None else shared_mesh()

    def _parameters(self, stop: list[str] | None, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        own = {
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "stop": stop if stop is not None else self.stop,
        }
        own = {name: value for name, value in own.items() if value is not None}
        return {**own, **self.model_kwargs, **kwargs}

    def _asked(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any], *, stream: bool
    ) -> dict[str, Any]:
        given = self._parameters(stop, kwargs)
        given.pop("stream", None)
        options: dict[str, Any] = {name: given.pop(name) for name in _OPTIONS if name in given}
        if self.timeout is not None:
            options.setdefault("timeout_s", self.timeout)
        return {
            "operation": "chat",
            "alias": given.pop("model", None) or self.model,
            "payload": {"messages": to_openai(messages), **given},
            "key": self.key.get_secret_value() if self.key else None,
            "host": "langchain",
            "stream": stream,
            "tags": self.mesh_tags,
            **options,
        }


def _tool_choice(choice: str | dict[str, Any] | bool | None, tools: list[dict[str, Any]]) -> Any:
    if choice is None or choice is False:
        return None
    if choice is True or choice == "any":
        return "required"
    names = [tool.get("function", {}).get("name") for tool in tools]
    if isinstance(choice, str) and choice in names:
        return {"type": "function", "function": {"name": choice}}
    return choice
