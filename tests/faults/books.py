"""What must be true of a team once everybody has ended, whatever happened on the way.

Read where it is kept: facts and ledger in Postgres, limits in Redis, requests at the provider.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import redis

#: Outcomes of attempts; a refused call asked nobody.
REFUSED = "denied"
#: A slot that nobody renews is free after this long at the latest.
LEASE_S = 150


def money_is_exact(world: Any, unsent: int = 0) -> int:
    """The ledger holds what the facts cost, Redis what the ledger holds, and nothing is open there.

    Args:
        world: whose money.
        unsent: calls that may have died after they were granted and before they were written down: what they
            took of a budget stays taken. Nothing was sent for them, so there is no fact of them either.

    Returns:
        How many of those there were.
    """
    cost = sum(row["cost_pico_usd"] for row in world.rows("e.cost_pico_usd") if row["cost_pico_usd"])
    [row] = world.query(
        "SELECT w.key, w.spent_pico_usd FROM budget_windows w JOIN teams t ON w.key LIKE '{' || t.id || '}%' "
        "WHERE t.name = $1",
        world.team,
    )
    assert row["spent_pico_usd"] == cost > 0
    with redis.Redis.from_url(world.engines.redis_url, decode_responses=True) as client:
        [window] = client.keys(f"{row['key']}:w:*".replace("{", "[{]"))
        found = client.hgetall(window)
    assert _pico(found["committed"]) == cost
    left = {name.removeprefix("r:"): amount for name, amount in found.items() if name.startswith("r:")}
    told = {row["reservation_id"]: row["outcome"] for row in world.rows("e.reservation_id, e.outcome")}
    assert not {told[name]: amount for name, amount in left.items() if name in told}, "settled, and open"
    assert len(left) <= unsent, f"reserved by nobody: {left}"
    assert sum(map(_pico, left.values())) == _pico(found["open"])
    assert nothing_is_held(world, LEASE_S if unsent else 0), "slots that nobody gave back"
    return len(left)


def nothing_is_held(world: Any, wait_s: float = 0) -> bool:
    """Whether every slot of a team is free, at the latest in so many seconds; by the server's clock."""
    [team] = world.query("SELECT id::text FROM teams WHERE name = $1", world.team)
    until = time.monotonic() + wait_s
    with redis.Redis.from_url(world.engines.redis_url) as client:
        while held := _held(client, team["id"]):
            if time.monotonic() >= until:
                break
            time.sleep(0.5)
    return held == 0


def each_call_is_one_call(world: Any) -> Counter[str]:
    """Every attempt has one fact and every call one ending; returns how calls ended, by outcome."""
    rows = world.rows("e.call_id::text, e.attempt, e.outcome")
    attempts = Counter((row["call_id"], row["attempt"]) for row in rows)
    assert not [twice for twice, count in attempts.items() if count > 1]
    last = {row["call_id"]: row["outcome"] for row in sorted(rows, key=lambda row: row["attempt"])}
    return Counter(last.values())


def all_that_was_sent_is_told(world: Any, sent: Counter[str]) -> None:
    """No request reached the provider without a fact; ``sent`` counts requests by their end user."""
    told = Counter(
        row["end_user"] for row in world.rows("e.end_user, e.outcome") if row["outcome"] != REFUSED
    )
    untold = {name: count - told[name] for name, count in sent.items() if count > told[name]}
    assert not untold, f"requests without a fact: {untold}"


def sums_are_those_of_the_rows(world: Any) -> None:
    """Rollups of every grain add up to the rows; a refused call is counted there, and is no attempt."""
    spent = "sum(e.input_tokens), sum(e.output_tokens), sum(e.cost_pico_usd)"
    attempts = f"count(*) FILTER (WHERE e.outcome <> '{REFUSED}')"
    rows = _sums(world, f"{attempts}, {spent}", "usage_events e")
    rolled = f"sum(e.attempts), {spent}"
    for grain in ("minute", "hour", "day", "team hour", "team day"):
        sums = _sums(world, rolled, "usage_rollups e", f" AND e.grain = '{grain}'")
        assert sums == rows, f"{grain} holds {sums}, the rows {rows}"


def _sums(world: Any, figures: str, table: str, more: str = "") -> tuple[Any, ...]:
    [row] = world.query(
        f"SELECT {figures} FROM {table} JOIN teams t ON t.id::text = e.team_id::text WHERE t.name = $1{more}",
        world.team,
    )
    return tuple(row)


def _held(client: Any, team_id: str) -> int:
    seconds, micros = client.time()
    slots = [key for key in client.keys(f"[{{]{team_id}}}:q:*") if client.type(key) == b"zset"]
    return sum(client.zcount(key, f"({seconds * 1_000_000 + micros}", "+inf") for key in slots)


def _pico(amount: str) -> int:
    micro, pico = map(int, amount.split(":"))
    return micro * 1_000_000 + pico
