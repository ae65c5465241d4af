"""Whoever can call the scripts can lie to them; a lie is refused before anything is written."""

from typing import Any

import msgspec
import pytest
import redis

from mesh_store.redis import scripts

NAN, INF = float("nan"), float("inf")

#: What Lua's own ``tonumber`` or comparisons would let through, or what doubles cannot hold.
NOT_WHOLE = [NAN, INF, -INF, -1, 1.5, 2**53, 2**64 - 1, "0x10", " 7 ", "7", "inf", None, True, [], {}]


def stream(*values: object) -> bytes:
    """Pack values one after the other."""
    return b"".join(map(msgspec.msgpack.encode, values))


def reserve(tag: str, **change: Any) -> tuple[list[str], list[bytes]]:
    value = {
        "now": 1_000_000, "kind": 1, "rate": "1000/1", "units": 1, "tau": 5_000, "tau_rem": 0, "hard": 0,
        "id": "r1", "shape": 7, "lifetime": 1_000, "wait": 0, "limit": 1, "a": 1_000, "b": 0,
    } | change  # fmt: skip
    limit = [value[k] for k in ("now", "kind", "rate", "units", "tau", "tau_rem", "hard")]
    request = [value[k] for k in ("shape", "lifetime", "wait", "limit", "a", "b")]
    return [f"{{{tag}}}:q", f"{{{tag}}}:r:{value['id']}"], [stream(*limit, 0), stream(*request)]


def run(client: redis.Redis, script: scripts.Script, keys: list[str], arguments: list[bytes]) -> Any:
    return client.eval(script.source, len(keys), *keys, *arguments)


@pytest.fixture(params=[scripts.RESERVE, scripts.RESERVE_RATES], ids=["every kind", "rates"])
def reserving(request: pytest.FixtureRequest) -> scripts.Script:
    script: scripts.Script = request.param
    return script


def test_an_honest_request_is_admitted(client: redis.Redis, reserving: scripts.Script, tag: str) -> None:
    keys, arguments = reserve(tag)
    [answer] = msgspec.msgpack.decode(run(client, reserving, keys, arguments))
    assert answer[0] == 1


@pytest.mark.parametrize("lie", NOT_WHOLE, ids=repr)
@pytest.mark.parametrize(
    "field",
    ["now", "kind", "units", "tau", "tau_rem", "hard", "shape", "lifetime", "wait", "limit", "a", "b"],
)
def test_what_is_not_a_whole_number_is_refused(
    client: redis.Redis, reserving: scripts.Script, tag: str, field: str, lie: object
) -> None:
    keys, arguments = reserve(tag, **{field: lie})
    with pytest.raises(redis.ResponseError):
        run(client, reserving, keys, arguments)
    assert client.exists(*keys) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"rate": "1000"}, {"rate": "-1/1"}, {"rate": "1/1:9"}, {"rate": "1/0"}, {"rate": 7}, {"id": "a b"},
        {"id": "{x}"}, {"id": "x" * 65}, {"id": ""}, {"limit": 2}, {"limit": 0}, {"kind": 4}, {"kind": 0},
        {"lifetime": 0}, {"a": 2**52 + 1}, {"wait": 2**53 - 1},
    ],
    ids=repr,
)  # fmt: skip
def test_what_points_nowhere_or_is_malformed_is_refused(
    client: redis.Redis, reserving: scripts.Script, tag: str, change: dict[str, Any]
) -> None:
    keys, arguments = reserve(tag, **change)
    with pytest.raises(redis.ResponseError):
        run(client, reserving, keys, arguments)
    assert client.exists(*keys) == 0


@pytest.mark.parametrize("garbage", [b"", b"\xc1", b"\x93", b"\xa17", b"\xff" * 40], ids=repr)
@pytest.mark.parametrize(
    "script",
    [
        scripts.RESERVE, scripts.RESERVE_RATES, scripts.PEEK, scripts.SETTLE, scripts.AT_MOST, scripts.RENEW,
        scripts.COMMIT,
    ],
    ids=lambda script: script.name,
)  # fmt: skip
def test_garbage_is_refused(client: redis.Redis, tag: str, script: scripts.Script, garbage: bytes) -> None:
    keys, arguments = reserve(tag)
    for place in range(2):
        broken = [*arguments]
        broken[place] = garbage
        with pytest.raises(redis.ResponseError):
            run(client, script, keys, broken)
    with pytest.raises(redis.ResponseError):
        run(client, script, keys, [])
    assert client.exists(*keys) == 0


def test_a_refund_above_the_reservation_is_refused(client: redis.Redis, tag: str) -> None:
    keys, arguments = reserve(tag)
    run(client, scripts.RESERVE, keys, arguments)
    before = client.get(keys[0])
    settlement = stream(7, 0, 1, 2_000, 0, 1)
    with pytest.raises(redis.ResponseError, match="exceeds"):
        run(client, scripts.SETTLE, keys, [arguments[0], settlement])
    assert client.get(keys[0]) == before


def test_no_debt_outgrows_what_can_be_counted(
    client: redis.Redis, reserving: scripts.Script, tag: str
) -> None:
    """Beyond 2^52 two debts no longer add up exactly; a burst this large lets each call add one."""
    for number in range(3):
        keys, arguments = reserve(tag, id=f"r{number}", tau=2**53 - 1, a=2**52, wait=2**52)
        [answer] = msgspec.msgpack.decode(run(client, reserving, keys, arguments))
        assert (answer[0], answer[4:]) == (1, [2**52, 0])


def test_every_key_a_script_leaves_behind_expires(
    client: redis.Redis, reserving: scripts.Script, tag: str
) -> None:
    keys, arguments = reserve(tag)
    run(client, reserving, keys, arguments)
    assert 0 < client.pttl(keys[0]) <= 61_001
    assert 0 < client.pttl(keys[1]) <= 1_000
