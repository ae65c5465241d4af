"""litellm's public entry points that we govern, as data: one line a door.

`litellm` and `litellm.main` export them; older and newer releases define them in different modules,
so they are found by name where they are wrapped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mesh_store.model.snapshot import Operation

#: What makes a model name ours.
PREFIX = "mesh/"
#: What litellm makes of that: a provider's name.
PROVIDER = PREFIX.rstrip("/")

_CHAT = """
    audio cache_control_injection_points context_management frequency_penalty function_call functions
    logit_bias logprobs max_completion_tokens max_tokens messages modalities n parallel_tool_calls prediction
    presence_penalty prompt_cache_key prompt_cache_retention reasoning_effort response_format
    safety_identifier seed service_tier stop store stream_options temperature thinking tool_choice tools
    top_logprobs top_p user verbosity web_search_options
"""
#: What vendors add to OpenAI's parameters; all of it ends up in the body and none of it names a place.
_VENDORS = """
    add_generation_prompt allowed_token_ids bad_words chat_template_kwargs enable_thinking guided_choice
    guided_grammar guided_json guided_regex ignore_eos include_stop_str_in_output length_penalty min_p
    min_tokens reasoning reasoning_format repetition_penalty safety_settings skip_special_tokens
    stop_token_ids thinking_budget top_a top_k typical_p use_beam_search
"""


@dataclass(frozen=True, slots=True)
class Door:
    """One public function of litellm.

    Attributes:
        name: its name in litellm.
        operation: what it asks for.
        positional: names of its leading positional parameters.
        parameters: caller's parameters that are part of the request.
        is_async: True when it is a coroutine function.
        metadata: the keyword that holds the caller's own labels and never leaves this process.
        called_by: the flag by which litellm's async function calls this one from inside, and that
            function's name.
    """

    name: str
    operation: Operation
    positional: tuple[str, ...]
    parameters: frozenset[str]
    is_async: bool = False
    metadata: str = "metadata"
    called_by: tuple[str, str] | None = None

    def alias(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        """Return the alias a call names, or None when the call is none of ours."""
        model = kwargs.get("model")
        if model is None:
            at = self.positional.index("model")
            model = args[at] if len(args) > at else None
        if not isinstance(model, str):
            return None
        if model.startswith(PREFIX):
            return model[len(PREFIX) :]
        # So litellm 1.83 goes from Messages to chat; sync functions take names apart on their way to the net.
        return model if self.is_async and kwargs.get("custom_llm_provider") == PROVIDER else None

    def early_caller(self, kwargs: Mapping[str, Any]) -> str | None:
        """Return the async function that called this one from inside, or None.

        Only one that was bound before `install` names an alias here: ours would have named a model.
        """
        if self.called_by is None or kwargs.get(self.called_by[0]) is not True:
            return None
        return self.called_by[1]


def names(*lists: str) -> frozenset[str]:
    """Return the words of the lists."""
    return frozenset(" ".join(lists).split())


_chat = names(_CHAT, _VENDORS)
_text = names("prompt best_of echo suffix", _CHAT, _VENDORS) - {"messages"}
_embedding = names("input dimensions encoding_format user input_type task_type")
_responses = names(
    """background include input instructions max_output_tokens max_tool_calls metadata parallel_tool_calls
    previous_response_id prompt prompt_cache_key prompt_cache_retention reasoning safety_identifier
    service_tier store temperature text text_format tool_choice tools top_logprobs top_p truncation user"""
)
_messages = names(
    """cache_control container context_management max_tokens mcp_servers messages metadata output_config
    output_format reasoning_effort service_tier stop_sequences system temperature thinking tool_choice tools
    top_k top_p"""
)

DOORS: tuple[Door, ...] = (
    Door("completion", "chat", ("model", "messages"), _chat, called_by=("acompletion", "acompletion")),
    Door("acompletion", "chat", ("model", "messages"), _chat, is_async=True),
    Door("embedding", "embeddings", ("model", "input"), _embedding, called_by=("aembedding", "aembedding")),
    Door("aembedding", "embeddings", ("model", "input"), _embedding, is_async=True),
    Door(
        "text_completion",
        "text_completion",
        ("prompt", "model"),
        _text,
        called_by=("acompletion", "atext_completion"),
    ),
    Door("atext_completion", "text_completion", ("prompt", "model"), _text, is_async=True),
    Door(
        "responses",
        "responses",
        ("input", "model"),
        _responses,
        metadata="litellm_metadata",
        called_by=("aresponses", "aresponses"),
    ),
    Door(
        "aresponses", "responses", ("input", "model"), _responses, is_async=True, metadata="litellm_metadata"
    ),
    Door(
        "anthropic_messages",
        "chat",
        ("max_tokens", "messages", "model"),
        _messages,
        is_async=True,
        metadata="litellm_metadata",
    ),
)
