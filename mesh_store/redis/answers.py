"""What the scripts answer, and what it means to whoever asked.

A reply is checked whole when it comes, so that one that cannot be ours is noticed at once; what it
says of each limit is worked out only for whoever looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from mesh_store.model.limits import MAX_EXACT, Decision, Reservation
from mesh_store.redis.asks import Ask
from mesh_store.redis.kinds import Standing

DENIED, ADMITTED, DONE, REUSED, ROLLED = range(5)

_decode = msgspec.msgpack.Decoder(list[int]).decode
_decode_all = msgspec.msgpack.Decoder(list[list[int]]).decode


class Answer:
    """A script's answer about the charges of one tag.

    Attributes:
        ask: the request.
        status: one of the words above.
        told: every number of it: status, when it was first given, the wait, when the record ends,
            what each kind tells, and the places of charges in shadow mode that were not taken.
    """

    __slots__ = ("ask", "status", "told")

    def __init__(self, ask: Ask, told: list[int]) -> None:
        if len(told) < 4 or (told[0] <= ADMITTED and len(told) < 4 + ask.part.width):
            raise msgspec.DecodeError(
                f"a script answered {len(told)} numbers to {len(ask.part.terms)} charges"
            )
        if not 0 <= told[1] <= MAX_EXACT:
            raise msgspec.DecodeError(f"a script said that it is {told[1]} us after 1970")
        self.ask, self.told, self.status = ask, told, told[0]

    @property
    def at_us(self) -> int:
        """When it was decided; a replay tells when it was granted first."""
        return self.told[1]

    @property
    def shadow_denied(self) -> Sequence[int]:
        """The caller's places of charges in shadow mode that did not fit."""
        told, width = self.told, 4 + self.ask.part.width
        if len(told) <= width or self.status != ADMITTED:
            return ()
        positions = self.ask.part.positions
        # Their places count from 1 and are negated.
        return [positions[-1 - n] for n in told[width:] if -len(positions) <= n < 0]

    @property
    def standings(self) -> list[Standing]:
        """How each limit stands."""
        ask, told, at_us, admitted = self.ask, self.told, self.told[1], self.status == ADMITTED
        standings = []
        place = 4
        for term, amount in zip(ask.part.terms, ask.amounts, strict=True):
            end = place + term.width
            standings.append(term.standing(amount, told[place:end], at_us, admitted))
            place = end
        return standings


def reserved(reply: object, asks: Sequence[Ask]) -> list[Answer]:
    """Read the answers to `wire.reserve` in the order of the requests."""
    if not isinstance(reply, bytes):
        # The connection got out of step.
        raise msgspec.DecodeError(f"a script answered {type(reply).__name__} instead of bytes")
    told = _decode_all(reply)
    if len(told) != len(asks):
        raise msgspec.DecodeError(f"a script answered {len(told)} times to {len(asks)} requests")
    return list(map(Answer, asks, told))


def answered(reply: object, ask: Ask) -> Answer:
    """Read the answer to one request that was asked alone."""
    return Answer(ask, _values(reply))


def outcomes(reply: object, count: int) -> list[int]:
    """Read the outcomes of `settle`, `renew` or `commit` in the order asked."""
    told = _values(reply)
    if len(told) != count:
        raise msgspec.DecodeError(f"a script answered {len(told)} outcomes to {count} requests")
    return told


def _values(reply: object) -> list[int]:
    if not isinstance(reply, bytes):
        raise msgspec.DecodeError(f"a script answered {type(reply).__name__} instead of bytes")
    return _decode(reply)


class _Told(Decision):
    """A decision that works out how the limits stand when it is asked."""

    __slots__ = ("_answers",)

    def __init__(self, answers: Sequence[Answer], reservation: Reservation | None) -> None:
        self._answers = answers
        self.reservation = reservation
        self.enforced, self.granted, self.shadow_denied = True, None, ()
        if len(answers) == 1:
            [answer] = answers
            self.admitted, self.wait_us = answer.status == ADMITTED, answer.told[2]
            if len(answer.told) == 4 + answer.ask.part.width and self.admitted:
                self.retry_after_us, self.binding = 0, None  # as mostly
                return
        else:
            self.admitted = all(answer.status == ADMITTED for answer in answers)
            self.wait_us = max([answer.told[2] for answer in answers])
        if self.admitted:
            self.retry_after_us, self.binding = 0, None
            denied = [place for answer in answers for place in answer.shadow_denied]
            if denied:
                self.shadow_denied = tuple(sorted(denied))

    def __getattr__(self, name: str) -> Any:
        """Work the rest out; only fields that were not asked for yet come here."""
        if name not in _LATE:
            raise AttributeError(name)
        charges = self._answers[0].ask.charges
        placed: dict[int, Standing] = {}
        for answer in self._answers:
            placed.update(zip(answer.ask.part.positions, answer.standings, strict=True))
        self.unseen = tuple([place for place in range(len(charges)) if place not in placed])
        self.remaining, waits, self.reset_after_us = zip(
            *[placed.get(place, _UNSEEN) for place in range(len(charges))], strict=True
        )
        if not self.admitted:
            ranked = [
                (MAX_EXACT if wait is None else wait) if charge.enforce else -1
                for charge, wait in zip(charges, waits, strict=True)
            ]
            self.binding = ranked.index(max(ranked))
            self.retry_after_us = waits[self.binding]
        return object.__getattribute__(self, name)


_LATE = frozenset({"remaining", "reset_after_us", "retry_after_us", "binding", "unseen"})
#: What is said of a limit nobody could look at: nothing is known to be left.
_UNSEEN: Standing = (0, 0, 0)


def decided(answers: Sequence[Answer], owner: str | None) -> Decision:
    """Join the answers of all tags, in the order of the caller's charges.

    Args:
        answers: what the tags said.
        owner: the reservation's id; None when nothing was taken.
    """
    if owner is None:
        return _Told(answers, None)
    charges = tuple(answers[0].ask.charges)
    if len(answers) == 1:
        told = answers[0].told
        return _Told(answers, Reservation(owner, charges, told[1], told[3]))
    reserved_at = min([answer.told[1] for answer in answers])
    expires_at = min([answer.told[3] for answer in answers])
    return _Told(answers, Reservation(owner, charges, reserved_at, expires_at))
