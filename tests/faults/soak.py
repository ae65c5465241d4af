"""Mixed traffic for minutes with a fault every few seconds; afterwards the books must balance.

``python -m tests.faults.soak --minutes 10 --seed 1``. Callers are processes of their own that call in every
way there is; what fails, and when, is drawn from the seed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import asyncpg

from mesh_plugins.testing.provider import StandInProvider
from mesh_store.admin import Admin
from mesh_store.embedded import attach, status
from mesh_store.telemetry import drain
from mesh_store.telemetry.collector import Collector
from tests.conftest import SIGNER, World
from tests.faults import books
from tests.faults.network import Network
from tests.faults.soak_ways import AT_ONCE

BURST, PER_S = 40, 20
LIMITS = (
    f"{PER_S} requests/s, burst {BURST}, on outage closed", "100M tokens/day", "100 concurrent", "$500/day",
)  # fmt: skip
#: Of which the first lives as long as the run.
CALLERS = 3
#: Pauses between faults, and how long one that passes lasts, seconds.
PAUSE_S, STALL_S, STORM_S = (0.7, 2.5), 1.0, (0.5, 3.0)
#: How much a process may grow in the second half of its calls, KiB: allocators keep what they once had.
GROWTH_KIB = 16 * 1024
#: And how many descriptors: connections are pooled, and others may be open now than then.
GROWN_DESCRIPTORS = 24
#: And how many threads: pools of the standard library fill up to their bound.
GROWN_THREADS = 8
#: How long processes may take to import and to make their first calls.
START_S = 300
#: Requests below which a run shows nothing.
LEAST = 60
COLLECTORS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'mesh collector'"
ROOT = Path(__file__).parents[2]
#: A caller's own; litellm's list of prices comes with it.
ENVIRON = {"MESH_DECISION_S": "0.2", "PYTHONPATH": str(ROOT), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


class Soak:
    """Engines, a provider, a collector and callers; a context manager.

    Attributes:
        faults: how often each fault was made.
        sent: requests that reached the provider, by whom they were for.
        reports: what callers that ended in peace left behind.
    """

    def __init__(self, home: Path, seed: int) -> None:
        self.home, self.seed = home, seed
        self.faults: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.reports: list[dict[str, Any]] = []
        self._chance = random.Random(seed)
        self._started, self._born = 0.0, 0
        self._callers: list[subprocess.Popen[bytes]] = []
        self._stop = threading.Event()
        self._collecting = threading.Thread(target=self._collect, daemon=True)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        self._engines = self._stack.enter_context(attach(self.home))
        self._provider = self._stack.enter_context(StandInProvider())
        self._network = self._stack.enter_context(Network(self._engines, self._provider, self._chance))
        urls = (self._engines.database_url, self._engines.redis_url)
        self.world = World(self._engines, self._provider, self.home / "callers", "soak", closing=self._stack)
        self.world.home.mkdir()

        async def prepare() -> None:
            async with Admin.open(*urls, actor="soak", migrate=True, signer=SIGNER) as admin:
                await admin.create_team(name="soak")
                place = {"name": "soak-local", "kind": "openai", "base_url": self._network.base_url}
                await admin.create_provider(**place)
                await admin.create_alias(
                    name="soak-fast", targets=[{"provider": "soak-local", "model": "small"}]
                )
                await admin.set_price(
                    provider="soak-local", model="small", input=Decimal("0.25"), output=Decimal(2)
                )
                for text in LIMITS:
                    await admin.create_limit(team="soak", limit=text)
                _, minted = await admin.create_key(team="soak")
                self.world.key = minted.text

        asyncio.run(prepare())
        self.world.collect()
        self._collecting.start()
        self._started = time.monotonic()
        self._callers = [self._caller() for _ in range(CALLERS)]
        self._until_called(LEAST // 4)

    def __exit__(self, *_: object) -> None:
        for caller in self._callers:
            caller.kill()
            caller.communicate()
        self._stop.set()
        if self._collecting.ident is not None:
            self._collecting.join(30)
        self._stack.close()

    def run(self, seconds: float) -> None:
        """Let it go on, with a fault every now and then, until each kind was made at least once."""
        end = time.monotonic() + seconds
        kinds: list[Callable[[], object]] = [
            self.valkey_dies, self.valkey_restarts, self.provider_hangs_up, self.postgres_stalls,
            self.postgres_dies, self.a_caller_dies, *[self.the_network_fails] * (3 if seconds else 1),
        ]  # fmt: skip
        order: list[Callable[[], object]] = []
        made = 0
        while time.monotonic() < end or made < len(kinds):
            time.sleep(self._chance.uniform(*PAUSE_S))  # how long it goes well, not a wait for something
            order = order or self._chance.sample(kinds, len(kinds))
            fault = order.pop()
            self.faults[str(fault() or getattr(fault, "__name__", "fault"))] += 1
            self._hear()
            made += 1

    def valkey_dies(self) -> None:
        """Kill the server; its supervisor starts it again."""
        self._end("valkey", signal.SIGKILL)

    def valkey_restarts(self) -> None:
        """End the server as an operator would: it says goodbye, and is away until it is started again."""
        self._end("valkey", signal.SIGTERM)

    def postgres_dies(self) -> None:
        """Kill the postmaster; it comes back and replays what it had promised."""
        self._end("postgres", signal.SIGKILL)

    def _end(self, server: str, how: signal.Signals) -> None:
        running = getattr(status(self.home), server)
        if running is not None and running.pid:
            os.kill(running.pid, how)

    def provider_hangs_up(self) -> None:
        """Break every connection to the provider."""
        self._provider.drop_connections()

    def postgres_stalls(self) -> None:
        """Stop the server process that a collector speaks to for a while."""
        try:
            rows = self.world.query(COLLECTORS)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return  # it is starting again, which is stall enough
        for pid in (row["pid"] for row in rows):
            _signal(pid, signal.SIGSTOP)
        time.sleep(STALL_S)
        for pid in (row["pid"] for row in rows):
            _signal(pid, signal.SIGCONT)

    def a_caller_dies(self) -> None:
        """Kill a process in the middle of its calls and start another."""
        victim = self._callers.pop(self._chance.randrange(1, len(self._callers)))
        victim.kill()
        victim.communicate()
        self._callers.append(self._caller())

    def the_network_fails(self) -> str:
        """Let something go wrong on the way to Redis, Postgres or the provider."""
        return self._network.storm(self._chance.uniform(*STORM_S))

    def end(self) -> float:
        """Ask callers to stop, bring every fact to Postgres; returns for how many seconds they called."""
        self._until_called(LEAST)
        for caller in self._callers:
            assert caller.stdout is not None
            assert caller.stdout.readline() == b"ready\n", "one that was only just started"
            caller.send_signal(signal.SIGTERM)
        for caller in self._callers:
            said, _ = caller.communicate(timeout=START_S)
            assert caller.returncode == 0, f"a caller ended in something that is no MeshError: {said!r}"
            self.reports.append(json.loads(said.splitlines()[-1]))
        called_s = time.monotonic() - self._started
        self._callers = []
        self._stop.set()
        self._collecting.join(60)
        until = time.monotonic() + START_S
        while list((self.world.home / "rings").glob("*.ring")):
            assert time.monotonic() < until, "rings do not become empty"
            drain(self.world.home, self._engines.redis_url)
            self.world.collect()
        self._hear()
        return called_s

    def check(self, called_s: float) -> dict[str, Any]:
        """Hold the books against each other; returns a summary."""
        ended = books.each_call_is_one_call(self.world)
        books.all_that_was_sent_is_told(self.world, self.sent)
        books.sums_are_those_of_the_rows(self.world)
        left = books.money_is_exact(self.world, AT_ONCE * self.faults["a_caller_dies"])
        admitted = ended.total() - ended[books.REFUSED]
        assert admitted <= BURST + PER_S * (called_s + 1), f"{admitted} admitted in {called_s:.1f} s"
        summary = {"seed": self.seed, "seconds": round(called_s, 1), "sent": self.sent.total(),
                   "ended": dict(ended), "faults": dict(self.faults), "granted, not sent": left,
                   "callers": self.reports}  # fmt: skip
        for report in self.reports:
            assert not report["threads"], summary
            assert report.get("grown_kib", 0) < GROWTH_KIB, summary
            assert report.get("grown_descriptors", 0) < GROWN_DESCRIPTORS, summary
            assert report.get("grown_threads", 0) < GROWN_THREADS, summary
        return summary

    def _until_called(self, times: int) -> None:
        """Wait until the provider was asked so often: a process takes seconds to start."""
        assert self._provider.wait_for(lambda provider: provider.count >= times, START_S), "nobody calls"

    def _hear(self) -> None:
        while self._provider.requests:
            body = self._provider.requests.popleft().json
            if isinstance(body, dict) and "user" in body:
                self.sent[body["user"]] += 1

    def _caller(self) -> subprocess.Popen[bytes]:
        self._born += 1
        script = Path(__file__).with_name("soak_caller.py")
        arguments = ("soak-fast", f"soak-{self._born}", str(self.seed + self._born))
        return subprocess.Popen(
            [sys.executable, str(script), *arguments],
            env={**os.environ, **self.world.environ, **ENVIRON, "MESH_REDIS_URL": self._network.redis_url},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # that Redis is away is told there, again and again
        )

    def _collect(self) -> None:
        async def through() -> None:
            stop = asyncio.Event()
            collector = Collector(
                self._network.database_url, self._network.redis_url, self.world.home, claim_s=1
            )
            running = asyncio.create_task(collector.run(stop))
            await asyncio.to_thread(self._stop.wait)
            stop.set()
            await running
            await collector.close()

        asyncio.run(through())


def _signal(pid: int, what: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it died meanwhile
        os.kill(pid, what)


def main() -> None:
    """Soak for as long as asked, print the summary; fails by assertion."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mesh-soak-") as home:
        print(f"seed {options.seed}", flush=True)
        with Soak(Path(home), options.seed) as soak:
            soak.run(options.minutes * 60)
            print(json.dumps(soak.check(soak.end()), indent=2))


if __name__ == "__main__":
    main()
