"""Tokens in exchange for this process' own identity, from a token endpoint on loopback."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import parse_qs

import pytest

from mesh_plugins.core.federated import Federation
from mesh_plugins.http.tokens import TokenEndpoints
from mesh_store.model.errors import ConfigError, ProviderError, Rejected

SUBJECT = "eyJ-the-token-of-this-workload"


class TokenEndpoint:
    """Gives tokens ``token-1``, ``token-2``, …

    Attributes:
        asked: the forms so far.
        expires_in: how long a token holds, seconds.
        status, body: answered instead, if set.
        slow_s: seconds before each answer.
    """

    def __init__(self):
        self.asked, self.expires_in, self.slow_s = [], 600, 0.0
        self.status, self.body = 200, None
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                form = self.rfile.read(int(self.headers["content-length"])).decode()
                endpoint.asked.append({name: values[0] for name, values in parse_qs(form).items()})
                said = {"access_token": f"token-{len(endpoint.asked)}", "expires_in": endpoint.expires_in}
                time.sleep(endpoint.slow_s)
                body = json.dumps(said if endpoint.body is None else endpoint.body).encode()
                self.send_response(endpoint.status)
                if endpoint.status == 307:
                    self.send_header("location", "http://127.0.0.1:9/elsewhere")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/oauth/token"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def endpoint():
    made = TokenEndpoint()
    yield made
    made.close()


@pytest.fixture
def subject(tmp_path):
    path = tmp_path / "workload-token"
    path.write_text(SUBJECT + "\n")
    return f"file:{path}"


class Clock:
    now = 1_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def call(endpoint, subject, **settings):
    """An attempt at a provider that wants a federated token, as far as that is asked."""
    secret = {"federated": {"token_url": endpoint.url, "subject_token": subject, **settings}}
    provider = SimpleNamespace(id="p", name="vendor", secret=secret)
    return SimpleNamespace(provider=provider, target=SimpleNamespace(model="m"), timeout_s=5.0, attempt=1)


@pytest.fixture(params=["threads", "event loop"])
def taken(request, clock):
    """Takes a token in either colour."""
    federation = Federation(TokenEndpoints(), clock)

    def take(call):
        if request.param == "threads":
            return federation.token(call)["token"]
        return asyncio.run(federation.atoken(call))["token"]

    return take


def federate(world, endpoint, subject, **settings):
    secret = {"federated": {"token_url": endpoint.url, "subject_token": subject, **settings}}
    world.run(lambda admin: admin.update_provider(world.name("local"), secret=secret))


def test_a_call_is_sent_with_the_token_it_was_given(sealed, words, endpoint, subject):
    federate(
        sealed, endpoint, subject, audience="https://api.example.com", extra={"service_account_id": "sa"}
    )
    mesh = sealed.mesh()
    mesh.chat(sealed.alias_name, words.ASK)
    assert sealed.sent() == "Bearer token-1"
    asyncio.run(mesh.achat(sealed.alias_name, words.ASK))
    assert sealed.sent() == "Bearer token-1"
    assert endpoint.asked == [
        {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": SUBJECT,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "audience": "https://api.example.com",
            "service_account_id": "sa",
        }
    ]


def test_a_jwt_bearer_grant_sends_an_assertion(taken, endpoint, subject, monkeypatch):
    monkeypatch.setenv("MESH_TEST_CLIENT", "client-secret")
    more = {"client_id": "us", "client_secret": "env:MESH_TEST_CLIENT", "scope": "models"}
    assert taken(call(endpoint, subject, grant_type="jwt-bearer", **more)) == "token-1"
    assert endpoint.asked == [
        {
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": SUBJECT,
            "client_id": "us",
            "client_secret": "client-secret",
            "scope": "models",
        }
    ]


def test_a_token_is_kept_until_shortly_before_its_end(taken, endpoint, subject, clock):
    ours = call(endpoint, subject)
    assert [taken(ours) for _ in range(3)] == ["token-1"] * 3
    clock.now += 600 - 121
    assert taken(ours) == "token-1"
    clock.now += 2
    assert taken(ours) == "token-2"


def test_a_renewal_that_fails_leaves_the_token_that_still_holds(taken, endpoint, subject, clock):
    ours = call(endpoint, subject)
    taken(ours)
    endpoint.status = 503
    clock.now += 500
    assert taken(ours) == "token-1"
    clock.now += 101
    with pytest.raises(ProviderError, match="token endpoint answered 503") as caught:
        taken(ours)
    assert caught.value.status == 503
    endpoint.status = 200
    assert taken(ours).startswith("token-")


def test_threads_share_one_exchange(endpoint, subject, clock):
    endpoint.slow_s = 0.1
    federation, ours = Federation(TokenEndpoints(), clock), call(endpoint, subject)
    with ThreadPoolExecutor(8) as pool:
        assert {token["token"] for token in pool.map(lambda _: federation.token(ours), range(8))} == {
            "token-1"
        }
    assert len(endpoint.asked) == 1


async def test_tasks_share_one_exchange_and_the_loop_goes_on(endpoint, subject, clock):
    endpoint.slow_s = 0.2
    federation, ours, beats = Federation(TokenEndpoints(), clock), call(endpoint, subject), 0

    async def beat():
        nonlocal beats
        while True:
            await asyncio.sleep(0.01)
            beats += 1

    heart = asyncio.create_task(beat())
    tokens = await asyncio.gather(*(federation.atoken(ours) for _ in range(8)))
    heart.cancel()
    assert {token["token"] for token in tokens} == {"token-1"}
    assert len(endpoint.asked) == 1
    assert beats >= 5


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, {"error": "invalid_grant", "error_description": SUBJECT}, "answered 400: invalid_grant"),
        (200, {"access_token": ""}, "answered 200: no token"),
        (200, {"access_token": 7}, "answered 200: no token"),
        (200, ["token"], "answered 200: no token"),
        (307, {}, "answered 307"),
        (500, "oops", "answered 500"),
    ],
)
def test_an_endpoint_that_gives_none_is_named_and_no_token_repeated(
    taken, endpoint, subject, status, body, expected
):
    endpoint.status, endpoint.body = status, body
    with pytest.raises(ProviderError, match=expected) as caught:
        taken(call(endpoint, subject))
    assert SUBJECT not in str(caught.value) + repr(caught.value.__dict__)


def test_an_endpoint_that_is_away_lets_another_target_answer(sealed, words, endpoint, subject):
    federate(sealed, SimpleNamespace(url="http://127.0.0.1:9/token"), subject)
    sealed.run(
        lambda admin: admin.create_provider(
            name=sealed.name("plain"), kind="openai", base_url=sealed.provider.base_url
        )
    )
    targets = [
        {"provider": sealed.name("local"), "model": "small"},
        {"provider": sealed.name("plain"), "model": "small", "tier": 2},
    ]
    sealed.run(lambda admin: admin.update_alias(sealed.alias_name, targets=targets))
    reply = sealed.mesh().chat(sealed.alias_name, words.ASK)
    assert reply.mesh.target == f"{sealed.name('plain')}/small"


def test_a_subject_token_that_is_not_there_says_which(taken, endpoint):
    with pytest.raises(ConfigError, match="MESH_TEST_NOT_SET"):
        taken(call(endpoint, "env:MESH_TEST_NOT_SET"))


@pytest.mark.parametrize(
    "settings",
    [
        {"token_url": "http://auth.example.com/token"},
        {"token_url": "https://user@auth.example.com/token"},
        {"subject_token": SUBJECT},
        {"client_secret": "plain"},
        {"grant_type": "password"},
        {"unknown": "x"},
        {"extra": {"client_secret": "plain"}},
    ],
    ids=str,
)
def test_what_would_leak_is_refused(sealed, settings):
    whole = {"token_url": "https://auth.example.com/token", "subject_token": "env:TOKEN"} | settings
    with pytest.raises(Rejected) as caught:
        sealed.run(lambda admin: admin.update_provider(sealed.name("local"), secret={"federated": whole}))
    assert SUBJECT not in str(caught.value)
    assert "plain" not in str(caught.value)
