"""How the stand-in misbehaves: one value per model, changed with `Scripts.script`."""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import parse_qsl


@dataclass(slots=True, frozen=True)
class Script:
    """What to do with a request instead of simply answering.

    Attributes:
        latency_s: wait before the status line.
        status: answer with this error when it is not 200.
        retry_after: value of the ``Retry-After`` header of an error.
        error: message of an error's body.
        redirect: answer 307 with this ``Location``.
        hang_up: close the connection without an answer.
        content: say this instead of echoing.
        raw: answer 200 with this text as the body, whatever was asked.
        pad: bytes of padding in the reply.
        content_type: instead of the right one.
        usage: True tells the truth, None omits usage, a dict is laid over the truth.
        finish: False leaves out the finish reason and ``[DONE]``.
        chunk_delay_s: wait before each event of a stream but the first.
        cut_after: break the connection after so many events; any number breaks a whole body.
        end_after: end the stream politely after so many events.
        stall_after: fall silent after so many events, for ``stall_s``.
        stall_s: how long a stall lasts.
        split: send streams in pieces of so many bytes, events notwithstanding.
        times: how many requests this holds for; None for ever.
    """

    latency_s: float = 0.0
    status: int = 200
    retry_after: str | None = None
    error: str = "scripted failure"
    redirect: str | None = None
    hang_up: bool = False
    content: str | None = None
    raw: str | None = None
    pad: int = 0
    content_type: str | None = None
    usage: Any = True
    finish: bool = True
    chunk_delay_s: float = 0.0
    cut_after: int | None = None
    end_after: int | None = None
    stall_after: int | None = None
    stall_s: float = 60.0
    split: int = 0
    times: int | None = None


PLAIN = Script()
_CASTS = {
    "latency_s": float,
    "chunk_delay_s": float,
    "stall_s": float,
    "status": int,
    "pad": int,
    "cut_after": int,
    "end_after": int,
    "stall_after": int,
    "split": int,
    "times": int,
    "hang_up": bool,
}
_NAMES = {field.name for field in fields(Script)}


class Scripts:
    """Which script holds for a model; ``*`` is for every model without its own.

    A model may also carry its script in its name, for a stand-in in another process:
    ``slow?latency_s=0.2``, ``flaky?status=503&times=2``.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lasting: dict[str, Script] = {}
        self._passing: dict[str, list[Script]] = {}

    def script(self, model: str = "*", **changes: Any) -> None:
        """Misbehave for a model: with ``times`` for so many requests, after what is queued already."""
        script = replace(PLAIN, **changes)
        with self._lock:
            if script.times is None:
                self._lasting[model] = script
            else:
                self._passing.setdefault(model, []).append(script)

    def clear(self) -> None:
        """Behave."""
        with self._lock:
            self._lasting.clear()
            self._passing.clear()

    def take(self, model: str) -> Script:
        """Return the script for one request to a model, and count it."""
        if "?" in model:
            self._learn(model)
        if not self._lasting and not self._passing:
            return PLAIN
        with self._lock:
            for name in (model, "*"):
                if queue := self._passing.get(name):
                    return self._use(name, queue)
                if name in self._lasting:
                    return self._lasting[name]
        return PLAIN

    def _use(self, name: str, queue: list[Script]) -> Script:
        script = queue.pop(0)
        left = (script.times or 1) - 1
        if left:
            queue.insert(0, replace(script, times=left))
        elif not queue:
            # An empty list stays, so that a name which carries its script is not learnt again.
            self._passing[name] = []
        return script

    def _learn(self, model: str) -> None:
        if model in self._passing or model in self._lasting:
            return
        pairs = parse_qsl(model.partition("?")[2])
        self.script(model, **{name: _CASTS.get(name, str)(value) for name, value in pairs if name in _NAMES})
