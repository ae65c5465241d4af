"""One call to the same local provider: Mesh, bare transports, SDKs and gateways."""

from __future__ import annotations

from collections.abc import Sequence

from mesh_plugins.testing.playground import Playground
from suite import services
from suite.book import Page
from suite.contenders import Ground, contenders
from suite.rounds import Found, Row, measure
from suite.stage import Stage

#: What a governed call is bound by, far above what is called.
LIMITS = tuple(f"9000M {what}/hour" for what in ("requests", "input tokens", "output tokens", "tokens"))
CALLERS = (1, 32)


def run(page: Page, stage: Stage) -> None:
    """Measure everybody with one caller and with many."""
    with Playground(limits=LIMITS) as playground, services.upstream() as url, services.valkey() as redis_url:
        playground.admin.update_provider("east", base_url=url)
        ground = Ground(url, redis_url, stage.environments)
        everybody = [
            one
            for at, one in enumerate(contenders(ground))
            if not at or stage.only.lower() in one.name.lower()
        ]
        found = measure(
            everybody,
            ground,
            stage.foreign,
            callers=CALLERS,
            rounds=stage.rounds,
            seconds=stage.seconds,
            say=stage.say,
        )
    tell(page, found)


def table_of(callers: float) -> str:
    """Name the table of so many callers."""
    return "Calls, one caller" if callers == 1 else f"Calls, {callers:g} callers"


def tell(page: Page, found: Found) -> None:
    """Note what `measure` found; ratios are medians of the rounds' own ratios to the floor."""
    page.book.missing |= found.missing
    page.book.versions |= found.versions
    for callers in CALLERS:
        rows = [row for row in found.rows if row.callers == callers]
        for row in rows:
            _tell_row(page, row, rows)


def _tell_row(page: Page, row: Row, rows: Sequence[Row]) -> None:
    table, floor = table_of(row.callers), rows[0]
    share = [ours / theirs for ours, theirs in zip(row.rounds, floor.rounds, strict=True)]
    added = [(ours - theirs) / 1000 for ours, theirs in zip(row.p50s_us, floor.p50s_us, strict=True)]
    page.tell(table, row.contender, "of the floor's calls/s", "x", share)
    page.tell(table, row.contender, "added", "ms", added)
    page.tell(table, row.contender, "calls/s", "/s", row.rounds)
    page.tell(table, row.contender, "p50", "us", row.p50s_us)
    page.tell(table, row.contender, "p99", "us", row.p99s_us)
    page.tell(table, row.contender, "caller's CPU a call", "us", row.cpus_us)
    page.tell(table, row.contender, "caller's memory", "MiB", row.rss_mb)
    page.tell(table, row.contender, "others' share of the machine", "%", row.foreign * 100)
