"""What calls that come back to the same limits have in common, worked out once.

A caller asks with the same keys and limits again and again; only ids and amounts differ. Their
*template* holds everything else: hash tags, reduced rates, checksums, and the limits packed for the
scripts. One is remembered per list of keys, for as long as their limits stay what they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple
from zlib import crc32

import msgspec

from mesh_store.model.gcra import check_units
from mesh_store.model.limits import Charge, Limit
from mesh_store.redis.keys import hash_tag, record_key
from mesh_store.redis.kinds import RateTerm, Term, WindowTerm, term_of

#: The most templates, and the most packed requests of each, that are remembered.
MOST_TEMPLATES, MOST_REQUESTS = 4096, 256

_encode = msgspec.msgpack.Encoder().encode


def packed(values: Sequence[int | str]) -> bytes:
    """Pack values one after the other: an array without its header."""
    array = _encode(values)
    return array[1 if len(values) < 16 else 3 :]


class Frame(NamedTuple):
    """The keys and limits of a part at one time.

    Attributes:
        keys: the limits' keys.
        limits: each limit as the scripts read it.
        packed: the same together.
        starts_us: the first moment this holds for.
        ends_us: the first moment it does not.
    """

    keys: tuple[str, ...]
    limits: tuple[bytes, ...]
    packed: bytes
    starts_us: int
    ends_us: int


class Part:
    """The charges of a template that share a hash tag: what one script call decides.

    Attributes:
        tag: the hash tag.
        terms: the limits.
        positions: where each stands in the caller's list.
        shape: checksum of keys and rates; tells a replay from another use of an id.
        width: how many numbers a script tells about them.
        rates_only: True where all are rates.
        has_windows: True where some are calendar budgets.
    """

    __slots__ = (
        "_frame", "_requests", "has_windows", "positions", "rates_only", "record", "shape", "tag", "terms",
        "width",
    )  # fmt: skip

    def __init__(self, tag: str, terms: Sequence[Term], positions: Sequence[int]) -> None:
        self.tag, self.terms, self.positions = tag, tuple(terms), tuple(positions)
        self.record = record_key(tag, "")
        self.shape = 0
        for term in terms:
            self.shape = crc32(term.mark, self.shape)
        self.width = sum(term.width for term in terms)
        self.rates_only = all(isinstance(term, RateTerm) for term in terms)
        self.has_windows = any(isinstance(term, WindowTerm) for term in terms)
        self._frame: Frame | None = None
        self._requests: dict[tuple[int, int, tuple[int, ...]], bytes] = {}

    def frame(self, at_us: int, grace_us: int = 0) -> Frame:
        """Return the keys and limits at a time; windows are still taken for a while after their end."""
        if not self.has_windows:
            return self._frame or self._framed(0, 0)
        if grace_us:
            return self._framed(at_us, grace_us)
        frame = self._frame
        if frame is None or not frame.starts_us <= at_us < frame.ends_us:
            frame = self._framed(at_us, 0)
        return frame

    def _framed(self, at_us: int, grace_us: int) -> Frame:
        limits = tuple(packed(term.argument(at_us, grace_us)) for term in self.terms)
        windows = [term.window(at_us) for term in self.terms if isinstance(term, WindowTerm)]
        frame = Frame(
            keys=tuple(term.state(at_us) for term in self.terms),
            limits=limits,
            packed=b"".join(limits),
            starts_us=max((window.start_us for window in windows), default=0),
            ends_us=min((window.end_us for window in windows), default=0),
        )
        if not grace_us:
            self._frame = frame
        return frame

    def request(self, lifetime_ms: int, max_wait_us: int, amounts: tuple[int, ...]) -> bytes:
        """Pack a request for all of these limits, which are numbered in their order.

        Raises:
            ValueError: an amount cannot be counted exactly.
        """
        for amount in amounts:
            if type(amount) is not int:
                # Looked up below, True would be 1.
                check_units("charge.amount", amount)
        kept = (lifetime_ms, max_wait_us, amounts)
        request = self._requests.get(kept)
        if request is None:
            for term, amount in zip(self.terms, amounts, strict=True):
                check_units("charge.amount", amount, term.most)
            request = self.renumbered(kept, range(1, len(amounts) + 1))
            if len(self._requests) >= MOST_REQUESTS:
                self._requests.clear()
            self._requests[kept] = request
        return request

    def renumbered(self, kept: tuple[int, int, tuple[int, ...]], indexes: Sequence[int]) -> bytes:
        """Pack a request whose limits have other numbers, among those of other requests."""
        lifetime_ms, max_wait_us, amounts = kept
        values = [self.shape, lifetime_ms, max_wait_us]
        for index, term, amount in zip(indexes, self.terms, amounts, strict=True):
            values.append(index)
            values += term.taken(amount)
        return packed(values)


class Template(NamedTuple):
    """The parts of a list of charges, in the order their tags first appear.

    Attributes:
        parts: one per hash tag.
        limits: the limits they were made of.
        enforced: which of them are not in shadow mode.
    """

    parts: tuple[Part, ...]
    limits: tuple[Limit, ...]
    enforced: tuple[bool, ...]


_known: dict[tuple[str, ...], Template] = {}
_key, _limit, _enforce = attrgetter("key"), attrgetter("limit"), attrgetter("enforce")


def template_of(charges: Sequence[Charge]) -> Template:
    """Return what a list of charges has in common with others of the same keys and limits.

    Raises:
        ValueError: a key appears twice, or a limit cannot be counted exactly.
    """
    keys, limits, enforced = (
        tuple(map(_key, charges)),
        tuple(map(_limit, charges)),
        tuple(map(_enforce, charges)),
    )
    template = _known.get(keys)
    # Comparing is cheap: the same limits are mostly the very same objects.
    if template is None or template.limits != limits or template.enforced != enforced:
        template = Template(_grouped(charges), limits, enforced)
        # Racing threads may both make one; the later one stays, and either is as good.
        if len(_known) >= MOST_TEMPLATES:
            _known.clear()
        _known[keys] = template
    return template


def _grouped(charges: Sequence[Charge]) -> tuple[Part, ...]:
    keys = [charge.key for charge in charges]
    if len(set(keys)) < len(keys):
        twice = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise ValueError(f"charge.key {twice!r} appears twice; add the amounts up")
    grouped: dict[str, tuple[list[Term], list[int]]] = {}
    for position, charge in enumerate(charges):
        terms, positions = grouped.setdefault(hash_tag(charge.key), ([], []))
        terms.append(term_of(charge))
        positions.append(position)
    return tuple(Part(tag, *group) for tag, group in grouped.items())
