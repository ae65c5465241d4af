"""How calls for a whole answer may end."""

from __future__ import annotations

import asyncio

import pytest

from mesh_plugins import ProviderError, QuotaExceeded
from mesh_plugins.testing.provider import StandInProvider
from tests.ledger.table import TOO_LONG, Doors, asked, cancelled, ending


@ending("ok")
def answered(doors: Doors, provider: StandInProvider) -> None:
    doors.call()


@ending("ok")
async def answered_on_a_loop(doors: Doors, provider: StandInProvider) -> None:
    await doors.acall()


@ending("ok", told=False)
def answered_without_usage(doors: Doors, provider: StandInProvider) -> None:
    provider.script(usage=None)
    doors.call()


@ending("ok", told=False)
async def answered_without_usage_on_a_loop(doors: Doors, provider: StandInProvider) -> None:
    provider.script(usage=None)
    await doors.acall()


@ending("error")
def provider_fails(doors: Doors, provider: StandInProvider) -> None:
    provider.script(status=400)
    with pytest.raises(ProviderError):
        doors.call()


@ending("error")
async def provider_fails_on_a_loop(doors: Doors, provider: StandInProvider) -> None:
    provider.script(status=400)
    with pytest.raises(ProviderError):
        await doors.acall()


@ending("error", "ok")
def retried(doors: Doors, provider: StandInProvider) -> None:
    provider.script(status=503, times=1)
    doors.call()


@ending("cancelled", aborted=1)
async def cancelled_before_the_answer(doors: Doors, provider: StandInProvider) -> None:
    provider.script(latency_s=30)
    task = asyncio.create_task(doors.acall())
    await asked(provider)
    await cancelled(task)


@ending("cancelled", aborted=1)
async def given_up_by_wait_for(doors: Doors, provider: StandInProvider) -> None:
    provider.script(latency_s=30)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(doors.acall(), 0.3)


@ending("timeout", aborted=1)
def deadline_passes(doors: Doors, provider: StandInProvider) -> None:
    provider.script(latency_s=30)
    with pytest.raises(ProviderError):
        doors.call(deadline_s=0.3)


@ending("timeout", aborted=1)
async def deadline_passes_on_a_loop(doors: Doors, provider: StandInProvider) -> None:
    provider.script(latency_s=30)
    with pytest.raises(ProviderError):
        await doors.acall(deadline_s=0.3)


@ending("denied")
def refused(doors: Doors, provider: StandInProvider) -> None:
    # The second refusal is the first one remembered: an error, and no further fact.
    for door in (doors.call, doors.stream):
        with pytest.raises(QuotaExceeded):
            door(TOO_LONG)
    assert provider.count == 0


@ending("denied")
async def refused_on_a_loop(doors: Doors, provider: StandInProvider) -> None:
    for door in (doors.acall, doors.astream):
        with pytest.raises(QuotaExceeded):
            await door(TOO_LONG)
    assert provider.count == 0
