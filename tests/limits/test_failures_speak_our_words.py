"""No exception of the client gets out: an outage is `QuotaUnavailable`, a mistake `ConfigError`."""

import contextlib
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import redis
from redis import exceptions as raised

from mesh_store.model import Charge, ConfigError, Limit, MeshError, QuotaUnavailable
from mesh_store.model.limits import MAX_EXACT
from mesh_store.redis import AsyncLimiter, Budgets, Limiter, answers, connect, connect_async
from mesh_store.redis.failures import may_have_lost_a_reply, translate
from mesh_store.redis.scripts import COMMANDS

LIMIT = Limit(amount=10, period_us=60_000_000)

PASSING = [
    raised.ConnectionError("Connection closed by server."),
    raised.ConnectionError("max number of clients reached"),
    raised.TimeoutError("Timeout reading from socket"),
    raised.BusyLoadingError("Redis is loading the dataset in memory"),
    raised.ReadOnlyError("You can't write against a read only replica."),
    raised.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
    raised.ClusterDownError("CLUSTERDOWN The cluster is down"),
    raised.MasterDownError("MASTERDOWN Link with MASTER is down"),
    raised.TryAgainError("Multiple keys request during rehashing of slot"),
    raised.ResponseError("NOREPLICAS Not enough good replicas to write."),
    raised.ResponseError("BUSY Valkey is busy running a script."),
    raised.ResponseError("UNKILLABLE Sorry the script already executed write commands"),
    raised.RedisClusterException("Redis Cluster cannot be connected."),
    raised.MaxConnectionsError("Too many connections"),
    raised.InvalidResponse("Protocol Error: b'x'"),
    msgspec.DecodeError("truncated"),
    OSError("Broken pipe"),
]

MISTAKES = [
    raised.AuthenticationError("invalid username-password pair or user is disabled."),
    raised.AuthorizationError("no"),
    raised.AuthenticationWrongNumberOfArgsError("wrong number of arguments for 'auth' command"),
    raised.NoPermissionError("User x has no permissions to run the 'evalsha' command"),
    raised.ClusterCrossSlotError("Keys in request don't hash to the same slot"),
    raised.CrossSlotTransactionError("all keys must map to the same key slot"),
    raised.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
    raised.ResponseError("unknown command 'EVALSHA'"),
    raised.DataError("Invalid input"),
]


@pytest.mark.parametrize("error", PASSING, ids=lambda error: f"{type(error).__name__}: {error}"[:40])
def test_what_passes_by_itself_is_an_outage(error: Exception) -> None:
    translated = translate(error)
    assert isinstance(translated, QuotaUnavailable)
    assert translated.retry_after


@pytest.mark.parametrize("error", MISTAKES, ids=lambda error: f"{type(error).__name__}: {error}"[:40])
def test_what_somebody_must_correct_never_counts_as_an_outage(error: Exception) -> None:
    assert isinstance(translate(error), ConfigError)
    assert not may_have_lost_a_reply(error)


@pytest.mark.parametrize(
    "error", PASSING + MISTAKES, ids=lambda error: f"{type(error).__name__}: {error}"[:40]
)
def test_what_was_raised_stays_known(error: Exception) -> None:
    assert translate(error).__cause__ is error


def test_an_untrusted_certificate_is_a_mistake() -> None:
    error = raised.ConnectionError("Error 1 connecting to host")
    error.__cause__ = ssl.SSLCertVerificationError("self-signed certificate")
    assert isinstance(translate(error), ConfigError)


@pytest.fixture
def charge(tag: str) -> Charge:
    return Charge(f"{{{tag}}}:q:key:k1:requests", LIMIT, 1)


@pytest.fixture(params=["sync", "async"])
async def failing(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Reserve on a server of the given url and return the error."""

    async def attempt(url: str, charge: Charge) -> MeshError:
        with pytest.raises(MeshError) as caught:
            if request.param == "sync":
                with connect(url, deadline=2) as client:
                    Limiter(client).reserve([charge])
            else:
                async with connect_async(url, deadline=2) as aclient:
                    await AsyncLimiter(aclient).reserve([charge])
        return caught.value

    return attempt


async def test_a_server_that_is_away_is_an_outage(failing: Callable[..., Any], charge: Charge) -> None:
    error = await failing("unix:///nonexistent/socket", charge)
    assert isinstance(error, QuotaUnavailable)
    assert isinstance(error.__cause__, raised.ConnectionError)


async def test_a_wrong_password_is_a_mistake(
    failing: Callable[..., Any], charge: Charge, server: Any
) -> None:
    error = await failing(f"{server.url}?username=narrow&password=wrong", charge)
    assert isinstance(error, ConfigError)
    assert "MESH_REDIS_URL" in str(error)


@pytest.mark.parametrize("at_us", [-1, MAX_EXACT + 1])
def test_a_decision_of_an_impossible_time_is_not_read(
    server: Any, charge: Charge, at_us: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Altered on its way: it would be made a date of, long after the decision was believed."""
    read = answers._decode_all
    with connect(server.url) as client:
        limiter = Limiter(client)
        assert limiter.reserve([charge]).admitted
        altered = lambda reply: [[told[0], at_us, *told[2:]] for told in read(reply)]  # noqa: E731
        monkeypatch.setattr(answers, "_decode_all", altered)
        with pytest.raises(QuotaUnavailable, match="us after 1970"):
            limiter.reserve([charge])


@pytest.fixture(autouse=True)
def narrow_user(client: redis.Redis) -> Iterator[None]:
    client.execute_command("ACL", "SETUSER", "narrow", "on", ">pw", "~*", "+get", "+ping")
    yield
    client.execute_command("ACL", "DELUSER", "narrow")


async def test_a_missing_permission_is_a_mistake(
    failing: Callable[..., Any], charge: Charge, server: Any
) -> None:
    error = await failing(f"{server.url}?username=narrow&password=pw", charge)
    assert isinstance(error, ConfigError)
    assert "ACL" in str(error)


async def test_a_key_of_another_type_is_a_mistake_and_stays_as_it_is(
    failing: Callable[..., Any], charge: Charge, server: Any, client: redis.Redis
) -> None:
    client.rpush(charge.key, "theirs")
    assert isinstance(await failing(server.url, charge), ConfigError)
    assert client.lrange(charge.key, 0, -1) == [b"theirs"]


async def test_a_key_with_foreign_text_is_a_mistake(
    failing: Callable[..., Any], charge: Charge, server: Any, client: redis.Redis
) -> None:
    client.set(charge.key, "12")
    error = await failing(server.url, charge)
    assert isinstance(error, ConfigError)
    assert charge.key in str(error)


async def test_a_full_server_refuses_to_reserve_but_still_settles(
    valkeys: Callable[..., Any], failing: Callable[..., Any], charge: Charge
) -> None:
    full = valkeys()
    with connect(full.url, deadline=2) as client:
        limiter = Limiter(client)
        first = limiter.reserve([charge])
        second = limiter.reserve([charge])
        assert first.reservation
        assert second.reservation
        client.config_set("maxmemory", 1)
        assert isinstance(await failing(full.url, charge), QuotaUnavailable)
        assert limiter.settle(first.reservation, (-1,))
        assert limiter.cancel(second.reservation.id, [charge])
        assert limiter.peek([charge]).remaining == (10,)


async def test_a_replica_is_an_outage_for_reserving_and_still_answers_a_peek(
    valkeys: Callable[..., Any], failing: Callable[..., Any], charge: Charge
) -> None:
    replica = valkeys(replicaof="127.0.0.1 1", replica_serve_stale_data="yes")
    assert isinstance(await failing(replica.url, charge), QuotaUnavailable)
    with connect(replica.url, deadline=2) as client:
        assert Limiter(client).peek([charge]).admitted


def test_a_stuck_server_is_an_outage(valkeys: Callable[..., Any], charge: Charge) -> None:
    stuck = valkeys(busy_reply_threshold="1")
    with connect(stuck.url, deadline=0.2) as client, connect(stuck.url, deadline=2) as other:
        with pytest.raises(raised.TimeoutError):
            client.eval("while true do end", 0)
        with pytest.raises(QuotaUnavailable, match="BUSY"):
            Limiter(other).reserve([charge])
        other.script_kill()
        while True:
            # The server notices the kill at its next check; the limiter needs nothing to recover.
            with contextlib.suppress(QuotaUnavailable):
                assert Limiter(other).reserve([charge]).admitted
                break


def test_a_client_that_decodes_still_works(server: Any, charge: Charge) -> None:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        assert Limiter(client).reserve([charge]).admitted


def test_a_user_with_only_the_listed_commands_and_its_own_keys_can_do_everything(
    server: Any, client: redis.Redis, tag: str
) -> None:
    allowed = [f"+{command}" for command in COMMANDS]
    client.execute_command("ACL", "SETUSER", "narrow", "on", ">pw", "resetkeys", f"~{{{tag}}}:*", *allowed)
    day = 86_400_000_000
    charges = [
        Charge(f"{{{tag}}}:q:a", LIMIT, 1),
        Charge(f"{{{tag}}}:q:b", Limit(amount=2, period_us=day, kind="slots"), 1),
        Charge(f"{{{tag}}}:q:c", Limit(amount=9, period_us=day, kind="window"), 1),
    ]
    with connect(f"{server.url}?username=narrow&password=pw", deadline=2) as narrow:
        limiter, budgets = Limiter(narrow), Budgets(narrow)
        budgets.track(tag, 0)
        first, second = limiter.reserve(charges), limiter.reserve(charges)
        assert first.reservation
        assert second.reservation
        assert limiter.renew([first.reservation]) == [True]
        assert limiter.settle(first.reservation, (-1, 0, 3))
        assert limiter.cancel(second.reservation.id, charges)
        assert limiter.at_most(charges[0]).granted == 1
        assert budgets.commit(
            charges[2].key,
            charges[2].limit,
            second.reservation.reserved_at_us,
            spent_pico=4,
            version=1,
            settled=[first.reservation.id],
        )
        assert limiter.peek(charges).remaining == (9, 2, 5)
        with pytest.raises(ConfigError):
            limiter.reserve([Charge("{somebody-else}:q:a", LIMIT, 1)])
