"""Aliases that are patterns: ``openai/*`` catches every name under ``openai/`` that has no alias of its own.

The longest prefix wins, and of equal ones the team's own. What stands for the ``*`` comes from the caller
and ends up in a request's body or, with some vendors, in its path, so it obeys a bounded rule: segments of
letters, digits and ``. _ : @ + -`` that begin with a letter, a digit, ``@`` or ``_``, which leaves no room
for ``..``, an empty segment, a query or an escape. A vendor that puts the model into the path is passed one
segment only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mesh_store.model.errors import Rejected
from mesh_store.model.ids import NAME

WILD = "*"
#: Characters of what a ``*`` may stand for.
LONGEST_REST = 128
#: Characters of a whole name that a caller may ask for.
LONGEST_NAME = 256

_REST = re.compile(r"[A-Za-z0-9@_][A-Za-z0-9._:@+-]*(?:/[A-Za-z0-9@_][A-Za-z0-9._:@+-]*)*", re.ASCII)
#: Vendors of litellm that are told the model in the body, so that it may have several segments.
_IN_BODY = frozenset(
    {
        "custom_openai", "deepinfra", "fireworks_ai", "groq", "hosted_vllm", "litellm_proxy", "nebius",
        "novita", "nvidia_nim", "openai", "openai_like", "openrouter", "perplexity", "together_ai",
    }
)  # fmt: skip


def is_pattern(name: str) -> bool:
    """Tell whether an alias's name, or one of a key's names, catches more than itself."""
    return name.endswith("/" + WILD)


def prefix_of(pattern: str) -> str:
    """Return what names begin with that a pattern catches, its slash included."""
    return pattern.removesuffix(WILD)


def is_rest(text: str) -> bool:
    """Tell whether a caller may put ``text`` in the place of a ``*``."""
    return len(text) <= LONGEST_REST and _REST.fullmatch(text) is not None


def prefixes(name: str) -> Iterator[tuple[str, str]]:
    """Yield how a name may be caught: prefix and rest, the longest prefix first."""
    if len(name) > LONGEST_NAME:
        return
    end = name.rfind("/")
    while end > 0:
        prefix, rest = name[: end + 1], name[end + 1 :]
        if is_rest(rest):
            yield prefix, rest
        end = name.rfind("/", 0, end)


def covers(listed: str, name: str) -> bool:
    """Tell whether an entry of a key's list allows a name."""
    return name == listed or (is_pattern(listed) and name.startswith(prefix_of(listed)))


def is_callable_name(name: str) -> bool:
    """Tell whether a key's list may hold a name: an alias's, a pattern's, or one that a pattern catches."""
    plain = name.removesuffix("/" + WILD) if is_pattern(name) else name
    return NAME.fullmatch(plain) is not None or any(NAME.fullmatch(each) for each, _ in prefixes(name))


def passed_on(model: str, rest: str) -> str:
    """Return a target's model with what the caller asked for in the place of its ``*``."""
    return model.removesuffix(WILD) + rest if model.endswith(WILD) else model


def check_model(model: str, alias: str) -> None:
    """Refuse a ``*`` in a target's model where nothing stands for it.

    Raises:
        ValueError: says what to write.
    """
    if WILD not in model:
        return
    if model.index(WILD) != len(model) - 1:
        raise ValueError(f"targets: {model!r}: a '*' stands alone or at the end")
    if not is_pattern(alias):
        raise ValueError(
            f"targets: {model!r} passes on what a pattern caught, and alias {alias!r} is none; "
            "call the alias 'prefix/*', or name the model"
        )


def check_vendor(kind: str, provider: str, model: str) -> None:
    """Refuse a target that would let the caller choose the vendor its provider's secret goes to.

    Raises:
        Rejected: says what to write.
    """
    if kind == "litellm" and model.endswith(WILD) and "/" not in model:
        raise Rejected(
            f"alias: targets: {provider}/{model}: kind litellm reads the vendor from the model; "
            "write it before the '*', as in 'bedrock/*'",
            field="targets",
        )


def may_pass(kind: str, model: str, rest: str) -> bool:
    """Tell whether ``rest`` may stand in a model of a provider of this kind."""
    if kind != "litellm" or "/" not in rest or not model.endswith(WILD):
        return True
    return model.partition("/")[0] in _IN_BODY
