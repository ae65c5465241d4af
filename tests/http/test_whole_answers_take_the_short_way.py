"""What is answered as a whole goes past aiohttp's session, and keeps every promise on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

import mesh_plugins.http.aiohttp as loops
from mesh_plugins.http.aiohttp import AiohttpTransport
from mesh_plugins.http.posting import Posting
from mesh_plugins.http.transport import HttpRequest, TransportFailure

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[str]:
    """Run a server whose every connection is served so; yields its URL."""

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the caller let go, which is what some of these tests are about
        finally:
            writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}/v1/chat"
    finally:
        server.close()


def request(url: str, body: bytes = b"{}", timeout_s: float = 30.0, **headers: str) -> HttpRequest:
    return HttpRequest(url, {"content-type": "application/json", **headers}, body, timeout_s)


async def asked(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read one request: its head and its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    [length] = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    return head, await reader.readexactly(int(length.partition(b":")[2]))


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """URLs that took the short way."""
    taken: list[str] = []
    post = Posting.post

    async def noted(self: Posting, request: HttpRequest, secured: object) -> object:
        taken.append(request.url)
        return await post(self, request, secured)

    monkeypatch.setattr(Posting, "post", noted)
    return taken


async def test_the_same_request_goes_out_either_way(
    monkeypatch: pytest.MonkeyPatch, short: list[str]
) -> None:
    heard: list[tuple[dict[bytes, bytes], bytes]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, body = await asked(reader)
        first, *lines = head.strip().split(b"\r\n")
        pairs = (line.split(b":", 1) for line in lines)
        heard.append(({name.lower(): value.strip() for name, value in pairs} | {b"": first}, body))
        writer.write(OK)
        await writer.drain()

    async with serving(serve) as url:
        for fits in (True, False):
            monkeypatch.setattr(loops, "_FITS", fits)
            transport = AiohttpTransport()
            try:
                answer = await transport.asend(request(f"{url}?a=1", b'{"a":1}', authorization="Bearer x"))
            finally:
                await transport.aclose()
            assert (answer.status, answer.body) == (200, b"{}")
    assert len(short) == 1
    assert heard[0] == heard[1]
    assert heard[0][0][b"authorization"] == b"Bearer x"


async def test_an_address_with_credentials_of_its_own_goes_through_the_session(short: list[str]) -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append((await asked(reader))[0])
        writer.write(OK)
        await writer.drain()

    transport = AiohttpTransport()
    async with serving(serve) as url:
        await transport.asend(request(url.replace("//", "//me:secret@")))
        await transport.aclose()
    assert short == []
    assert b"authorization: basic bwu6c2vjcmv0" in heard[0].lower()


async def test_headers_are_those_of_each_request_at_one_address(short: list[str]) -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heard.append((await asked(reader))[0])
            writer.write(OK)
            await writer.drain()

    transport = AiohttpTransport()
    async with serving(serve) as url:
        for secret in ("one", "two", "one"):
            await transport.asend(request(url, authorization=secret))
        await transport.aclose()
    assert len(short) == 3
    said = [
        line for head in heard for line in head.split(b"\r\n") if line.lower().startswith(b"authorization")
    ]
    assert [line.split()[-1] for line in said] == [b"one", b"two", b"one"]


async def test_a_header_that_would_begin_another_is_not_sent() -> None:
    transport = AiohttpTransport()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("nothing may arrive")

    async with serving(serve) as url:
        for name, value in (("x", "a\r\ny: b"), ("x\r\ny", "b")):
            with pytest.raises(TransportFailure) as caught:
                await transport.asend(request(url, **{name: value}))
            assert caught.value.kind == "connect"
        await transport.aclose()


async def test_a_connection_whose_request_was_answered_before_it_was_sent_is_not_used_again() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()
        await asyncio.sleep(60)  # never reads the rest: what follows on this connection is lost

    transport = AiohttpTransport()
    async with serving(serve) as url:
        for _ in range(2):
            answer = await transport.asend(request(url, b" " * 32_000_000))
            assert answer.status == 413
        await transport.aclose()
    assert connections == 2


async def test_what_comes_before_the_answer_is_no_answer() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
        await writer.drain()
        writer.write(OK)
        await writer.drain()

    transport = AiohttpTransport()
    async with serving(serve) as url:
        assert (await transport.asend(request(url))).body == b"{}"
        await transport.aclose()


async def test_the_deadline_holds_while_an_answer_drips(short: list[str]) -> None:
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        ending = asyncio.create_task(reader.read())
        while not ending.done():
            writer.write(b" ")
            await asyncio.wait([ending], timeout=0.05)
        ending.exception()  # an end is an end, however it came
        gone.set()

    transport = AiohttpTransport()
    async with serving(serve) as url:
        with pytest.raises(TransportFailure) as caught:
            await transport.asend(request(url, timeout_s=0.5))
        assert caught.value.kind == "timeout"
        assert len(short) == 1
        await asyncio.wait_for(gone.wait(), 60)
        await transport.aclose()


async def test_a_caller_cancelled_in_the_middle_of_an_answer_closes_its_connection() -> None:
    begun, gone = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345")
        await writer.drain()
        begun.set()
        await reader.read()
        gone.set()

    transport = AiohttpTransport()
    async with serving(serve) as url:
        calling = asyncio.create_task(transport.asend(request(url)))
        await asyncio.wait_for(begun.wait(), 60)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await asyncio.wait_for(gone.wait(), 60)
        await transport.aclose()


async def test_who_finds_every_connection_busy_waits_no_longer_than_for_a_connection() -> None:
    heard, answers = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        heard.set()
        await answers.wait()
        writer.write(OK)
        await writer.drain()

    async with (
        serving(serve) as url,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session,
    ):
        posting = Posting(session, connect_s=0.2)
        first = asyncio.create_task(posting.post(request(url), False))
        await heard.wait()
        with pytest.raises(TransportFailure) as failed:
            async with asyncio.timeout(60):
                await posting.post(request(url, timeout_s=3_600.0), False)
        assert failed.value.kind == "connect"
        answers.set()
        assert (await first).status == 200
