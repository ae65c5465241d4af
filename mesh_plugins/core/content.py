"""What a call asked and was answered, while it runs: only of teams that switched samples on.

Nothing here may end a call or change it: what cannot be read is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mesh_plugins.core.call import Plan
from mesh_store.model.facts import Fact
from mesh_store.model.samples import LOOKED_AT

#: Parts of a request that say something; everything else is parameters.
_ASKED = ("messages", "input", "prompt", "system", "instructions", "tools")


class RawSample(NamedTuple):
    """A sample before anything was taken out of it; it never leaves the process.

    Attributes:
        fact: of the attempt that ended the call, as plugins left it.
        asked: what was sent.
        answered: the text that came back.
    """

    fact: Fact
    asked: dict[str, Any]
    answered: str


class Heard:
    """The content of one call."""

    __slots__ = ("_asked", "_parts", "_room")

    def __init__(self, payload: Mapping[str, Any]) -> None:
        # Callers go on with their lists: what they append later was not asked now.
        self._asked = {
            name: list(value) if isinstance(value := payload[name], list) else value
            for name in _ASKED
            if name in payload
        }
        self._parts: list[str] = []
        self._room = LOOKED_AT + 1

    def hear(self, said: Any) -> None:
        """Take a reply, a chunk of one, or text; what is no text is left out."""
        if self._room <= 0:
            return
        try:
            for text in texts(said):
                self._parts.append(text[: self._room])
                self._room -= len(text)
        except Exception:
            self._room = 0  # a host's object of an unknown kind: what was heard so far has to do

    def begin_again(self) -> None:
        """Forget an attempt that failed; the next one answers."""
        self._parts, self._room = [], LOOKED_AT + 1

    def sample(self, fact: Fact) -> RawSample:
        """Return what was heard."""
        return RawSample(fact, self._asked, "".join(self._parts))


def listen(plan: Plan) -> Heard | None:
    """Return what hears a call, or None, which is the rule."""
    request = plan.request
    team = plan.snapshot.team(request.principal.team)
    if team is None or team.content is None or not team.content.takes(request.id):
        return None
    return Heard(request.payload)


def texts(said: Any) -> Iterator[str]:
    """Yield the text of a reply or a chunk: OpenAI's shapes and Anthropic's, by attribute or by key."""
    if isinstance(said, str):
        yield said
        return
    kind = _of(said, "type")
    if isinstance(kind, str) and kind.endswith("output_text.delta"):
        yield from _text(_of(said, "delta"))
        return
    if kind == "content_block_delta":
        yield from _text(_of(_of(said, "delta"), "text"))
        return
    for choice in _of(said, "choices") or ():
        yield from _text(_of(choice, "text"))
        for name in ("delta", "message"):
            yield from _message(_of(choice, name))
    for item in _of(said, "output") or ():
        yield from _message(item)
    if kind == "message":
        yield from _message(said)


def _message(message: Any) -> Iterator[str]:
    if message is None:
        return
    yield from _text(_of(message, "content"))
    for call in _of(message, "tool_calls") or ():
        function = _of(call, "function")
        yield from _text(_of(function, "name"))
        yield from _text(_of(function, "arguments"))


def _text(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from _text(part if isinstance(part, str) else _of(part, "text"))


def _of(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
