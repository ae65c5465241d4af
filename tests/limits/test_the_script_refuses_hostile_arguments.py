"""Whoever can call the scripts can lie to them; a lie is refused before anything is written."""

from typing import Any

import msgspec
import pytest
import redis

from mesh_store.redis import scripts

NAN, INF = float("nan"), float("inf")

#: What Lua's own ``tonumber`` or comparisons would let through, or what doubles cannot hold.
NOT_WHOLE = [NAN, INF, -INF, -1, 1.5, 2**53, 2**64 - 1, "0x10", " 7 ", "7", "inf", None, True, [], {}]


def reserve(tag: str, **change: Any) -> tuple[list[str], list[Any]]:
    value = {
        "now": 1_000_000, "key": 1, "rate": "1000/1", "units": 1, "tau": 5_000, "tau_rem": 0, "id": "r1",
        "record": 2, "shape": 7, "lifetime": 1_000, "wait": 0, "limit": 1, "a": 1_000, "b": 0, "kind": 1,
    } | change  # fmt: skip
    limit = [value[k] for k in ("kind", "key", "rate", "units", "tau", "tau_rem")] + [0]
    charges = [value["limit"], value["a"], value["b"]]
    request = [value["id"], value["record"], value["shape"], value["lifetime"], value["wait"], charges]
    return [f"{{{tag}}}:q", f"{{{tag}}}:r:r1"], [value["now"], [limit], [request]]


def run(client: redis.Redis, script: scripts.Script, keys: list[str], argument: Any) -> Any:
    packed = argument if isinstance(argument, bytes) else msgspec.msgpack.encode(argument)
    return client.eval(script.source, len(keys), *keys, packed)


def test_an_honest_request_is_admitted(client: redis.Redis, tag: str) -> None:
    keys, argument = reserve(tag)
    assert msgspec.msgpack.decode(run(client, scripts.RESERVE, keys, argument))[0][0] == 1


@pytest.mark.parametrize("lie", NOT_WHOLE, ids=repr)
@pytest.mark.parametrize(
    "field",
    [
        "now",
        "key",
        "units",
        "tau",
        "tau_rem",
        "record",
        "shape",
        "lifetime",
        "wait",
        "limit",
        "a",
        "b",
        "kind",
    ],
)
def test_what_is_not_a_whole_number_is_refused(
    client: redis.Redis, tag: str, field: str, lie: object
) -> None:
    keys, argument = reserve(tag, **{field: lie})
    with pytest.raises(redis.ResponseError):
        run(client, scripts.RESERVE, keys, argument)
    assert client.exists(*keys) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"rate": "1000"}, {"rate": "-1/1"}, {"rate": "1/1:9"}, {"rate": 7}, {"id": "a b"}, {"id": "{x}"},
        {"id": "x" * 65}, {"id": ""}, {"id": 5}, {"key": 3}, {"record": 9}, {"limit": 2}, {"kind": 4},
        {"lifetime": 0}, {"a": 2**52 + 1}, {"wait": 2**53 - 1},
    ],
    ids=repr,
)  # fmt: skip
def test_what_points_nowhere_or_is_malformed_is_refused(
    client: redis.Redis, tag: str, change: dict[str, Any]
) -> None:
    keys, argument = reserve(tag, **change)
    with pytest.raises(redis.ResponseError):
        run(client, scripts.RESERVE, keys, argument)
    assert client.exists(*keys) == 0


@pytest.mark.parametrize("garbage", [b"", b"\xc1", b"\x93", b"7", b"\xff" * 40], ids=repr)
@pytest.mark.parametrize(
    "script",
    [scripts.RESERVE, scripts.PEEK, scripts.SETTLE, scripts.AT_MOST, scripts.RENEW, scripts.COMMIT],
    ids=lambda script: script.name,
)
def test_garbage_is_refused(client: redis.Redis, tag: str, script: scripts.Script, garbage: bytes) -> None:
    keys = [f"{{{tag}}}:q", f"{{{tag}}}:r:r1"]
    with pytest.raises(redis.ResponseError):
        run(client, script, keys, garbage)
    assert client.exists(*keys) == 0


def test_a_refund_above_the_reservation_is_refused(client: redis.Redis, tag: str) -> None:
    keys, argument = reserve(tag)
    run(client, scripts.RESERVE, keys, argument)
    before = client.get(keys[0])
    settlement = ["r1", 2, 7, 0, [1, 2_000, 0, 1]]
    with pytest.raises(redis.ResponseError, match="exceeds"):
        run(client, scripts.SETTLE, keys, [1_000_000, argument[1], [settlement]])
    assert client.get(keys[0]) == before


def test_every_key_a_script_leaves_behind_expires(client: redis.Redis, tag: str) -> None:
    keys, argument = reserve(tag)
    run(client, scripts.RESERVE, keys, argument)
    assert 0 < client.pttl(keys[0]) <= 61_001
    assert 0 < client.pttl(keys[1]) <= 1_000
