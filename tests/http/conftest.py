"""The stand-in provider, calls as the core makes them, and callers over every transport in its colours."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mesh_plugins.core.call import CallRequest, ProviderCall, ProviderReply
from mesh_plugins.http.default import DefaultTransport
from mesh_plugins.http.httpx import HttpxTransport
from mesh_plugins.http.sender import DirectSender
from mesh_plugins.http.transport import SyncTransport, Transport, TransportOptions
from mesh_plugins.testing.provider import StandInProvider
from mesh_store.model.snapshot import KeyEntry, Provider, Target

MakeCall = Callable[..., ProviderCall]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def provider() -> Iterator[StandInProvider]:
    with StandInProvider() as running:
        yield running


@pytest.fixture
def make_call() -> MakeCall:
    def make(
        base_url: str | None = None,
        kind: str = "openai",
        *,
        operation: Any = "chat",
        model: str = "m",
        stream: bool = False,
        secret: Any = "sk-secret-1",
        timeout_s: float = 20.0,
        provider: dict[str, Any] | None = None,
        target: dict[str, Any] | None = None,
        **payload: Any,
    ) -> ProviderCall:
        if operation == "chat":
            payload.setdefault("messages", [{"role": "user", "content": "hello there"}])
        whom: Any = {"id": "p1", "name": "local", "kind": kind, "base_url": base_url, **(provider or {})}
        request = CallRequest(
            id="c1",
            operation=operation,
            alias="fast",
            payload=payload,
            principal=KeyEntry(id="k1", team="t1"),
            stream=stream,
        )
        return ProviderCall(
            request=request,
            provider=Provider(**whom),
            target=Target(id="g1", provider="p1", model=model, **(target or {})),
            secret=secret,
            payload={**payload, "model": model},
            stream=stream,
            timeout_s=timeout_s,
            attempt=1,
        )

    return make


class AsInThreads(DefaultTransport):
    """The default as every thread but the main one knows it."""

    def _for_this_thread(self, url: str) -> SyncTransport:
        return self._threads


_TRANSPORTS: dict[str, Callable[..., Transport]] = {
    "default": DefaultTransport,
    "threads": AsInThreads,
    "httpx": HttpxTransport,
}


@pytest.fixture(scope="module")
def transports() -> Iterator[dict[str, Transport]]:
    made = {name: kind() for name, kind in _TRANSPORTS.items()}
    yield made
    for transport in made.values():
        transport.close()


@pytest.fixture(params=_TRANSPORTS)
def transport(request: pytest.FixtureRequest, transports: dict[str, Transport]) -> Transport:
    return transports[request.param]


@pytest.fixture
def sender(transport: Transport) -> DirectSender:
    return DirectSender(transport)


class Caller:
    """Sends and collects, in one of the two colours."""

    def __init__(self, sender: DirectSender, colour: str) -> None:
        self.sender, self.colour = sender, colour

    def send(self, call: ProviderCall) -> ProviderReply:
        if self.colour == "sync":
            return self.sender.send(call)
        return asyncio.run(self.sender.asend(call))

    def send_both(
        self, first: ProviderCall, second: ProviderCall, between: Callable[[], object] = int
    ) -> tuple[ProviderReply, ProviderReply]:
        """Send one after the other, over the same connection if it is kept."""
        if self.colour == "sync":
            reply = self.sender.send(first)
            between()
            return reply, self.sender.send(second)

        async def both() -> tuple[ProviderReply, ProviderReply]:
            reply = await self.sender.asend(first)
            between()  # blocks the loop: what it does is not heard of before the second call
            return reply, await self.sender.asend(second)

        return asyncio.run(both())

    def collect(self, call: ProviderCall, seen: list[Any] | None = None) -> tuple[list[Any], ProviderReply]:
        """Read a whole stream; ``seen`` also gets the chunks that came before an error."""
        chunks: list[Any] = [] if seen is None else seen
        if self.colour == "async":
            return chunks, asyncio.run(self._acollect(call, chunks))
        stream = self.sender.stream(call)
        for chunk in stream:
            chunks.append(chunk)  # noqa: PERF402 - what was seen before an error stays seen
        return chunks, stream.reply

    async def _acollect(self, call: ProviderCall, chunks: list[Any]) -> ProviderReply:
        stream = await self.sender.astream(call)
        async for chunk in stream:
            chunks.append(chunk)  # noqa: PERF401 - as above
        return stream.reply


# The default is aiohttp for event loops and the main thread, pyreqwest for other threads.
@pytest.fixture(params=["default-sync", "threads-sync", "default-async", "httpx-sync", "httpx-async"])
def caller(request: pytest.FixtureRequest, transports: dict[str, Transport]) -> Caller:
    transport, _, colour = request.param.partition("-")
    return Caller(DirectSender(transports[transport]), colour)


@pytest.fixture(params=["default-sync", "threads-sync", "default-async", "httpx-sync", "httpx-async"])
def caller_with(request: pytest.FixtureRequest) -> Iterator[Callable[[TransportOptions], Caller]]:
    """Make callers whose transports have options."""
    name, _, colour = request.param.partition("-")
    made: list[Transport] = []

    def make(options: TransportOptions) -> Caller:
        made.append(_TRANSPORTS[name](options))
        return Caller(DirectSender(made[-1]), colour)

    yield make
    for transport in made:
        transport.close()


@pytest.fixture(params=["openai", "anthropic"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(provider: StandInProvider, kind: str) -> str:
    return provider.base_url if kind == "openai" else provider.anthropic_url


_SIGNS = x509.KeyUsage(
    digital_signature=True,
    key_cert_sign=True,
    crl_sign=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``ca.pem``, and ``server.pem`` and ``client.pem`` with certificate and key, signed by it."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)

    def signed(name: str, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        # Python 3.13 trusts no chain without key identifiers, nor an authority that may not sign.
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
        builder = builder.add_extension(above, critical=False)
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = builder.add_extension(own, critical=False)
        if ca:
            builder = builder.add_extension(_SIGNS, critical=True)
        loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = builder.add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
        return builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    (folder / "ca.pem").write_bytes(signed("authority", authority, ca=True))
    for name in ("server", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / f"{name}.pem").write_bytes(signed(name, key, ca=False) + private)
    return folder
