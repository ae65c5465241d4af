"""How large an image sent along is: read from its header, never decoded.

Only what travels inside the request can be looked at; of one named by an address or an id nothing is known.
A header that cannot be read is no error: the image counts as the largest a model takes.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Any, NamedTuple

#: Characters of base64 looked at first: all that PNG, GIF and WebP need.
_HEAD = 64
#: And at most: a JPEG says its size after its metadata, which may hold previews and colour profiles.
_MOST = 1 << 20
#: JPEG's markers of a frame; C4, C8 and CC are tables.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class Image(NamedTuple):
    """What is known of an image.

    Attributes:
        width, height: pixels; 0 where nobody knows.
        detail: how closely it is to be looked at (OpenAI's ``low``, ``high``, ``auto``, ``original``).
    """

    width: int = 0
    height: int = 0
    detail: str = "auto"


def image_of(part: Mapping[str, Any]) -> Image:
    """Look at a part of a message that is an image, in OpenAI's or Anthropic's shape."""
    said = part.get("image_url", part.get("source"))
    holder: Mapping[str, Any] = said if isinstance(said, Mapping) else part
    detail = holder.get("detail", part.get("detail"))
    text = said if isinstance(said, str) else holder.get("url", holder.get("data"))
    if not isinstance(text, str):
        return Image(detail=str(detail))
    if text.startswith("data:"):
        at = text.find(";base64,", 0, 256)
        text = text[at + 8 : at + 8 + _MOST] if at >= 0 else ""
    width, height = size_of(text)
    return Image(width, height, str(detail))


def size_of(encoded: str) -> tuple[int, int]:
    """Return width and height of an image in base64, (0, 0) where they cannot be read."""
    head = _decoded(encoded[:_HEAD])
    if head[:8] == b"\x89PNG\r\n\x1a\n" and head[12:16] == b"IHDR":
        return _number(head[16:20]), _number(head[20:24])
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return _little(head[6:8]), _little(head[8:10])
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp(head)
    if head[:3] == b"\xff\xd8\xff":
        return _jpeg(_decoded(encoded[:_MOST]))
    return 0, 0


def _decoded(encoded: str) -> bytes:
    try:
        return binascii.a2b_base64(encoded[: len(encoded) // 4 * 4])
    except ValueError:  # no base64, or no text that could be
        return b""


def _webp(head: bytes) -> tuple[int, int]:
    kind = head[12:16]
    if kind == b"VP8X":
        return _little(head[24:27]) + 1, _little(head[27:30]) + 1
    if kind == b"VP8L" and head[20:21] == b"\x2f":
        bits = _little(head[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        return _little(head[26:28]) & 0x3FFF, _little(head[28:30]) & 0x3FFF
    return 0, 0


def _jpeg(data: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif marker in _FRAMES:
            return _number(data[at + 7 : at + 9]), _number(data[at + 5 : at + 7])
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # these stand alone
            at += 2
        else:
            at += 2 + max(2, _number(data[at + 2 : at + 4]))
    return 0, 0


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")
