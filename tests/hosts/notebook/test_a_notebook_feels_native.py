"""The extension in a real IPython shell, over real engines; usage tables under a running loop."""

from __future__ import annotations

import asyncio
import re
from decimal import Decimal

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from mesh_plugins.hosts.notebook.plots import Bars
from mesh_plugins.hosts.notebook.progress import Progress
from mesh_plugins.shared import close_shared_mesh, set_shared_mesh, shared_mesh
from mesh_plugins.testing.memory import MemoryMesh
from mesh_plugins.usage import Usage, shown
from mesh_store.model.errors import ConfigError


@pytest.fixture
def shell(make_world):
    world = make_world(limits=("600 requests/min", "1000 tokens/min"))
    alias = world.alias()
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "mesh_plugins.hosts.notebook")
    shell.user_ns["mesh"] = world.mesh()
    shell.world, shell.alias = world, alias
    yield shell
    InteractiveShell.clear_instance()


def test_a_cell_is_a_prompt_and_its_answer_is_shown_with_what_it_took(shell):
    answer = shell.run_cell_magic("mesh", f"{shell.alias} max_tokens=50", "tell me something")
    assert "tell me something" in str(answer)
    assert "revision" in answer._repr_markdown_()
    assert shell.world.provider.requests[-1].json["max_tokens"] == 50


def test_the_environments_key_says_who_calls(shell, monkeypatch):
    world = shell.world
    del shell.user_ns["mesh"]
    set_shared_mesh(None)
    for name, value in world.environ.items():
        monkeypatch.setenv(name, value)
    try:
        assert shell.run_cell_magic("mesh", f"{shell.alias} max_tokens=50", "hello") is not None
        assert shared_mesh().flush(60)
        monkeypatch.delenv("MESH_KEY")
        close_shared_mesh()
        before = world.provider.count
        with capture_output() as shown_output:
            assert shell.run_cell_magic("mesh", f"{shell.alias} max_tokens=50", "hello") is None
    finally:
        close_shared_mesh()
    assert "MESH_KEY" in shown_output.outputs[0].data["text/plain"]
    assert world.provider.count == before
    world.collect()
    assert [row["key_id"] for row in world.rows("e.key_id::text AS key_id")] == [world.key_id]


def test_quota_shows_what_is_left_without_taking_any(shell):
    first = shell.run_line_magic("mesh", f"quota {shell.alias}")
    again = shell.run_line_magic("mesh", f"quota {shell.alias}")
    assert [row[1] for row in first.rows] == [row[1] for row in again.rows] == ["60 of 60", "1,000 of 1,000"]
    assert "<table>" in first._repr_html_()


def test_money_is_shown_as_money(shell):
    shell.world.limit("$2/day")
    money = next(row for row in shell.run_line_magic("mesh", f"quota {shell.alias}").rows if "$" in row[0])
    assert re.fullmatch(r"\$[\d.]+ of \$2\.00", money[1])
    told = MemoryMesh(limits=["$2/day"]).chat("fast", [])
    assert told.mesh.remaining == {"team team: $2/day": Decimal(2)}


def test_a_batch_says_how_far_it_is_in_one_place(shell):
    with capture_output() as shown_output:
        bar = Progress(3)
        shell.user_ns["mesh"].map(shell.alias, ["one", "two", "three"], progress=bar)
    assert repr(bar) == "3 of 3"
    assert [output.data["text/plain"] for output in shown_output.outputs] == ["1 of 3", "2 of 3", "3 of 3"]
    assert 'value="3" max="3"' in shown_output.outputs[-1].data["text/html"]
    assert [output.update for output in shown_output.outputs] == [False, True, True]


def test_a_refusal_is_told_in_a_table_and_not_as_a_traceback(shell):
    with capture_output() as shown_output:
        result = shell.run_cell_magic("mesh", f"{shell.alias} max_tokens=900000", "hello")
    assert result is None
    assert "QuotaExceeded" in repr(shown_output.outputs[0].data)
    with capture_output() as shown_output:
        shell.run_line_magic("mesh", "dance")
    assert "%mesh dance" in repr(shown_output.outputs[0].data)


def test_status_says_the_revision(shell):
    table = shell.run_line_magic("mesh", "status")
    assert "live" in repr(table)


async def test_usage_can_be_asked_for_under_a_running_loop(make_world):
    world = await asyncio.to_thread(make_world)
    alias = await asyncio.to_thread(world.alias)
    mesh = world.mesh()
    await mesh.achat(alias, [{"role": "user", "content": "hi"}])
    assert await mesh.aflush(10)
    await asyncio.to_thread(world.collect)
    table = mesh.usage("team, alias", since="1h")
    [row] = [row for row in table if row["team"] == world.team]
    assert (row["alias"], row["calls"]) == (alias, 1)
    assert world.team in table._repr_html_()


def test_cells_are_readable():
    assert [shown(value) for value in (None, Decimal("1234.5"), Decimal("0.00000195"), 1234, 1.25, "x")] == [
        "-",
        "$1,234.5000",
        "$0.0000020",
        "1,234",
        "1.2",
        "x",
    ]
    assert repr(Usage(["team"], [])) == "<Usage by team: 0 rows>"
    rows = [{"team": "red", "calls": 12, "cost_usd": Decimal("0.5")}, {"team": "research", "calls": 3}]
    in_a_terminal = repr(Usage(["team"], rows)).splitlines()
    assert [line.split()[:2] for line in in_a_terminal] == [
        ["team", "calls"],
        ["red", "12"],
        ["research", "3"],
    ]
    assert len({len(line) for line in in_a_terminal}) == 1, "columns do not stand below each other"


def test_usage_is_drawn_as_bars_without_a_plotting_library():
    rows = [{"team": "<b>", "cost_usd": Decimal("0.5")}, {"team": "small", "cost_usd": None}]
    bars = Bars(Usage(["team"], rows), "cost_usd")
    assert bars.rows == [("<b>", Decimal("0.5")), ("small", 0)]
    assert 'width="360" height="16"' in bars._repr_svg_()
    assert "&lt;b&gt;" in bars._repr_svg_()
    assert "<b>  $0.5000" in repr(bars)
    for no_figure in ("team", "beauty"):
        with pytest.raises(ConfigError, match="no figure"):
            Bars(Usage(["team"], rows), no_figure)


def test_a_plot_is_one_line_of_magic(shell):
    shell.run_line_magic("mesh", "plot calls team")._repr_svg_()
