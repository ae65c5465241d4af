"""How much a request sends, without a tokenizer.

A tokenizer costs milliseconds and knows one vendor's models; the UTF-8 length costs microseconds and,
times a ratio learned per alias, is as good for a reservation that is trued up afterwards. The
length is also a bound: no token of the tokenizers in use stands for less than one byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mesh_plugins.core.attachments import attachment_of
from mesh_plugins.core.image_tokens import likely_tokens, most_tokens
from mesh_plugins.core.images import Image, image_of

#: Fields whose text the model reads; everything else of a payload is parameters.
_TEXT_FIELDS = frozenset(
    {
        "messages",
        "input",
        "prompt",
        "system",
        "instructions",
        "tools",
        "functions",
        "response_format",
    }
)
#: Tokens of framing per message or list item: role, separators.
_FRAME = 8
#: A file of which nothing is known is guessed to be a page, which is about an image.
_PAGE_TOKENS = 1_600


@dataclass(slots=True)
class PayloadSize:
    """What a model has to read.

    Attributes:
        text_bytes: UTF-8 length of all text, keys of tool schemas included.
        items: messages, parts and list items.
        images: what is known of each image.
        sound_bytes: bytes of sound sent along.
        file_tokens: the likely tokens of files and sound.
        unbounded: the first thing whose tokens its size does not bound, in words; or None.
    """

    text_bytes: int = 0
    items: int = 0
    images: tuple[Image, ...] = ()
    sound_bytes: int = 0
    file_tokens: int = 0
    unbounded: str | None = None

    def bound(self, model: str) -> int:
        """The most input tokens this can be on a model, without what is ``unbounded``."""
        images = sum([most_tokens(image, model) for image in self.images])
        return self.text_bytes + self.items * _FRAME + images + self.sound_bytes

    def estimate(self, tokens_per_byte: float) -> int:
        """The likely input tokens at a learned ratio."""
        text = int(self.text_bytes * tokens_per_byte)
        images = sum([likely_tokens(image) for image in self.images]) if self.images else 0
        return text + self.items * 4 + images + self.file_tokens + 1


def measure(payload: Mapping[str, Any]) -> PayloadSize:
    """Measure a request in OpenAI's shape."""
    size = PayloadSize()
    for name, value in payload.items():
        if name in _TEXT_FIELDS and value is not None:
            _add(size, value)
    return size


def _add(size: PayloadSize, value: Any) -> None:
    if isinstance(value, str):
        size.text_bytes += len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    elif type(value) is dict or isinstance(value, Mapping):
        kind = value.get("type")
        # In a tool's schema "type" may be a list of types, or itself the name of a property.
        if isinstance(kind, str) and kind in _IMAGES:
            size.images += (image_of(value),)
            return
        if isinstance(kind, str) and kind in _FILES and _holds(value, kind):
            _attach(size, value)
            return
        text_bytes = 0
        for key, inner in value.items():
            if isinstance(key, str):
                text_bytes += len(key)
            if type(inner) is str and inner.isascii():  # most of what there is, without a call each
                text_bytes += len(inner)
            else:
                _add(size, inner)
        size.text_bytes += text_bytes
    elif isinstance(value, list | tuple):
        size.items += len(value)
        for inner in value:
            _add(size, inner)
    elif value is not None:
        size.text_bytes += 8  # a number or a boolean


def _attach(size: PayloadSize, part: Mapping[str, Any]) -> None:
    found = attachment_of(part)
    size.text_bytes += found.text_bytes
    size.sound_bytes += found.sound_bytes
    size.file_tokens += found.likely_tokens or (_PAGE_TOKENS if found.unbounded else 0)
    size.unbounded = size.unbounded or found.unbounded
    for name in ("title", "context"):
        if isinstance(part.get(name), str):
            _add(size, part[name])


def _holds(part: Mapping[str, Any], kind: str) -> bool:
    """Tell a file from a tool's schema whose type is called the same."""
    return any(name in part for name in (kind, "source", "file", "file_id", "file_data", "file_url"))


_IMAGES = frozenset({"image_url", "input_image", "image"})
_FILES = frozenset({"input_audio", "input_file", "file", "document"})
