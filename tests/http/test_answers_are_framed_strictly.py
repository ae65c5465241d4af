"""The bytes of an answer, as the transport for event loops reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_plugins.http.aio.framing import MOST_HEAD, AnswerParser, FramingError

OK = b"HTTP/1.1 200 OK\r\n"


def chunked(body: bytes, sizes: list[int]) -> bytes:
    """Encode a body in chunks of these sizes, the rest in one."""
    out, at = b"", 0
    for size in [*sizes, len(body)]:
        if piece := body[at : at + size]:
            out += b"%x;ext=1\r\n%b\r\n" % (len(piece), piece)
        at += size
    return out + b"0\r\nx-trailer: 1\r\n\r\n"


def read(pieces: list[bytes]) -> tuple[int, bytes, bool, bool]:
    parser = AnswerParser()
    body = b"".join(parser.feed(piece) for piece in pieces if piece)
    assert parser.head is not None
    return parser.head.status, body, parser.done, parser.reusable


def cut(whole: bytes, at: list[int]) -> list[bytes]:
    places = sorted(place % (len(whole) + 1) for place in at)
    return [whole[a:b] for a, b in zip([0, *places], [*places, len(whole)], strict=True)]


CUTS = st.lists(st.integers(0, 10_000), max_size=30)


@given(st.binary(max_size=300), st.lists(st.integers(1, 50), max_size=10), CUTS)
def test_chunks_give_the_body_however_they_are_cut(body: bytes, sizes: list[int], at: list[int]) -> None:
    whole = OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body, sizes)
    assert read(cut(whole, at)) == (200, body, True, True)


@given(st.binary(max_size=300), CUTS)
def test_a_length_gives_the_body_however_it_is_cut(body: bytes, at: list[int]) -> None:
    whole = OK + b"content-length: %d\r\n\r\n%b" % (len(body), body)
    expected = (200, body, True, True) if body else (200, b"", False, False)
    status, got, done, reusable = read(cut(whole, at))
    assert (status, got) == expected[:2]
    assert done
    assert reusable


@given(st.binary(max_size=500))
def test_noise_is_refused_or_waits_for_more(noise: bytes) -> None:
    parser = AnswerParser()
    try:
        parser.feed(noise)
    except FramingError:
        return
    assert parser.head is None or noise.startswith(b"HTTP/1.")


@given(st.binary(max_size=200))
def test_noise_between_chunks_is_refused_or_waits_for_more(noise: bytes) -> None:
    parser = AnswerParser()
    try:
        body = parser.feed(OK + b"transfer-encoding: chunked\r\n\r\n" + noise)
    except FramingError:
        return
    assert len(body) <= len(noise)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/2 200 OK\r\n",
        b"HTTP/1.1 999 What\r\n",
        b"HTTP/1.1 20 OK\r\n",
        b"ICY 200 OK\r\n",
        OK + b"no colon\r\n",
        OK + b"bad name : 1\r\n",
        OK + b" folded: 1\r\n",
        OK + b": 1\r\n",
        OK + b"content-length: -1\r\n",
        OK + b"content-length: +1\r\n",
        OK + b"content-length: 1_0\r\n",
        OK + b"content-length: 1, 2\r\n",
        OK + b"content-length: 1\r\ncontent-length: 2\r\n",
        OK + b"content-length:\r\n",
        OK + b"transfer-encoding: gzip, chunked\r\n",
    ],
)
def test_a_head_that_is_none_is_refused(head: bytes) -> None:
    with pytest.raises(FramingError):
        AnswerParser().feed(head + b"\r\n")


@pytest.mark.parametrize(
    "chunk", [b"-1\r\n", b"0x5\r\n", b"\r\n", b"5_0\r\n", b"g\r\n", b"f" * 16 + b"\r\n", b"1\r\nab\r\n"]
)
def test_a_chunk_that_is_none_is_refused(chunk: bytes) -> None:
    parser = AnswerParser()
    parser.feed(OK + b"transfer-encoding: chunked\r\n\r\n")
    with pytest.raises(FramingError):
        parser.feed(chunk)


@pytest.mark.parametrize("start", [b"", OK + b"transfer-encoding: chunked\r\n\r\n"])
def test_what_never_ends_is_given_up(start: bytes) -> None:
    parser = AnswerParser()
    with pytest.raises(FramingError, match="too long"):
        for piece in [start, *[b"x" * 1000] * (MOST_HEAD // 1000 + 2)]:
            parser.feed(piece)


def test_chunks_win_over_a_length() -> None:
    whole = OK + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    assert read([whole]) == (200, b"abc", True, True)


def test_an_interim_answer_is_passed_over() -> None:
    whole = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK + b"content-length: 2\r\n\r\nhi"
    assert read([whole]) == (200, b"hi", True, True)


def test_without_a_length_the_end_of_the_connection_is_the_end() -> None:
    parser = AnswerParser()
    assert parser.feed(b"HTTP/1.0 200 OK\r\n\r\nabc") == b"abc"
    assert not parser.done
    assert parser.eof()
    assert not parser.reusable


def test_a_connection_that_broke_off_is_no_end() -> None:
    parser = AnswerParser()
    parser.feed(OK + b"content-length: 5\r\n\r\nabc")
    assert not parser.eof()


@pytest.mark.parametrize(
    ("whole", "reusable"),
    [
        (OK + b"content-length: 2\r\n\r\nhi", True),
        (OK + b"connection: close\r\ncontent-length: 2\r\n\r\nhi", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", False),
        (b"HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\ncontent-length: 2\r\n\r\nhi", True),
        (OK + b"content-length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n", False),
        (OK + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\nextra", False),
    ],
)
def test_a_connection_is_used_again_only_when_nothing_is_left_on_it(whole: bytes, reusable: bool) -> None:
    assert read([whole])[2:] == (True, reusable)
