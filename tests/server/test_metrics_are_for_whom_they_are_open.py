"""`/metrics`: by token unless it is open, for all teams or for nobody."""

from __future__ import annotations

import httpx
import pytest

from mesh_plugins.outputs import Outputs
from mesh_plugins.server.app import build
from mesh_store.telemetry.exporters.prometheus import Prometheus


async def scrape(control, outputs, token=None):
    transport = httpx.ASGITransport(build(control, outputs))
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://mesh") as client:
        return await client.get("/metrics", headers=headers)


@pytest.mark.parametrize(
    ("who", "status"), [(None, 401), ("admin", 200), ("viewer", 200), ("lead", 403), ("glance", 403)]
)
async def test_a_token_of_all_teams_reads_them(control, house, who, status):
    page = Outputs((), Prometheus(), "token")
    answer = await scrape(control, page, who and getattr(house, who))
    assert answer.status_code == status
    assert ("mesh_backlog_entries" in answer.text) == (status == 200)


async def test_open_ones_ask_for_nothing_and_there_may_be_none(control):
    assert (await scrape(control, Outputs((), Prometheus(), "open"))).status_code == 200
    assert (await scrape(control, Outputs())).status_code == 404
