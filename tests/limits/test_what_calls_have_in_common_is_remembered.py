"""Templates: keys and limits are worked out once, and never for anybody they were not meant for."""

import os
from collections.abc import Iterator

import pytest

from mesh_store.model import Charge, Limit
from mesh_store.redis import Limiter, templates
from mesh_store.redis.steps import mint_id
from mesh_store.redis.templates import template_of

HOUR_US = 3_600_000_000


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    templates._known.clear()
    yield
    templates._known.clear()


def charge(tag: str, amount: object = 1, limit: int = 100, name: str = "a", enforce: bool = True) -> Charge:
    return Charge(f"{{{tag}}}:q:{name}", Limit(amount=limit, period_us=HOUR_US), amount, enforce)  # type: ignore[arg-type]


def test_equal_limits_read_anew_are_the_same_template(tag: str) -> None:
    assert template_of([charge(tag)]) is template_of([charge(tag, amount=7)])


@pytest.mark.parametrize("other", [{"limit": 200}, {"enforce": False}], ids=["another limit", "shadow mode"])
def test_what_changed_is_worked_out_anew(tag: str, other: dict[str, int]) -> None:
    before = template_of([charge(tag)])
    after = template_of([charge(tag, **other)])  # type: ignore[arg-type]
    assert after is not before
    assert after.parts[0].frame(0).packed != before.parts[0].frame(0).packed


def test_a_limit_changed_under_its_key_counts_at_once(limiter: Limiter, tag: str) -> None:
    assert limiter.reserve([charge(tag)]).remaining == (99,)
    assert limiter.reserve([charge(tag, limit=200)]).remaining == (198,)


@pytest.mark.parametrize("amount", [True, 1.0, "1", None, -1, 2**53], ids=repr)
def test_what_only_equals_a_remembered_amount_is_refused(limiter: Limiter, tag: str, amount: object) -> None:
    limiter.reserve([charge(tag, amount=1)])
    with pytest.raises(ValueError, match=r"charge\.amount"):
        limiter.reserve([charge(tag, amount=amount)])
    assert limiter.peek([charge(tag)]).remaining == (99,)


def test_no_more_is_remembered_than_said(tag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "MOST_TEMPLATES", 10)
    monkeypatch.setattr(templates, "MOST_REQUESTS", 10)
    for number in range(100):
        [part] = template_of([charge(tag, name=str(number))]).parts
        for amount in range(100):
            part.request(1, 0, (amount,))
        assert len(part._requests) <= 10
    assert len(templates._known) <= 10


def test_no_id_is_given_twice_not_even_by_a_forked_child() -> None:
    mine = {mint_id() for _ in range(100)}
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, " ".join(mint_id() for _ in range(100)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = set(os.read(reading, 65_536).decode().split())
    mine |= {mint_id() for _ in range(100)}
    os.close(reading)
    os.close(writing)
    assert len(theirs) == 100
    assert len(mine) == 200
    assert not mine & theirs
    assert all(len(found) == 32 for found in mine)
