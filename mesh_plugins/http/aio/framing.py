"""What the bytes of an HTTP/1.1 answer mean, pure: head, then a body by length, in chunks, or to the end."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: The longest head, and the longest line between chunks, in bytes.
MOST_HEAD = 64 * 1024
MOST_LINE = 4 * 1024

_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d)(?: |$)")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_SIZE = re.compile(rb"[0-9a-fA-F]{1,15}")
_LENGTH = re.compile(r"[0-9]{1,15}", re.ASCII)


class FramingError(ValueError):
    """These bytes are not an HTTP answer."""


@dataclass(slots=True)
class Head:
    """The beginning of an answer; header names are lower case, repeated ones joined by a comma."""

    status: int
    headers: dict[str, str]
    keep_alive: bool


class AnswerParser:
    """Takes bytes, gives the bytes of the body.

    Attributes:
        head: the head, once it arrived.
        done: True once the body is complete.
        reusable: True when the connection may carry another request afterwards.
    """

    __slots__ = ("_chunked", "_held", "_left", "_part", "done", "head", "reusable")

    def __init__(self) -> None:
        self.head: Head | None = None
        self.done = False
        self.reusable = False
        self._held = b""
        self._left: int | None = None
        self._chunked = False
        self._part = "size"

    def feed(self, data: bytes) -> bytes:
        """Return the bytes of the body in these bytes.

        Raises:
            FramingError: they are not an answer.
        """
        if self.head is None:
            data = self._take_head(data)
            if self.head is None:
                return b""
        if self._chunked:
            return self._take_chunks(data)
        if self._left is None:
            return data  # until the connection closes
        body = data[: self._left]
        self._left -= len(body)
        if not self._left:
            self._finish(data[len(body) :])
        return body

    def eof(self) -> bool:
        """Take the end of the connection; True when that is where the body ends too."""
        if self.head is not None and not self._chunked and self._left is None:
            self.done = True
        return self.done

    def _finish(self, rest: bytes) -> None:
        assert self.head is not None
        self.done = True
        # Bytes behind the answer belong to no request: such a connection is not used again.
        self.reusable = self.head.keep_alive and not rest

    def _take_head(self, data: bytes) -> bytes:
        data = self._held + data
        while True:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > MOST_HEAD:
                    raise FramingError("the head of the answer is too long")
                self._held = data
                return b""
            head, data = _head(data[:end]), data[end + 4 :]
            if head.status >= 200:
                break
        self.head, self._held = head, b""
        self._frame(head)
        return data

    def _frame(self, head: Head) -> None:
        coding, length = head.headers.get("transfer-encoding"), head.headers.get("content-length")
        if coding is not None:
            if coding.lower() != "chunked":
                raise FramingError("a transfer coding that was not asked for")
            self._chunked = True
        elif head.status in (204, 304):
            self._left = 0
        elif length is not None:
            lengths = {part.strip() for part in length.split(",")}
            if len(lengths) != 1 or not _LENGTH.fullmatch(only := lengths.pop()):
                raise FramingError("a content-length that is none")
            self._left = int(only)

    def _take_chunks(self, data: bytes) -> bytes:
        data, self._held = self._held + data, b""
        pieces: list[bytes] = []
        at = 0
        while not self.done:
            if self._part == "data":
                assert self._left is not None
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
                self._part = "end"
            end = data.find(b"\r\n", at)
            if end < 0:
                self._held = data[at:]
                if len(self._held) > MOST_LINE:
                    raise FramingError("a line between chunks is too long")
                break
            line, at = data[at:end], end + 2
            self._line(line, data[at:] if line == b"" else b"")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _line(self, line: bytes, rest: bytes) -> None:
        """Take a line between chunks: the end of one, the size of the next, or a trailer."""
        if self._part == "end":
            if line:
                raise FramingError("a chunk longer than its size")
            self._part = "size"
        elif self._part == "size":
            size = line.partition(b";")[0].strip()
            if not _SIZE.fullmatch(size):
                raise FramingError("a chunk without a size")
            self._left = int(size, 16)
            self._part = "data" if self._left else "trailers"
        elif not line:
            self._finish(rest)


def _head(raw: bytes) -> Head:
    first, *lines = raw.split(b"\r\n")
    status = _STATUS.match(first)
    if status is None:
        raise FramingError("the answer is not HTTP/1.1")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not _NAME.fullmatch(name):
            raise FramingError("a header that is none")
        name, value = name.lower(), value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    connection = headers.get("connection", "").lower()
    keep_alive = "close" not in connection and (status[1] == b"1" or "keep-alive" in connection)
    return Head(int(status[2]), headers, keep_alive)
