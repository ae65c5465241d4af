"""One test per way a provider can be wrong, over every transport, in both colours."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from mesh_plugins.core.call import ProviderCall
from mesh_plugins.http import transport as port
from mesh_plugins.http.wire.failures import retry_after
from mesh_plugins.testing.provider import StandInProvider
from mesh_store.model.errors import ProviderError

MakeCall = Callable[..., ProviderCall]


@pytest.fixture
def fails(caller: Any, kind: str, url: str, make_call: MakeCall) -> Callable[..., ProviderError]:
    """Make a call, as a stream or not, that must fail."""

    def failing(*, stream: bool, seen: list[Any] | None = None, **more: Any) -> ProviderError:
        with pytest.raises(ProviderError) as failed:
            if stream:
                caller.collect(make_call(url, kind, stream=True, **more), seen)
            else:
                caller.send(make_call(url, kind, **more))
        error = failed.value
        assert (error.provider, error.attempt) == ("local", 1)
        assert "sk-secret-1" not in f"{error} {error.body}"
        return error

    return failing


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_status_is_told_with_its_reason_and_its_wait(
    provider: StandInProvider, fails: Any, stream: bool
) -> None:
    provider.script(status=429, retry_after="7", error="slow down")
    error = fails(stream=stream)
    assert (error.status, error.kind, error.retry_after) == (429, "status", 7.0)
    assert str(error) == "provider 'local' (model 'm') answered 429: slow down"
    assert provider.count == 1, "nothing here retries"


@pytest.mark.parametrize("stream", [False, True])
def test_a_secret_the_provider_echoes_is_struck_out(
    provider: StandInProvider, fails: Any, stream: bool
) -> None:
    provider.script(status=401, error="bad key sk-secret-1 given")
    assert "bad key *** given" in fails(stream=stream).body


@pytest.mark.parametrize("stream", [False, True])
def test_a_long_error_is_cut(provider: StandInProvider, fails: Any, stream: bool) -> None:
    provider.script(status=500, pad=3_000_000)
    assert len(fails(stream=stream).body) < 2_100


@pytest.mark.parametrize("stream", [False, True])
def test_a_redirect_is_never_followed(provider: StandInProvider, fails: Any, stream: bool) -> None:
    with StandInProvider() as elsewhere:
        provider.script(redirect=f"{elsewhere.base_url}/chat/completions?leak=1")
        error = fails(stream=stream)
        assert (error.status, error.kind) == (307, "status")
        assert "never followed" in str(error)
        assert elsewhere.connections == 0


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_never_comes_is_a_protocol_error(
    provider: StandInProvider, fails: Any, stream: bool
) -> None:
    provider.script(hang_up=True)
    assert fails(stream=stream).kind == "protocol"
    assert provider.count == 1


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_breaks_off_is_incomplete(provider: StandInProvider, fails: Any, stream: bool) -> None:
    provider.script(cut_after=3)
    seen: list[Any] = []
    assert fails(stream=stream, seen=seen).kind == "incomplete"
    assert bool(seen) is stream, "what came before the break was handed out"


@pytest.mark.parametrize("script", [{"finish": False}, {"end_after": 3}])
def test_a_stream_without_finish_reason_is_incomplete(
    provider: StandInProvider, fails: Any, script: dict[str, Any]
) -> None:
    provider.script(**script)
    seen: list[Any] = []
    assert fails(stream=True, seen=seen).kind == "incomplete"
    assert seen


def test_a_break_after_the_finish_reason_loses_nothing(
    provider: StandInProvider, caller: Any, make_call: MakeCall
) -> None:
    provider.script(content="word", cut_after=3)  # role, word, finish; then neither usage nor [DONE]
    chunks, reply = caller.collect(make_call(provider.base_url, stream=True))
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert reply.usage is None


@pytest.mark.parametrize("stream", [False, True])
def test_malformed_json_is_a_protocol_error(provider: StandInProvider, fails: Any, stream: bool) -> None:
    provider.script(raw='{"choices": [', content_type="text/event-stream" if stream else None)
    error = fails(stream=stream)
    assert error.kind == ("incomplete" if stream else "protocol")


def test_a_reply_where_a_stream_was_asked_for_is_a_protocol_error(
    provider: StandInProvider, fails: Any
) -> None:
    provider.script(content_type="application/json")
    error = fails(stream=True)
    assert error.kind == "protocol"
    assert "application/json" in str(error)


@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_that_is_late_is_a_timeout(provider: StandInProvider, fails: Any, stream: bool) -> None:
    provider.script(latency_s=30)
    error = fails(stream=stream, timeout_s=0.2)
    assert (error.kind, error.status) == ("timeout", 504)
    assert provider.wait_for(lambda p: p.open_connections == 0), "the connection is given up"


def test_silence_between_chunks_is_a_timeout(provider: StandInProvider, fails: Any) -> None:
    provider.script(stall_after=3)
    seen: list[Any] = []
    started = time.monotonic()
    error = fails(stream=True, seen=seen, provider={"options": {"idle_timeout_s": 0.2}})
    assert error.kind == "timeout"
    assert time.monotonic() - started < 10, "the silence's own limit, not the total deadline"
    assert seen, "chunks are handed out as they come"
    assert provider.wait_for(lambda p: p.open_connections == 0)


def test_a_stream_that_drips_for_ever_ends_at_the_total_deadline(
    provider: StandInProvider, fails: Any
) -> None:
    provider.script(content="word " * 2000, chunk_delay_s=0.05)
    started = time.monotonic()
    assert fails(stream=True, timeout_s=0.4).kind == "timeout"
    assert time.monotonic() - started < 50, "the whole reply would take 100 s"


@pytest.mark.parametrize("stream", [False, True])
def test_nobody_there_is_a_connect_error(caller: Any, kind: str, make_call: MakeCall, stream: bool) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else gets it
        call = make_call(f"http://127.0.0.1:{taken.getsockname()[1]}/v1?key=in-the-url", kind, stream=stream)
        with pytest.raises(ProviderError) as failed:
            caller.collect(call) if stream else caller.send(call)
    assert failed.value.kind == "connect"
    assert "in-the-url" not in str(failed.value)


def test_a_reply_beyond_all_bounds_is_not_read(
    provider: StandInProvider, fails: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port, "MOST_BODY", 1_000_000)
    provider.script(pad=2_000_000)
    error = fails(stream=False)
    assert error.kind == "protocol"
    assert "larger than" in str(error)


@pytest.mark.parametrize("lie", [-5, "12", 10**12])
@pytest.mark.parametrize("stream", [False, True])
def test_lying_usage_is_flagged_and_not_believed(
    provider: StandInProvider, caller: Any, kind: str, url: str, make_call: MakeCall, lie: Any, stream: bool
) -> None:
    provider.script(usage={"completion_tokens": lie, "output_tokens": lie})
    call = make_call(url, kind, stream=stream)
    reply = caller.collect(call)[1] if stream else caller.send(call)
    assert (reply.usage, reply.flags) == (None, ("usage_suspect",))
    assert reply.output_chars == len("stand-in m: hello there"), "an estimate has something to go by"


@pytest.mark.parametrize("stream", [False, True])
def test_missing_usage_is_no_lie(
    provider: StandInProvider, caller: Any, kind: str, url: str, make_call: MakeCall, stream: bool
) -> None:
    provider.script(usage=None)
    call = make_call(url, kind, stream=stream)
    reply = caller.collect(call)[1] if stream else caller.send(call)
    assert (reply.usage, reply.flags) == (None, ())


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "1e99"}, 86_400.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": format_datetime(datetime.fromtimestamp(1_000_060, UTC), usegmt=True)}, 60.0),
        ({"retry-after": format_datetime(datetime.fromtimestamp(999_000, UTC), usegmt=True)}, 0.0),
        ({}, None),
    ],
)
def test_a_wait_is_read_from_seconds_milliseconds_or_a_date(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(headers, now_s=1_000_000) == seconds
