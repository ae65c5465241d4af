"""Sums are those of the rows they are made of, for any facts, in any order, over any span."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mesh_store.model.facts import Fact
from mesh_store.model.ids import new_id, now_us
from mesh_store.postgres.database import Database
from mesh_store.postgres.usage import last_used, usage_report
from mesh_store.postgres.usage_latency import percentile
from mesh_store.postgres.usage_retention import prune
from mesh_store.redis.stream import Batch
from mesh_store.telemetry.fact_store import FactStore
from tests.blank_fact import BLANK
from tests.engines import Cluster

_numbers = itertools.count(1)
HOUR_US = 3_600_000_000
OUTCOMES = ("ok", "error", "incomplete", "cancelled", "abandoned", "denied", "lost", "timeout")
DIMENSIONS = ("key_id", "alias", "provider", "request_model")

facts = st.lists(
    st.fixed_dictionaries(
        {
            # Late by up to three days: before midnights and full hours, and on them.
            "late_us": st.one_of(st.integers(0, 72 * HOUR_US), st.integers(0, 72).map(HOUR_US.__mul__)),
            "duration_us": st.one_of(st.integers(0, 3_000), st.integers(0, 10**9)),
            "ttft_us": st.one_of(st.none(), st.integers(0, 10**6)),
            "outcome": st.sampled_from(OUTCOMES),
            "attempt": st.integers(0, 3),
            "key_id": st.sampled_from(("abcdefgh", "ijklmnop")),
            "user_id": st.sampled_from((None, "u1")),
            "alias": st.sampled_from(("fast", "slow")),
            "provider": st.sampled_from((None, "openai")),
            "request_model": st.sampled_from((None, "a", "b")),
            "input_tokens": st.integers(0, 5),
            "output_tokens": st.integers(0, 5),
            "cache_read_tokens": st.integers(0, 5),
            "cache_write_tokens": st.integers(0, 5),
            "reasoning_tokens": st.integers(0, 5),
            "audio_input_tokens": st.integers(0, 5),
            "audio_output_tokens": st.integers(0, 5),
            "flags": st.sampled_from(((), ("odd",), ("odd", "shadow_denied"))),
            "estimated": st.booleans(),
            "cost_pico_usd": st.one_of(st.none(), st.integers(0, 10**13)),
        }
    ),
    min_size=1,
    max_size=12,
)
#: A moment of the span, as hours and minutes before now; None is no bound.
moments = st.one_of(st.none(), st.integers(0, 80 * 60), st.integers(0, 80).map((60).__mul__))


class Books:
    """Facts as they were sent, and what re-pricing changed, to add up by hand."""

    def __init__(self, url: str, given: list[dict[str, Any]]) -> None:
        self.url = url
        self.team = f"team-{next(_numbers)}"
        self.now = now_us()
        self.facts = [self.fact(**fields) for fields in given]
        self.adjusted: dict[str, tuple[int, bool]] = {}

    def fact(self, late_us: int, **fields: Any) -> Fact:
        start = (self.now // HOUR_US + 1) * HOUR_US - HOUR_US - late_us if late_us % HOUR_US == 0 else None
        return Fact(
            id=new_id(),
            call_id=new_id(),
            started_at_us=self.now - late_us if start is None else start,
            operation="chat",
            host="direct",
            team_id=self.team,
            revision=1,
            **BLANK | fields,
        )

    async def send(self, repeats: list[int]) -> None:
        """Store the facts in two transactions, some of them again in the second."""
        middle = len(self.facts) // 2
        again = [self.facts[number % len(self.facts)] for number in repeats]
        store = await FactStore.open(self.url)
        for part in (self.facts[:middle] + again, self.facts[middle:] + again):
            await store.store([Batch("r", 1, 0, 1, len(part), msgspec.msgpack.encode(part))])
        await store.close()

    async def adjust(self, differences: dict[int, int]) -> None:
        """Re-price some facts."""
        connection = await asyncpg.connect(self.url)
        for number, difference in differences.items():
            fact = self.facts[number % len(self.facts)]
            if fact.id in self.adjusted:
                continue
            newly = fact.cost_pico_usd is None and fact.input_tokens + fact.output_tokens > 0
            self.adjusted[fact.id] = (difference, newly)
            await connection.execute(
                "INSERT INTO adjustments (fact_id, started_at, team_id, user_id, key_id, alias, provider,"
                " model, cost_pico_usd, priced, reason, actor) SELECT id, started_at, team_id,"
                " coalesce(user_id, ''), key_id, alias, coalesce(provider, ''), coalesce(request_model, ''),"
                " $2, $3, '', 'test' FROM usage_events WHERE id = $1",
                fact.id,
                difference,
                newly,
            )
        await self.check_sums_of_adjustments(connection)
        await connection.close()

    async def check_sums_of_adjustments(self, connection: Any) -> None:
        """What re-pricing changed is summed by every grain."""
        changed = self.adjusted.values()
        expected = (sum(difference for difference, _ in changed), sum(newly for _, newly in changed))
        for grain in ("minute", "hour", "day", "team hour", "team day"):
            row = await connection.fetchrow(
                "SELECT coalesce(sum(cost_pico_usd), 0), coalesce(sum(newly_priced), 0)"
                " FROM adjustment_rollups WHERE grain = $1 AND team_id = $2",
                grain,
                self.team,
            )
            assert tuple(row) == expected

    def expected(self, since: datetime | None, until: datetime | None, by: list[str]) -> dict[Any, Any]:
        rows: dict[Any, Any] = defaultdict(lambda: defaultdict(int))
        for fact in self.facts:
            at = datetime.fromtimestamp(fact.started_at_us // 60_000_000 * 60, UTC)
            if (since is None or at >= since) and (until is None or at < until):
                times = {"minute": at, "hour": at.replace(minute=0), "day": at.replace(hour=0, minute=0)}
                label = tuple(times.get(name) or self.label(fact, name) for name in by)
                self.add(rows[label], fact)
        return rows

    @staticmethod
    def label(fact: Fact, name: str) -> Any:
        field = {"key": "key_id", "model": "request_model", "user": "user_id", "team": "team_id"}
        return getattr(fact, field.get(name, name))

    def add(self, row: Any, fact: Fact) -> None:
        difference, newly = self.adjusted.get(fact.id, (0, False))
        asked, took = fact.outcome != "denied", fact.input_tokens + fact.output_tokens > 0
        row["calls"] += asked and fact.attempt <= 1
        row["attempts"] += asked
        row["duration_us"] += fact.duration_us
        row["denied"] += not asked
        row["errors"] += fact.outcome in ("error", "incomplete", "timeout")
        row["cancelled"] += fact.outcome in ("cancelled", "abandoned")
        row["lost"] += fact.outcome == "lost"
        row["estimated"] += fact.estimated
        row["unpriced"] += (fact.cost_pico_usd is None and took) - newly
        row["shadow_denied"] += fact.attempt <= 1 and "shadow_denied" in fact.flags
        for name in TOKENS:
            row[name] += getattr(fact, name)
        row["cost_usd"] += (Decimal(fact.cost_pico_usd or 0) + difference) / 10**12
        if asked:
            row.setdefault("latency", [0] * 20)[bucket(fact.duration_us)] += 1
        if fact.ttft_us is not None:
            row.setdefault("ttft", [0] * 20)[bucket(fact.ttft_us)] += 1


def bucket(us: int) -> int:
    return min(19, (us // 1000).bit_length())


TOKENS = (
    *("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"),
    *("audio_input_tokens", "audio_output_tokens"),
)
COUNTED = (
    *("calls", "attempts", "denied", "errors", "cancelled", "lost", "estimated", "unpriced", "cost_usd"),
    *("shadow_denied", *TOKENS),
)


async def check(books: Books, since: datetime | None, until: datetime | None, by: list[str]) -> None:
    async with Database(books.url) as database:
        found = await usage_report(database, by, since, until, team=books.team)  # type: ignore[arg-type]
    expected = books.expected(since, until, by)
    if not by and not expected:
        expected[()] = defaultdict(int)
    assert {tuple(row[name] for name in by) for row in found} == set(expected)
    moments = [[row[name] for name in by if name in ("minute", "hour", "day")] for row in found]
    assert moments == sorted(moments)
    if not any(moments):
        dearest = [(row["cost_usd"], row["calls"]) for row in found]
        assert dearest == sorted(dearest, reverse=True)
    for row in found:
        sums = expected[tuple(row[name] for name in by)]
        mean = sums["duration_us"] / sums["attempts"] / 1000 if sums["attempts"] else None
        assert row["mean_latency_ms"] == (None if mean is None else round(mean, 3))
        assert {name: row[name] for name in COUNTED} == {name: sums[name] for name in COUNTED}
        for label, name, share in (
            ("latency_p50_ms", "latency", 0.5),
            ("latency_p95_ms", "latency", 0.95),
            ("ttft_p50_ms", "ttft", 0.5),
            ("latency_p99_ms", "latency", 0.99),
            ("ttft_p95_ms", "ttft", 0.95),
        ):
            assert row[label] == percentile(sums.get(name, []), share)


@pytest.fixture(scope="module")
def rolling_url(postgres_cluster: Cluster) -> str:
    """A database of this module's own, whose days reach back far enough."""
    return postgres_cluster.dsn(postgres_cluster.made())


def law(examples: int) -> Any:
    return settings(
        max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )


def obey(rolling_url: str, sent: Any, repeats: Any, adjusted: Any, spans: list[Any], by: list[str]) -> None:
    async def run() -> None:
        books = Books(rolling_url, sent)
        await books.send(repeats)
        await books.adjust(adjusted)
        now = datetime.fromtimestamp(books.now // 60_000_000 * 60, UTC)
        for span in spans:
            since, until = (None if ago is None else now - timedelta(minutes=ago) for ago in span)
            await check(books, since, until, by)

    asyncio.run(run())


ARGUMENTS = {
    "sent": facts,
    "repeats": st.lists(st.integers(0, 11), max_size=4),
    "adjusted": st.dictionaries(st.integers(0, 11), st.integers(-(10**12), 10**12), max_size=3),
    "spans": st.lists(st.tuples(moments, moments), min_size=4, max_size=4),
    "by": st.lists(
        st.sampled_from(("team", "key", "alias", "provider", "model", "user", "minute", "hour", "day")),
        unique=True,
        max_size=3,
    ),
}


#: One attempt of each outcome, looked at as a whole.
EACH_OUTCOME = [
    {
        "late_us": 1,
        "duration_us": 5_000,
        "ttft_us": None,
        "outcome": outcome,
        "attempt": 1,
        "key_id": "abcdefgh",
        "alias": "fast",
        "input_tokens": 1,
        "cost_pico_usd": 1,
    }
    for outcome in OUTCOMES
]


#: Two attempts with a number of its own in each field, stored in two transactions.
EACH_FIELD = [
    {
        "late_us": 1,
        "duration_us": 5_000,
        "ttft_us": 2_000,
        "outcome": "ok",
        "attempt": attempt,
        "key_id": "abcdefgh",
        "alias": "fast",
        "estimated": True,
        "flags": ("odd", "shadow_denied"),
        "cost_pico_usd": 7,
        **{name: 2**number for number, name in enumerate(TOKENS)},
    }
    for attempt in (1, 2)
]


@example(sent=EACH_OUTCOME, repeats=[1], adjusted={}, spans=[(None, None)], by=["provider", "model", "user"])
@example(sent=EACH_FIELD, repeats=[], adjusted={}, spans=[(None, None)], by=[])
@example(sent=EACH_OUTCOME, repeats=[], adjusted={}, spans=[(None, None)], by=[])
@law(25)
@given(**ARGUMENTS)
def test_a_report_of_any_span_adds_up_what_was_sent(rolling_url: str, **arguments: Any) -> None:
    obey(rolling_url, **arguments)


@pytest.mark.full
@pytest.mark.timeout(3600)
@law(600)
@given(**ARGUMENTS)
def test_a_report_of_any_span_adds_up_what_was_sent_in_full(rolling_url: str, **arguments: Any) -> None:
    obey(rolling_url, **arguments)


@pytest.mark.parametrize(
    "by", [[], ["key"], ["user"], ["alias"], ["key", "model"], ["day"], ["hour", "user"]]
)
async def test_keys_and_users_are_told_apart_where_they_are_asked_for(
    rolling_url: str, by: list[str]
) -> None:
    """Most questions are answered from sums that tell neither apart: these must not be."""
    given = {"attempt": 1, "outcome": "ok", "alias": "fast", "cost_pico_usd": 5, "input_tokens": 3}
    callers = [("abcdefgh", "u1"), ("ijklmnop", "u1"), ("ijklmnop", "u2"), ("ijklmnop", None)]
    books = Books(
        rolling_url,
        [
            given | {"late_us": hours * HOUR_US + 1, "key_id": key, "user_id": user}
            for hours in (0, 30, 60)
            for key, user in callers
        ],
    )
    await books.send([])
    await books.adjust({1: 7, 4: -3, 11: 2})
    now = datetime.fromtimestamp(books.now // 60_000_000 * 60, UTC)
    for since in (None, now - timedelta(hours=50), now - timedelta(hours=62)):
        await check(books, since, None, by)


async def test_a_duration_at_a_bound_is_counted_above_it_in_every_grain(rolling_url: str) -> None:
    given = {"late_us": 1, "attempt": 1, "outcome": "ok", "key_id": "abcdefgh", "alias": "fast"}
    bounds = [1_000 * 2**power for power in range(19)]
    times = [0, *bounds, *(bound - 1 for bound in bounds), 10**9]
    sent = [given | {"duration_us": time, "ttft_us": time // 2} for time in times]
    books = Books(rolling_url, [*sent, given | {"outcome": "denied"}, *sent])
    await books.send([])
    connection = await asyncpg.connect(rolling_url)
    rows = await connection.fetch(
        "SELECT latency, ttft FROM usage_rollups WHERE team_id = $1 ORDER BY grain", books.team
    )
    await connection.close()
    expected = [[0] * 20, [0] * 20]
    for time in times * 2:
        expected[0][bucket(time)] += 1
        expected[1][bucket(time // 2)] += 1
    assert [[row["latency"], row["ttft"]] for row in rows] == [expected] * 5


async def test_when_a_key_last_called_is_its_newest_call_in_whatever_order_they_arrive(
    rolling_url: str,
) -> None:
    given = {"attempt": 1, "outcome": "ok", "key_id": f"last-{next(_numbers)}", "alias": "fast"}
    newest = Books(rolling_url, [given | {"late_us": late} for late in (1, 3, 2, 4)])
    older = Books(rolling_url, [given | {"late_us": 2_000_001}])
    older.team = newest.team
    older.facts = [msgspec.structs.replace(older.facts[0], team_id=newest.team)]
    for books in (newest, older):
        await books.send([])
    async with Database(rolling_url) as database:
        last = (await last_used(database, [given["key_id"]]))[given["key_id"]]
    assert round(last.timestamp() * 1e6) == newest.facts[0].started_at_us


@pytest.mark.parametrize("reader", ["usage_drawn", "usage_of_teams_drawn"])
@pytest.mark.parametrize(("hours", "grain"), [(2, "minute"), (47, "hour"), (71, "day")])
async def test_what_is_drawn_is_whole_bars_of_the_grain_that_suits_the_span(
    rolling_url: str, hours: int, grain: str, reader: str
) -> None:
    ages = [minutes * 60_000_000 + 1 for minutes in (0, 30, 61, 119, 600, 1500, 2819, 4259)]
    given = {"attempt": 1, "outcome": "ok", "key_id": "abcdefgh", "alias": "fast", "cost_pico_usd": 5}
    books = Books(rolling_url, [given | {"late_us": age} for age in ages])
    await books.send([])
    await books.adjust({2: 7, 6: -3})
    until = datetime.fromtimestamp(books.now / 1e6, UTC)
    since = until - timedelta(hours=hours)
    connection = await asyncpg.connect(rolling_url)
    rows = await connection.fetch(
        f"SELECT starts_at, sum(cost_pico_usd) AS pico, sum(calls) AS calls FROM {reader}($1, $2)"
        " WHERE team_id = $3 GROUP BY 1",
        since,
        until,
        books.team,
    )
    await connection.close()
    bars = books.expected(None, None, [grain])
    whole = {"minute": {}, "hour": {"minute": 0}, "day": {"hour": 0, "minute": 0}}[grain]
    first = since.replace(second=0, microsecond=0, **whole)
    expected = {bar: (sums["cost_usd"], sums["calls"]) for (bar,), sums in bars.items() if bar >= first}
    assert {row["starts_at"]: (row["pico"] / 10**12, row["calls"]) for row in rows} == expected


async def test_until_now_is_answered_by_days_and_not_by_todays_minutes(rolling_url: str) -> None:
    """Hours of today were a third of what a month was summed up from."""
    books = Books(rolling_url, [])
    connection = await asyncpg.connect(rolling_url)

    async def grains(until: str, reader: str = "usage_between") -> set[str]:
        rows = await connection.fetch(
            f"SELECT DISTINCT grain FROM {reader}(NULL, {until}) WHERE team_id = $1", books.team
        )
        return {row["grain"] for row in rows}

    books.facts = [books.fact(1, attempt=1, outcome="ok", key_id="abcdefgh", alias="fast")]
    await books.send([])
    assert await grains("now()") == {"day"}
    assert await grains("now()", "usage_of_teams_between") == {"team day"}
    before = datetime.fromtimestamp(books.now // 60_000_000 * 60, UTC)
    assert "day" not in await grains(f"'{before.isoformat()}'")
    await connection.close()


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ([0] * 20, 0.5, None),
        ([4] + [0] * 19, 0.5, 0.5),  # all below 1 ms: half way
        ([0, 0, 0, 10] + [0] * 16, 0.95, 7.8),  # from 4 to 8 ms
        ([0] * 19 + [1], 0.5, 262_144.0),  # above the last bound nothing is known
    ],
)
def test_a_percentile_is_interpolated_in_its_bucket(counts: list[int], share: float, expected: Any) -> None:
    assert percentile(counts, share) == expected


async def test_where_minutes_are_gone_a_span_begins_with_its_day(fresh_url: str) -> None:
    """What is no longer known to the minute is told to the day, by whoever's bound it is."""
    store = await FactStore.open(fresh_url)
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=3)
    books = Books(fresh_url, [])
    for hour in (1, 13, 37):
        at = day + timedelta(hours=hour)
        fact = books.fact(1, attempt=1, outcome="ok", key_id="abcdefgh", alias="fast")
        fact = msgspec.structs.replace(fact, started_at_us=int(at.timestamp() * 1e6))
        await store.store([Batch("r", 1, 0, 1, 1, msgspec.msgpack.encode([fact]))])
    await store.close()
    noon = day + timedelta(hours=12)
    async with Database(fresh_url) as database:

        async def calls(since: Any, until: Any) -> int:
            return int((await usage_report(database, (), since, until))[0]["calls"])

        assert (await calls(noon, None), await calls(None, noon)) == (2, 1)
        later = (day + timedelta(days=1)).date()
        await prune(database, day.date(), later, later)  # sums are kept as long as what they are sums of
        assert (await calls(noon, None), await calls(None, noon)) == (2, 1)
        await prune(database, later, later, later)
        assert (await calls(noon, None), await calls(None, noon)) == (3, 0)
        assert await calls(day + timedelta(hours=36, minutes=30), None) == 1
