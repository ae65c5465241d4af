"""A provider, or what stands before it, may send headers whose bytes are no text: they say nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mesh_plugins.core.call import ProviderCall
from mesh_store.model.errors import ProviderError

HEAD = (
    b"HTTP/1.1 %s\r\nContent-Type: %s\r\nRetry-After: \xc3\xa9\xff\r\n"
    b"Content-Length: 2\r\nConnection: close\r\n\r\n{}"
)


@pytest.fixture
def answering() -> Iterator[Callable[[bytes], str]]:
    """Answer the next request with these bytes; returns where."""
    listening = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def answer(answer: bytes) -> str:
        def once() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(answer)

        threads.append(threading.Thread(target=once))
        threads[-1].start()
        return f"http://127.0.0.1:{listening.getsockname()[1]}/v1"

    yield answer
    for thread in threads:
        thread.join(30)
    listening.close()


@pytest.mark.parametrize("stream", [False, True])
def test_a_wait_that_is_no_text_is_none(
    caller: Any, answering: Callable[[bytes], str], make_call: Callable[..., ProviderCall], stream: bool
) -> None:
    url = answering(HEAD % (b"429 Too Many Requests", b"application/json"))
    ask = caller.collect if stream else caller.send
    with pytest.raises(ProviderError) as failed:
        ask(make_call(url, stream=stream))
    assert (failed.value.status, failed.value.retry_after) == (429, None)


def test_a_type_that_is_no_text_is_no_streams(
    caller: Any, answering: Callable[[bytes], str], make_call: Callable[..., ProviderCall]
) -> None:
    url = answering(HEAD % (b"200 OK", b"text/event-stream\xff"))
    with pytest.raises(ProviderError) as failed:
        caller.collect(make_call(url, stream=True))
    assert failed.value.kind in {"protocol", "incomplete"}
