"""Structured output by the provider's JSON modes, for those who prefer them to a tool call."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema
from langchain_core.utils.pydantic import is_basemodel_subclass

if TYPE_CHECKING:
    from mesh_plugins.hosts.langchain.chat import ChatMesh


def structured_output(
    model: ChatMesh,
    schema: dict[str, Any] | type,
    *,
    method: Literal["json_schema", "json_mode"],
    include_raw: bool,
    strict: bool | None,
) -> Runnable[Any, Any]:
    """Return a runnable that answers as ``schema``."""
    asked: dict[str, Any] = {"type": "json_object"}
    if method == "json_schema":
        json_schema = convert_to_json_schema(schema, strict=strict)
        name = json_schema.get("title") or json_schema.get("name") or "answer"
        asked = {
            "type": "json_schema",
            "json_schema": {
                "name": name,
                "schema": json_schema,
                **({} if strict is None else {"strict": strict}),
            },
        }
    answering = model.bind(
        response_format=asked,
        ls_structured_output_format={"kwargs": {"method": method}, "schema": schema},
    )
    parser: Any = (
        PydanticOutputParser(pydantic_object=schema)
        if isinstance(schema, type) and is_basemodel_subclass(schema)
        else JsonOutputParser()
    )
    if not include_raw:
        answered: Runnable[Any, Any] = answering | parser
        return answered
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=answering) | parsed.with_fallbacks([failed], exception_key="parsing_error")
