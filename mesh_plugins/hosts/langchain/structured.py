"""Structured output: by a call of a tool, or by the provider's JSON modes."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

if TYPE_CHECKING:
    from mesh_plugins.hosts.langchain.chat import ChatMesh


def structured_output(
    model: ChatMesh,
    schema: Any,
    *,
    method: Literal["function_calling", "json_schema", "json_mode"],
    include_raw: bool,
    strict: bool | None,
) -> Runnable[Any, Any]:
    """Return a runnable that answers as ``schema``."""
    asked = {"kwargs": {"method": method}, "schema": schema}
    parser: Any
    if method == "function_calling":
        answering = model.bind_tools(
            [schema], tool_choice="any", strict=strict, ls_structured_output_format=asked
        )
        parser = (
            PydanticToolsParser(tools=[schema], first_tool_only=True)
            if _is_model(schema)
            else JsonOutputKeyToolsParser(key_name=_tool_name(schema), first_tool_only=True)
        )
    else:
        format_ = {"type": "json_object"} if method == "json_mode" else _json_schema(schema, strict)
        answering = model.bind(response_format=format_, ls_structured_output_format=asked)
        parser = PydanticOutputParser(pydantic_object=schema) if _is_model(schema) else JsonOutputParser()
    if not include_raw:
        answered: Runnable[Any, Any] = answering | parser
        return answered
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=answering) | parsed.with_fallbacks([failed], exception_key="parsing_error")


def _json_schema(schema: dict[str, Any] | type, strict: bool | None) -> dict[str, Any]:
    json_schema = convert_to_json_schema(schema, strict=strict)
    name = json_schema.get("title") or json_schema.get("name") or "answer"
    asked = {"name": name, "schema": json_schema, **({} if strict is None else {"strict": strict})}
    return {"type": "json_schema", "json_schema": asked}


def _is_model(schema: Any) -> bool:
    return isinstance(schema, type) and is_basemodel_subclass(schema)


def _tool_name(schema: dict[str, Any] | type) -> str:
    name: str = convert_to_openai_tool(schema)["function"]["name"]
    return name
