"""Which part of the stand-in answers a request."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec

from mesh_plugins.testing.standin import anthropic, openai
from mesh_plugins.testing.standin.http import Answer, Request
from mesh_plugins.testing.standin.responses import responses
from mesh_plugins.testing.standin.script import Script, Scripts


class Router:
    """Answers requests by their path's end, so that any base path and Azure's deployments work."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self._numbers = itertools.count(1)
        self._cached: set[str] = set()

    def answer(self, request: Request, body: Any) -> Answer:
        """Answer a request whose JSON body was parsed already (None when there was none)."""
        if request.method == "GET" and request.path.endswith("/models"):
            return Answer(body=openai.models())
        if not isinstance(body, dict):
            return _error(request, 400, "the body is not a JSON object")
        if "model" not in body and "/deployments/" in request.path:
            body = body | {"model": request.path.partition("/deployments/")[2].partition("/")[0]}
        script = self._scripts.take(str(body.get("model", "")))
        answer = self._unscripted(request, body, script) or _scripted(request, script)
        answer.script = script
        return answer

    def _unscripted(self, request: Request, body: dict[str, Any], script: Script) -> Answer | None:
        if script.status != 200 or script.redirect or script.raw is not None:
            return None
        try:
            said = self._say(request.path, body, script)
        except (AttributeError, KeyError, TypeError) as error:
            return _error(request, 400, f"malformed request: {error!r}")
        if said is None:
            return _error(request, 404, f"nothing lives at {request.path}")
        if isinstance(said, list):
            return Answer(events=said)
        return Answer(body=said)

    def _say(self, path: str, body: dict[str, Any], script: Script) -> bytes | list[bytes] | None:
        number = next(self._numbers)
        if path.endswith("/chat/completions"):
            return openai.chat(body, number, script)
        if path.endswith("/completions"):
            return openai.completion(body, number, script)
        if path.endswith("/embeddings"):
            return openai.embeddings(body, script)
        if path.endswith("/responses"):
            return responses(body, number, script)
        if path.endswith("/messages"):
            return anthropic.messages(body, number, script, self._cached)
        if path.endswith("/messages/count_tokens"):
            return anthropic.count_tokens(body)
        return None


def _scripted(request: Request, script: Script) -> Answer:
    if script.redirect:
        return Answer(status=307, headers={"location": script.redirect})
    if script.raw is not None:
        return Answer(body=script.raw.encode())
    answer = _error(request, script.status, script.error + " " * script.pad)
    if script.retry_after is not None:
        answer.headers["retry-after"] = script.retry_after
    return answer


def _error(request: Request, status: int, message: str) -> Answer:
    if "/messages" in request.path:
        kind = {429: "rate_limit_error", 401: "authentication_error", 529: "overloaded_error"}.get(
            status, "api_error"
        )
        body: dict[str, Any] = {"type": "error", "error": {"type": kind, "message": message}}
    else:
        body = {"error": {"message": message, "type": "stand_in", "param": None, "code": None}}
    return Answer(status=status, body=msgspec.json.encode(body))
