"""What arrives on a connection is the answer to what was asked on it, once; or an error."""

from __future__ import annotations

import asyncio
import gzip
import json
import resource
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mesh_plugins.core.call import ProviderCall
from mesh_plugins.http import transport as port
from mesh_plugins.http.transport import TransportOptions
from mesh_plugins.testing.provider import StandInProvider
from mesh_store.model.errors import ProviderError

MakeCall = Callable[..., ProviderCall]


#: Linux counts KiB, macOS bytes.
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Raw:
    """A provider that says any bytes at any time; every request gets the same."""

    def __init__(self, said: bytes) -> None:
        self.said = said
        self.connections: list[socket.socket] = []
        self.heads: list[bytes] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    def interject(self, said: bytes) -> None:
        """Say something on the newest connection, asked or not."""
        self.connections[-1].sendall(said)

    def close(self) -> None:
        for each in (self._listening, *self.connections):
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        try:
            with connection.makefile("rb") as reading:
                while head := _request(reading):
                    self.heads.append(head)
                    connection.sendall(self.said)
                    if b"content-length" not in self.said:
                        connection.shutdown(socket.SHUT_WR)
        except OSError:
            return


def _request(reading: Any) -> bytes:
    head, length = b"", 0
    while line := reading.readline():
        head += line
        name, _, value = line.partition(b":")
        length = int(value) if name.lower() == b"content-length" else length
        if line == b"\r\n":
            reading.read(length)
            return head
    return b""


@contextmanager
def raw_provider(said: bytes) -> Iterator[Raw]:
    raw = Raw(said)
    try:
        yield raw
    finally:
        raw.close()


def answer(content: str) -> bytes:
    reply = {"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}]}
    body = json.dumps(reply).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )


@pytest.mark.parametrize(
    "unasked", [answer("somebody else's"), answer("somebody else's")[:60], b"HTTP/1.1 408 Late\r\n\r\n", b"?"]
)
@pytest.mark.parametrize("cut", [False, True])
# pyreqwest hears of it in its own thread: used at that very moment, the call fails.
@pytest.mark.parametrize("caller", ["default-async", "httpx-sync", "httpx-async"], indirect=True)
def test_an_answer_nobody_asked_for_is_given_to_nobody(
    caller: Any, make_call: MakeCall, unasked: bytes, cut: bool
) -> None:
    with raw_provider(answer("mine")) as raw:

        def between() -> None:
            raw.interject(unasked)
            if cut:
                raw.connections[-1].shutdown(socket.SHUT_RDWR)

        call = make_call(raw.base_url)
        for reply in caller.send_both(call, call, between):
            assert reply.body.choices[0].message.content == "mine"


def test_a_providers_cookies_do_not_reach_the_next_call(caller: Any, make_call: MakeCall) -> None:
    biscuit = answer("hi").replace(b"content-type", b"set-cookie: session=other-team; Path=/\r\ncontent-type")
    with raw_provider(biscuit) as raw:
        call = make_call(raw.base_url.replace("127.0.0.1", "localhost"))
        caller.send_both(call, call)
        assert len(raw.heads) == 2
        assert not any(b"cookie" in head.lower() for head in raw.heads)


def test_a_request_that_may_have_been_received_is_not_sent_again(
    caller: Any, provider: StandInProvider, make_call: MakeCall
) -> None:
    call = make_call(provider.base_url)
    with pytest.raises(ProviderError) as failed:
        caller.send_both(call, call, lambda: provider.script(hang_up=True))
    assert failed.value.kind == "protocol"
    assert (provider.count, provider.connections) == (2, 1), "the second went out on a used connection, once"


@pytest.mark.parametrize(
    "said",
    [
        b"ICY 200 OK\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhi",
        b"HTTP/1.1 200 OK\r\nx: " + b"x" * 1_000_000 + b"\r\n\r\n",
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_no_answer_is_an_error_and_no_librarys_own(
    caller: Any, make_call: MakeCall, said: bytes, stream: bool
) -> None:
    with raw_provider(said) as raw:
        call = make_call(f"{raw.base_url}?key=in-the-url", stream=stream)
        with pytest.raises(ProviderError) as failed:
            caller.collect(call) if stream else caller.send(call)
        assert failed.value.kind in ("protocol", "incomplete")
        assert "\n" not in str(failed.value)
        assert "in-the-url" not in str(failed.value)


@pytest.mark.parametrize("caller", ["default-sync", "default-async"], indirect=True)  # httpx unfolds 64 MB
def test_a_small_answer_that_unfolds_beyond_all_bounds_is_not_unfolded(
    caller: Any, make_call: MakeCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port, "MOST_BODY", 1_000_000)
    body = gzip.compress(bytes(400_000_000), 1)
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with raw_provider(head + body) as raw, pytest.raises(ProviderError):
        caller.send(make_call(raw.base_url))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000_000 / _RSS_UNIT


@pytest.mark.parametrize("caller_with", ["default-async", "httpx-async"], indirect=True)
def test_who_finds_every_connection_busy_waits_no_longer_than_for_a_connection(
    caller_with: Callable[[TransportOptions], Any], provider: StandInProvider, make_call: MakeCall
) -> None:
    provider.script(latency_s=60)
    caller = caller_with(TransportOptions(max_connections=1, connect_s=0.2))

    async def two() -> None:
        first = asyncio.create_task(caller.sender.asend(make_call(provider.base_url)))
        assert await asyncio.to_thread(provider.wait_for, lambda p: p.count == 1)
        with pytest.raises(ProviderError) as failed:
            await caller.sender.asend(make_call(provider.base_url))
        assert failed.value.kind == "connect"
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        provider.clear()
        assert (await caller.sender.asend(make_call(provider.base_url))).finish_reason == "stop"

    asyncio.run(two())
