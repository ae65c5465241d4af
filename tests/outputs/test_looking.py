"""What an operator sees: usage by time, as CSV and as a line; calls as they end; a month; and pruning."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mesh_plugins.cli.printing import csv_text
from mesh_plugins.cli.report import month_span
from mesh_plugins.cli.sparklines import sparkline
from mesh_store.model.facts import Settlement
from mesh_store.model.ids import now_us
from mesh_store.model.limits import Charge, Limit, Reservation
from mesh_store.telemetry import spending

HOUR_US = 3_600_000_000


def test_usage_may_end_before_now_and_be_printed_as_csv(place: Any) -> None:
    place.send(place.fact(), place.fact(started_at_us=now_us() - 3 * HOUR_US, alias="slow"))
    only = ("usage", "--team", place.team, "--by", "alias")
    assert len(place.json(*only, "--flush")) == 2
    assert [row["alias"] for row in place.json(*only, "--until", "1h")] == ["slow"]
    assert [row["alias"] for row in place.json(*only, "--since", "1h")] == ["fast"]
    rows = list(csv.DictReader(io.StringIO(place(*only, "--csv"))))
    assert {(row["alias"], row["calls"], row["cost_usd"]) for row in rows} == {
        ("fast", "1", "0.00065"),
        ("slow", "1", "0.00065"),
    }


def test_a_name_that_a_spreadsheet_would_run_is_only_text() -> None:
    assert csv_text([{"alias": "=1+1", "calls": -1}], ["alias", "calls"]) == "alias,calls\n'=1+1,-1\n"


def test_a_sparkline_shows_when_calls_were_made(place: Any) -> None:
    facts = [place.fact() for _ in range(4)] + [place.fact(started_at_us=now_us() - HOUR_US)]
    place.send(*facts)
    (row,) = place.json("usage", "--team", place.team, "--since", "2h", "--sparkline", "--flush")
    assert len(row["trend"]) == 30
    assert row["trend"].endswith("█")
    assert row["trend"].strip().startswith("▂")
    assert sparkline([0, 1, 4, 8]) == " ▁▄█"


def test_keys_are_listed_with_when_they_last_called(place: Any) -> None:
    made = [place.json("key", "create", "--team", place.team)["id"] for _ in range(2)]
    at = now_us() - 3 * HOUR_US
    place.send(*[place.fact(key_id=made[0], started_at_us=at - ago) for ago in (HOUR_US, 0, 60_000_000)])
    place("usage", "--flush")
    listed = {row["id"]: row["last_used"] for row in place.json("key", "list", "--team", place.team)}
    assert round(datetime.fromisoformat(listed[made[0]]).timestamp() * 1e6) == at
    assert listed[made[1]] is None


def test_models_without_a_price_are_listed_with_their_counts(place: Any) -> None:
    unknown = {"cost_pico_usd": None, "request_model": "own-model"}
    place.send(place.fact(), place.fact(**unknown), place.fact(**unknown))
    (row,) = place.json("usage", "--unpriced", "--team", place.team, "--flush")
    assert (row["model"], row["unpriced"], row["calls"]) == ("own-model", 2, 2)
    assert place.run("usage", "--unpriced", "--by", "team", code=1).stderr.startswith("mesh: --unpriced")


def test_calls_without_a_price_are_never_shown_as_free(place: Any) -> None:
    unknown = {"cost_pico_usd": None, "request_model": "own-model"}
    place.send(place.fact(), place.fact(**unknown), place.fact(**unknown))
    shown = place("usage", "--team", place.team, "--by", "model", "--flush")
    (line,) = [line for line in shown.splitlines() if "own-model" in line]
    assert "unpriced" in line
    assert line.split()[-3] == "unpriced"
    assert "0.00065 + 2 unpriced" in place("usage", "--team", place.team)


def test_what_is_flushed_is_told_to_the_server_that_holds_the_budgets(place: Any) -> None:
    """With two servers, the ledger's sums belong where budgets are decided, not where facts pass."""
    limit = Limit(amount=10**12, period_us=86_400_000_000, kind="window", tz="UTC")
    key = f"{{{place.team_id}}}:q:018f0000-0000-7000-8000-00000000beef"
    fact = place.fact()
    reservation = Reservation(fact.call_id, (Charge(key, limit, 5),), now_us(), now_us() + HOUR_US)
    spent = spending.spending_of(Settlement(reservation, (7,)), fact.id)
    assert spent is not None
    place.send(fact, money=spending.encode([spent]))
    place.json("usage", "--flush")
    import redis

    limits = redis.Redis.from_url(place.engines.redis_url)
    facts = redis.Redis.from_url(place.facts_url)
    (window,) = limits.keys(f"{key}:w:*")
    assert str(limits.hget(window, "committed")).endswith(":7'")
    assert facts.keys(f"{key}:w:*") == []
    limits.close()
    facts.close()


@pytest.mark.parametrize("only", [(), ("--errors",)], ids=["all", "errors"])
def test_tail_prints_a_call_when_it_ends_and_takes_nothing_away(place: Any, only: tuple[str, ...]) -> None:
    command = [
        sys.executable,
        "-m",
        "mesh_plugins.cli",
        "tail",
        "--team",
        place.team,
        "--count",
        "2",
        "--json",
        *only,
    ]
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=place.environment
    )
    assert running.stderr is not None
    assert running.stderr.readline() == "waiting for calls\n"
    others, how = place.fact(team_id="018f0000-0000-7000-8000-0000000000ff"), "timeout" if only else "ok"
    place.send(others, *([place.fact()] if only else []), place.fact(outcome=how), place.fact(outcome=how))
    out, complaints = running.communicate(timeout=240)
    assert (running.returncode, complaints) == (0, "")
    said = [json.loads(line) for line in out.splitlines()]
    assert [(one["team"], one["alias"], one["input_tokens"], one["outcome"]) for one in said] == [
        (place.team, "fast", 1000, how)
    ] * 2
    assert place.json("usage", "--team", place.team, "--flush")[0]["calls"] == 2 + bool(only)


def test_a_month_is_reported_with_plots_and_asks_nobody_for_anything(place: Any) -> None:
    now = datetime.now(UTC)
    at = {"started_at_us": round(now.timestamp() * 1e6)}
    odd = place.fact(request_model="<b>odd</b>", cost_pico_usd=None, **at)
    place.send(*[place.fact(**at) for _ in range(3)], odd)
    place("usage", "--flush")
    month = ("report", "month", "--team", place.team, "--month", f"{now:%Y-%m}")
    html = place(*month)
    assert f"<h1>{place.team}, {now:%B %Y}</h1>" in html
    assert "4 calls, 0 errors, $0.0020." in html
    assert html.count("<svg") == 2
    assert "1 calls used a model without a price" in html
    assert "<b>odd" not in html
    assert "<script" not in html
    loaded = re.findall(r"""(?:src|href)=["']?(https?://[^"'> ]+)|@import|url\((?!#)""", html)
    assert loaded == []
    rows = list(csv.DictReader(io.StringIO(place(*month, "--format", "csv"))))
    assert sum(int(row["calls"]) for row in rows) == 4
    empty = place("report", "month", "--team", place.team, "--month", "2020-02")
    assert "0 calls" in empty
    assert "<svg" not in empty


def first(year: int, month: int) -> datetime:
    return datetime(year, month, 1, tzinfo=UTC)


@pytest.mark.parametrize(("year", "month"), [(2024, 2), (2025, 2), (2025, 4), (2025, 12)])
def test_without_a_month_it_is_this_one_from_its_first_moment_to_its_last(year: int, month: int) -> None:
    span = first(year, month), first(year + month // 12, month % 12 + 1)
    assert month_span(None, span[0]) == span
    assert month_span(None, span[1] - timedelta(microseconds=1)) == span
    assert month_span(None, span[1])[0] == span[1]


def test_the_days_of_a_month_are_its_own_and_a_report_can_go_to_a_file(place: Any, tmp_path: Any) -> None:
    today = datetime.now(UTC)
    assert month_span("2024-02", today) == (first(2024, 2), first(2024, 3))
    assert month_span("2024-12", today) == (first(2024, 12), first(2025, 1))
    at = {"started_at_us": round(today.timestamp() * 1e6)}
    place.send(place.fact(**at), place.fact(team_id="018f0000-0000-7000-8000-0000000000ff", **at))
    place("usage", "--flush")
    output = tmp_path / "month.csv"
    month = ("report", "month", "--team", place.team, "--month", f"{today:%Y-%m}")
    place(*month, "--format", "csv", "--output", str(output))
    (row,) = csv.DictReader(io.StringIO(output.read_text("utf-8")))
    assert list(row)[:6] == ["day", "user", "key", "alias", "provider", "model"]
    assert (row["day"][:10], row["user"], row["key"]) == (f"{today:%Y-%m-%d}", "", "abcdefgh")
    assert (row["alias"], row["provider"], row["model"]) == ("fast", "openai", "gpt-5-mini")
    assert (row["calls"], row["input_tokens"], row["output_tokens"]) == ("1", "1000", "200")


def test_sums_are_counted_anew_from_the_command_line(place: Any) -> None:
    place.send(place.fact(outcome="timeout"))
    place("usage", "--flush")
    place.query("UPDATE usage_rollups SET errors = 0 WHERE team_id = $1", place.team_id)
    assert place.json("usage", "--team", place.team)[0]["errors"] == 0
    assert place.json("telemetry", "recount")["corrected"] == 5
    assert place.json("usage", "--team", place.team)[0]["errors"] == 1
    assert place("telemetry", "recount").startswith("0 sums are corrected")


@pytest.mark.parametrize("words", ["2026-13", "soon", "2026"])
def test_a_month_that_is_none_is_refused(place: Any, words: str) -> None:
    said = place.run("report", "month", "--team", place.team, "--month", words, code=1).stderr
    assert "is not a month" in said


def test_pruning_drops_whole_days_and_keeps_the_sums_of_days(place: Any) -> None:
    old = datetime.now(UTC) - timedelta(days=5)
    minted = f"{round(old.timestamp() * 1000):012x}"
    identifier = f"{minted[:8]}-{minted[8:]}-7000-8000-{place.team_id[-12:]}"
    place.send(place.fact(id=identifier, started_at_us=round(old.timestamp() * 1e6)), place.fact())
    place("usage", "--flush")
    prune = ("telemetry", "prune", "--keep-days", "3", "--keep-minute-days", "3")
    would = place.json(*prune, "--dry-run")
    assert old.date().isoformat() in would["days"]
    assert would["minute_rows"] >= 1
    mine = "SELECT count(*) FROM usage_events WHERE team_id = $1"
    assert place.query(mine, place.team_id)[0][0] == 2
    assert place.json(*prune) == would | {"dry_run": False}
    assert place.query(mine, place.team_id)[0][0] == 1
    days = place.json("usage", "--team", place.team, "--by", "day")
    assert sum(row["calls"] for row in days) == 2
    place.send(place.fact(id=identifier, started_at_us=round(old.timestamp() * 1e6)))
    place("usage", "--flush")
    assert sum(row["calls"] for row in place.json("usage", "--team", place.team, "--by", "day")) == 2


def test_re_pricing_from_the_command_line_ends_where_it_is_told(place: Any) -> None:
    name = f"{place.team}-p"
    place("provider", "create", name, "--base-url", "http://127.0.0.1:9/v1")
    provider_id = place.admin(lambda admin: admin.get_provider(name)).id
    facts = {"provider_id": provider_id, "provider": name, "request_model": "m", "cost_pico_usd": None}
    place.send(place.fact(**facts), place.fact(**facts, started_at_us=now_us() - 3 * HOUR_US))
    place("usage", "--flush")
    place("price", "set", name, "m", "--input", "1", "--output", "2", "--from", "2d")
    only = ("price", "reprice", "--since", "1d", "--provider", name)
    assert place.json(*only, "--until", "1h")["looked_at"] == 1
    assert place.json("usage", "--team", place.team)[0]["unpriced"] == 1
    assert place.json(*only)["adjusted"] == 1


def test_prices_are_set_shown_and_applied_backwards_from_the_command_line(place: Any) -> None:
    name = f"{place.team}-p"
    place("provider", "create", name, "--base-url", "http://127.0.0.1:9/v1")
    provider_id = place.admin(lambda admin: admin.get_provider(name)).id
    facts = {"provider_id": provider_id, "provider": name, "request_model": "m", "cost_pico_usd": None}
    place.send(place.fact(**facts))
    place("usage", "--flush")
    rates = ("price", "set", name, "m", "--input", "1", "--output", "2")
    assert "from" in place(*rates, "--from", "2d")
    place(*rates[:4], "--input", "2", "--output", "4", "--above", "200000")
    place(*rates[:4], "--input", "0.5", "--output", "1", "--service", "batch")
    shown = place.json("price", "show", name, "m")
    assert [(row["for"], row["input"]) for row in shown] == [
        ("calls", 1.0),
        ("calls above 200,000 tokens", 2.0),
        ("batch calls", 0.5),
    ]
    assert place("price", "show", name, "m", "--at", "2020-01-01") == f"{name}/m has no price\n"
    assert len(place.json("price", "history", name, "m")) == 4
    only = ("price", "reprice", "--since", "1d", "--provider", name)
    assert place.json(*only, "--dry-run")["adjusted"] == 1
    assert place.json(*only)["difference_usd"] == 0.0014
    assert place.json(*only)["adjusted"] == 0
    assert place.json("usage", "--team", place.team)[0]["cost_usd"] == 0.0014
