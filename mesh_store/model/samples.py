"""Content samples: what was asked and answered, redacted and bounded, of teams that switched it on.

They travel apart from facts: in no ring, in a stream of their own that may be trimmed, into a table
with a retention of its own. Losing one costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mesh_store.model.redaction import redact

SAMPLE_VERSION = 1
#: Characters of a request and of a reply that are kept.
KEPT = 16_384
#: Characters that are looked at, and how many of the last of a longer text are never kept.
LOOKED_AT, MARGIN = 65_536, 8_192
_DEEPEST = 12
_json = msgspec.json.Encoder(enc_hook=str).encode


class Content(msgspec.Struct, gc=False, frozen=True):
    """What of a team's calls is kept as samples.

    Attributes:
        share: part of the calls, above 0 and up to 1.
    """

    share: float = 1.0

    def takes(self, call_id: str) -> bool:
        """Tell whether a call is one of the share; its attempts agree, and so do processes."""
        return int(call_id[-8:], 16) < self.share * 2**32


class Sample(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What one call asked and was answered.

    Attributes:
        version: `SAMPLE_VERSION` of the writer.
        fact_id, call_id: the fact of the attempt that ended the call.
        at_us: when that attempt began.
        team_id, user_id, key_id, alias, model, outcome: as the fact says.
        request: JSON of what was asked, redacted; "" when a plugin took it out.
        reply: the text of the answer, redacted, as far as it was read.
        cut: True when either was longer than is kept.
    """

    version: int = SAMPLE_VERSION
    fact_id: str
    call_id: str
    at_us: int
    team_id: str
    user_id: str | None = None
    key_id: str
    alias: str
    model: str | None = None
    outcome: str
    request: str = ""
    reply: str = ""
    cut: bool = False


def bounded(text: str) -> tuple[str, bool]:
    """Return text redacted and no longer than is kept, and whether it was cut."""
    found = redact(text[:LOOKED_AT])
    if len(text) > LOOKED_AT:
        # It may end in the first half of a secret, which is nothing anybody recognises.
        found = found[:-MARGIN]
    return found[:KEPT], len(found) > KEPT or len(text) > LOOKED_AT


def request_text(payload: Any) -> tuple[str, bool]:
    """Return a request as JSON, redacted and bounded, and whether it was cut; attachments are left out."""
    room = [KEPT]
    shown = _walked(payload, room, 0)
    return _json(shown).decode()[: 2 * KEPT], room[0] <= 0


def _walked(value: Any, room: list[int], depth: int) -> Any:
    if room[0] <= 0 or depth > _DEEPEST:
        room[0] = min(room[0], 0)
        return "…"
    if isinstance(value, str):
        if value.startswith("data:"):
            return "[data]"
        text, cut = bounded(value)
        text, over = text[: room[0]], cut or len(text) > room[0]
        room[0] = 0 if over else room[0] - len(text)
        return text
    if isinstance(value, Mapping):
        shown = {}
        for name, item in value.items():
            room[0] -= len(str(name)) + 4
            if room[0] <= 0:
                break
            shown[redact(str(name)[:200])] = (
                "[data]" if _is_data(value, name) else _walked(item, room, depth + 1)
            )
        return shown
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        shown_items = []
        for item in value:
            room[0] -= 2
            if room[0] <= 0:
                break
            shown_items.append(_walked(item, room, depth + 1))
        return shown_items
    if value is None or isinstance(value, bool | int | float):
        room[0] -= 8
        return value
    return f"[{type(value).__name__}]"


def _is_data(part: Mapping[Any, Any], name: Any) -> bool:
    """Tell whether a field holds the bytes of an attachment: OpenAI's and Anthropic's names for them."""
    return name in ("data", "file_data", "b64_json") and isinstance(part.get(name), str)
