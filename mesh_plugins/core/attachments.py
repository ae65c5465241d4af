"""How many tokens a file sent along can be: by its length where that bounds it, else nobody knows.

Text sent inline is read byte by byte, so its length is a bound; so is that of sound, of which a second
takes more bytes in any codec than tokens. A PDF and other packed documents unfold (a page of one may
be a few bytes), and a file named by an id or an address is not even seen: of these nothing but the
model's context window bounds what they can be.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

#: Media types whose bytes are the text that the model reads.
_TEXT = frozenset({"application/json", "application/xml", "application/x-ndjson", "application/yaml"})
#: What a packed document is estimated at: 3,000 tokens for a page of 90 kB.
_BYTES_PER_TOKEN = 30


class Attachment(NamedTuple):
    """What is known of a file before the provider reads it.

    Attributes:
        text_bytes: bytes that are read as text.
        sound_bytes: bytes of sound, a bound on its tokens.
        packed_bytes: bytes of a document that unfolds.
        unbounded: what nobody can bound by its size, in words; None when everything is bounded.
    """

    text_bytes: int = 0
    sound_bytes: int = 0
    packed_bytes: int = 0
    unbounded: str | None = None

    @property
    def likely_tokens(self) -> int:
        """A guess for soft limits, besides what is counted as text."""
        return self.packed_bytes // _BYTES_PER_TOKEN + self.sound_bytes // 100


def attachment_of(part: Mapping[str, Any]) -> Attachment:
    """Look at a part of a message that is a file, a document or sound, in OpenAI's or Anthropic's shape."""
    kind = part.get("type")
    if kind == "input_audio":
        sound = part.get("input_audio")
        data = sound.get("data") if isinstance(sound, Mapping) else None
        return Attachment(sound_bytes=_decoded_length(data)) if isinstance(data, str) else _unseen("sound")
    if kind == "document":
        return _document(part.get("source"))
    inner = part.get("file")
    said = inner if isinstance(inner, Mapping) else part
    data = said.get("file_data")
    if isinstance(data, str):
        return _inline(*_opened(data))
    for name in ("file_id", "file_url", "url"):
        if said.get(name) is not None:
            return _unseen(f"a file by {name.removeprefix('file_')}")
    return _unseen("a file")


def _document(source: Any) -> Attachment:
    if not isinstance(source, Mapping):
        return _unseen("a document")
    data = source.get("data")
    if source.get("type") == "text" and isinstance(data, str):
        return Attachment(text_bytes=len(data.encode("utf-8", "surrogatepass")))
    if source.get("type") == "base64" and isinstance(data, str):
        return _inline(str(source.get("media_type")), _decoded_length(data))
    return _unseen(f"a document by {source.get('type')}"[:60])


def _inline(media_type: str, length: int) -> Attachment:
    kind = media_type.split(";", maxsplit=1)[0].strip().lower()
    if kind.startswith("text/") or kind in _TEXT:
        return Attachment(text_bytes=length)
    shown = "a PDF" if kind == "application/pdf" else "a packed document"
    return Attachment(packed_bytes=length, unbounded=shown)


def _opened(data: str) -> tuple[str, int]:
    """Return the media type and length of a data URL, or of bare base64, which may be anything."""
    head, comma, body = data.partition(",")
    if not comma or not head.startswith("data:"):
        return "", _decoded_length(data)
    media_type = head.removeprefix("data:")
    if media_type.endswith(";base64"):
        return media_type, _decoded_length(body)
    return media_type, len(unquote_to_bytes(body))


def _decoded_length(data: str) -> int:
    """Return how many bytes base64 stands for; what is none counts as it stands."""
    try:
        tail = base64.b64decode(data[-4:], validate=True) if len(data) % 4 == 0 else None
    except (binascii.Error, ValueError):
        tail = None
    return len(data) if tail is None else max(0, len(data) // 4 - 1) * 3 + len(tail)


def _unseen(what: str) -> Attachment:
    return Attachment(unbounded=what)
