"""Tables of usage as people read them: without a price is not free, days are days, figures stand right."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from mesh_plugins.cli.report_page import page
from mesh_plugins.usage import SHOWN, Usage, cell

DAY = datetime(2026, 11, 1, tzinfo=UTC)


def row(cost: str, unpriced: int, **labels: Any) -> dict[str, Any]:
    figures = dict.fromkeys(SHOWN, 1_234) | {"latency_p50_ms": 1.25, "latency_p95_ms": None}
    return figures | {"cost_usd": Decimal(cost), "unpriced": unpriced} | labels


ROWS = [
    row("0", 3, day=DAY, model="own-model"),
    row("0.5", 2, day=DAY, model="both"),
    row("0", 0, day=DAY, model="granted"),
]


@pytest.mark.parametrize("written", [repr, Usage._repr_html_])
def test_a_notebook_names_what_has_no_price(written: Any) -> None:
    said = re.sub(r"<[^>]+>", "  ", written(Usage(("day", "model"), ROWS)))
    costs = (r"\sunpriced", r"\$0\.5000 \+ 2 unpriced", r"\$0\s")
    wanted = [f"{re.escape(each['model'])}.*?{cost}" for each, cost in zip(ROWS, costs, strict=True)]
    assert re.search(".*?".join(wanted), said, re.DOTALL)
    assert said.count("unpriced") == 2
    assert "2026-11-01 " in said
    assert "00:00" not in said


def test_figures_stand_right_and_labels_left_wherever_the_table_is_shown() -> None:
    html = Usage(("day", "model"), ROWS)._repr_html_()
    left, right = (
        re.findall(rf'<td style="text-align: {side}[^>]*>([^<]*)', html) for side in ("left", "right")
    )
    assert left == [text for each in ROWS for text in ("2026-11-01", each["model"])]
    assert len(right) == len(SHOWN) * len(ROWS)


def test_a_month_names_what_has_no_price_and_draws_none_of_it() -> None:
    labels = {"alias": "fast", "provider": "p", "user": "ada", "key": "k"}
    rows = [each | labels for each in ROWS]
    html = page("research", DAY, [[row("0.5", 5)], rows, rows, rows, rows])
    cells = re.findall(r'<td class="number">([^<]*)</td>', html)
    assert cells.count("unpriced") == cells.count("$0.5000 + 2 unpriced") == cells.count("$0") == 4
    drawn = html[html.index("USD by model") : html.index("<h2>Models")]
    assert "both" in drawn
    assert "own-model" not in drawn


def test_a_moment_is_told_to_the_minute_and_a_day_as_a_day() -> None:
    assert cell({"hour": DAY}, "hour") == "2026-11-01 00:00"
    assert cell({"day": DAY}, "day") == "2026-11-01"
