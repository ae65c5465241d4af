"""Handlers of signals that raise while a thread waits for a decision: nothing is mixed up, nothing hangs."""

from __future__ import annotations

from typing import Any

import pytest
import redis.connection

from mesh_store.model import Charge, Limit
from mesh_store.redis import Limiter, connect, lines
from mesh_store.redis.packing import Packer
from tests.engines import Valkey
from tests.limits.ringing import storm

#: The clock of the tests' own timeout is the one that rings. A socket that is left while it is made is
#: closed by whoever collects it, which warns.
pytestmark = [
    pytest.mark.timeout(300, method="thread"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.mark.parametrize("others", [0, 3], ids=["by itself", "among others"])
def test_whenever_it_rings_every_unit_has_an_owner_and_every_answer_its_asker(
    server: Valkey, tag: str, others: int
) -> None:
    storm(server.url, tag, others=others)


def test_hiredis_is_given_nothing_but_text_to_pack(
    server: Valkey, tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends the process where a handler raises while it turns a number into text."""
    given: set[type] = set()

    def noting(pack: Any) -> Any:
        def noted(command: Any) -> Any:
            given.update(map(type, command))
            return pack(command)

        return noted

    monkeypatch.setattr(lines, "packed", noting(lines.packed))
    monkeypatch.setattr(
        redis.connection.hiredis, "pack_command", noting(redis.connection.hiredis.pack_command)
    )
    charge = Charge(f"{{{tag}}}:q:key:k:requests", Limit(amount=9, period_us=10**9, burst=9), 1)
    with connect(server.url, deadline=5) as client:
        limiter = Limiter(client)
        reservation = limiter.reserve([charge]).reservation
        assert reservation is not None
        assert limiter.settle(reservation, (-1,))
        assert limiter.peek([charge]).remaining == (9,)
        client.set(f"{{{tag}}}:q:n", 1.5, ex=60)
    assert Packer().pack("CONFIG SET", "a", 7, b"b") == [
        b"*5\r\n$6\r\nCONFIG\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n7\r\n$1\r\nb\r\n"
    ]
    assert given == {str, bytes}


def test_a_reply_that_nobody_waited_for_goes_to_nobody_else(server: Valkey) -> None:
    with connect(server.url, deadline=5) as client:
        pool: Any = client.connection_pool
        left = pool.get_connection()
        left.send_command("DEBUG", "SLEEP", "0.05")
        pool.release(left)  # what was interrupted gives its connection back
        assert client.echo("mine") == b"mine"
