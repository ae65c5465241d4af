"""The scripts' arithmetic beyond 2^53, run on the server and held against whole numbers without end."""

from __future__ import annotations

from importlib.resources import files
from math import gcd
from typing import Any

import msgspec
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

MAX, CAP = 2**53 - 1, 2**52
_FOLDER = files("mesh_store.redis") / "scripts"
_ASK = """
local answers = {}
for _, question in ipairs(cmsgpack.unpack(ARGV[1])) do
  local a, b = %s
  answers[#answers + 1] = {a, b}
end
return cmsgpack.pack(answers)
"""
EASY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def ask(client: redis.Redis, call: str, questions: list[Any]) -> list[tuple[int, int]]:
    """Have the server work out many at once."""
    texts = [(_FOLDER / f"{name}.lua").read_text() for name in ("numbers", "long")]
    source = "\n".join(["#!lua flags=no-writes", *texts, _ASK % call])
    reply: Any = client.eval(source, 0, msgspec.msgpack.encode(questions))
    return [tuple(map(int, answer)) for answer in msgspec.msgpack.decode(reply)]


def products() -> st.SearchStrategy[tuple[int, int, int]]:
    """a, b and c whose a * b / c the scripts can hold; often with remainders that just fit."""
    long = st.integers(1, 2**50)

    def fitting(drawn: tuple[int, int, int, int]) -> tuple[int, int, int]:
        c, k, b, way = drawn
        a = [k % c, c // 2, c - c // 2, k % c + c * (k % 3)][way]
        return a, min(b, CAP * c // max(1, a)), c

    return st.tuples(long, long, long, st.integers(0, 3)).map(fitting)


@EASY
@given(st.lists(products(), min_size=1, max_size=60))
@example(
    [
        (2**50 + 7, 3**25, 3**25),
        (2**40, 2**50 + 1, 2**41),
        (3, 2**52 + 1, 6),
        (2**27 + 1, 2**27 + 1, 5),
        (7, 1, 9),
        (0, 5, 3),
    ]
)
def test_a_product_over_a_number(client: redis.Redis, questions: list[tuple[int, int, int]]) -> None:
    answers = ask(client, "muldiv(question[1], question[2], question[3])", questions)
    assert answers == [divmod(a * b, c) for a, b, c in questions]


@st.composite
def conversions(draw: st.DrawFn) -> tuple[int, int, str, str, bool]:
    """A debt at one rate, and another rate."""
    small = draw(st.booleans())
    most = 12 if small else 2**36
    p0, l0, p1, l1 = (draw(st.integers(1, most)) for _ in range(4))
    p0, l0 = p0 // gcd(p0, l0), l0 // gcd(p0, l0)
    p1, l1 = p1 // gcd(p1, l1), l1 // gcd(p1, l1)
    micros = draw(st.integers(0, 1_000 if small else 2**45))
    # So that the units can be counted at all.
    micros = min(micros, (CAP - 1) * p0 // l0)
    return micros, draw(st.integers(0, l0 - 1)), f"{p0}/{l0}", f"{p1}/{l1}", draw(st.booleans())


def converted(question: tuple[int, int, str, str, bool]) -> tuple[int, int]:
    """The units stay: what they owe at the other rate, in parts of a microsecond, rounded as asked."""
    micros, rem, one, other, up = question
    (p0, l0), (p1, l1) = (map(int, rate.split("/")) for rate in (one, other))
    parts = (micros * l0 + rem) * p1
    whole, part = divmod(-(-parts // p0) if up else parts // p0, l1)
    return (CAP, 0) if whole >= CAP else (whole, part)


@EASY
@given(st.lists(conversions(), min_size=1, max_size=60))
@example([(2, 2, "3/4", "5/2", True), (2**45, 0, "1/1", "1024/1", False), (0, 0, "3/7", "7/3", True)])
def test_a_debt_at_another_rate(
    client: redis.Redis, questions: list[tuple[int, int, str, str, bool]]
) -> None:
    call = "convert(question[1], question[2], question[3], question[4], question[5])"
    answers = ask(client, call, questions)
    assert answers == [converted(question) for question in questions]
