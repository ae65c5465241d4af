"""One cluster and one set of sentinels for the session; limiters of both colours over each."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh_store.model import Charge, Limit
from mesh_store.redis import AsyncLimiter, Limiter, connect, connect_async
from tests.topologies.servers import Cluster, Process, Sentinels, Servers

#: Generous, because the tests share their machine; tests about deadlines make their own client.
PATIENCE = 5.0
HOUR = 3_600_000_000


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with tempfile.TemporaryDirectory(prefix="mesh-topologies-") as folder:
        made = Servers(Path(folder))
        yield made
        made.close()


@pytest.fixture(scope="session")
def whole_cluster(servers: Servers) -> Cluster:
    return Cluster(servers)


@pytest.fixture
def cluster(whole_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, whole again after every test."""
    yield whole_cluster
    whole_cluster.heal()


@pytest.fixture(scope="session")
def whole_sentinels(servers: Servers) -> Sentinels:
    return Sentinels(servers)


@pytest.fixture
def sentinels(whole_sentinels: Sentinels) -> Iterator[Sentinels]:
    """Sentinels with what they watch, whole again after every test."""
    yield whole_sentinels
    whole_sentinels.heal()


@pytest.fixture(scope="session")
def server(servers: Servers) -> Process:
    return servers.start()


@pytest.fixture(params=["one", "sentinel", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    """Each topology's URL in turn."""
    place = {"one": "server", "sentinel": "sentinels", "cluster": "cluster"}[request.param]
    return str(request.getfixturevalue(place).url)


@pytest.fixture
def tag() -> str:
    """A hash tag nobody else uses."""
    return uuid.uuid4().hex[:12]


@pytest.fixture(params=["sync", "async"])
async def decide(request: pytest.FixtureRequest, url: str) -> AsyncIterator[Callable[..., Any]]:
    """Call a method of the limiter of either colour: ``await decide("reserve", [...])``."""
    with connect(url, deadline=PATIENCE, connect_deadline=PATIENCE) as client:
        async with connect_async(url, deadline=PATIENCE, connect_deadline=PATIENCE) as aclient:
            limiter, alimiter = Limiter(client), AsyncLimiter(aclient)

            async def call(method: str, *args: Any, **kwargs: Any) -> Any:
                if request.param == "sync":
                    return getattr(limiter, method)(*args, **kwargs)
                return await getattr(alimiter, method)(*args, **kwargs)

            yield call


def charge(tag: str, amount: int = 1, *, of: int = 10, name: str = "requests", **limit: Any) -> Charge:
    """A charge of a limit of ``of`` an hour, all of it at once."""
    terms = {"period_us": HOUR, "burst": of} | limit
    return Charge(f"{{{tag}}}:q:key:k1:{name}", Limit(amount=of, **terms), amount)
