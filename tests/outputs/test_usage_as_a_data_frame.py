"""Usage in pandas and polars: types that can be summed and drawn, whatever the rows begin with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd
import polars as pl

from mesh_plugins.usage import SHOWN, Usage

DAY = datetime(2026, 11, 1, tzinfo=UTC)


def usage(count: int, **last: Any) -> Usage:
    """So many rows without a user or a time to the first token, and one with what is given."""
    row = {"day": DAY, "user": None, "calls": 2, "cost_usd": Decimal("0.000000000005"), "ttft_p50_ms": None}
    rows = [row | {"day": DAY + timedelta(days=number)} for number in range(count)]
    return Usage(("day", "user"), [*rows, row | last])


def test_a_pandas_frame_has_numbers_to_plot_and_moments() -> None:
    frame = usage(2, user="ada", cost_usd=Decimal("12.5"), ttft_p50_ms=3.5).to_pandas()
    assert list(frame.columns) == ["day", "user", "calls", "cost_usd", "ttft_p50_ms"]
    assert {"calls", "cost_usd", "ttft_p50_ms"} == set(frame.select_dtypes("number").columns)
    assert isinstance(frame["day"].dtype, pd.DatetimeTZDtype)
    assert frame.groupby("day")["cost_usd"].sum().iloc[0] == 12.5 + 5e-12


def test_a_polars_frame_has_exact_money_however_many_cells_are_empty_before_the_first() -> None:
    frame = usage(500, user="ada", cost_usd=Decimal("1234567890.000000000001"), ttft_p50_ms=3.5).to_polars()
    assert frame.schema["cost_usd"] == pl.Decimal(38, 12)
    assert frame["cost_usd"].sum() == Decimal("1234567890.000000002501")
    assert frame["ttft_p50_ms"].drop_nulls().to_list() == [3.5]
    assert frame["user"].null_count() == 500


def test_without_rows_a_frame_has_the_columns_of_one_with_rows() -> None:
    nothing = Usage(("team",), [])
    for frame in (nothing.to_pandas(), nothing.to_polars()):
        assert list(frame.columns) == ["team", *SHOWN]
        assert len(frame) == 0


def test_a_report_becomes_a_frame_of_either_kind(world: Any) -> None:
    mesh = world.mesh()
    mesh.chat(world.alias(), [{"role": "user", "content": "who are you"}])
    assert mesh.flush(30)
    world.collect()
    report = mesh.usage("team,day")
    pandas, polars = report.to_pandas(), report.to_polars()
    assert pandas[pandas["team"] == world.team]["calls"].tolist() == [1]
    assert polars.filter(pl.col("team") == world.team)["calls"].to_list() == [1]
    assert list(pandas.columns) == polars.columns == list(report[0])
