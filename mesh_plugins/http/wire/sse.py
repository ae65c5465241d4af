"""Server-sent events, however the bytes were cut.

Lines end with LF or CRLF; a lone CR as line end, which the standard also allows and no provider
sends, is not supported.
"""

from __future__ import annotations

from typing import NamedTuple

#: The longest line and the longest event, in bytes. The last event of a response repeats all of it.
MOST = 16 * 1024 * 1024


class Event(NamedTuple):
    """One event; ``name`` is empty where the provider gives none."""

    name: str
    data: bytes


class SseParser:
    """Takes bytes, gives events."""

    __slots__ = ("_data", "_held", "_name", "_size", "_tail")

    def __init__(self) -> None:
        self._tail: list[bytes] = []
        self._held = 0
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[Event]:
        """Return the events these bytes complete.

        Raises:
            ValueError: a line or an event is longer than `MOST`.
        """
        if b"\n" not in piece:
            self._hold(piece)
            return []
        if self._tail:
            piece = b"".join([*self._tail, piece])
            self._tail.clear()
            self._held = 0
        lines = piece.split(b"\n")
        if rest := lines.pop():
            self._hold(rest)
        events: list[Event] = []
        for line in lines:
            if line.endswith(b"\r"):
                line = line[:-1]  # noqa: PLW2901 - the line without its end
            if line:
                self._field(line)
            elif self._data:
                events.append(
                    Event(self._name, self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                )
                self._data, self._name, self._size = [], "", 0
            else:
                self._name = ""
        return events

    def _field(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            value = line[6:] if line[5:6] == b" " else line[5:]
            self._size += len(value)
            if self._size > MOST:
                raise ValueError(f"an event is longer than {MOST >> 20} MiB")
            self._data.append(value)
        elif line.startswith(b"event:"):
            self._name = line[6:].strip().decode("utf-8", "replace")

    def _hold(self, rest: bytes) -> None:
        self._held += len(rest)
        if self._held > MOST:
            raise ValueError(f"a line is longer than {MOST >> 20} MiB")
        self._tail.append(rest)
