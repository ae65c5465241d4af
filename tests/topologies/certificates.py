"""Certificates for tests, signed by authorities of the tests' own."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = dt.timedelta(days=1)


class Authority:
    """Signs certificates; its own lies in ``ca``."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _subject(name)
        now = dt.datetime.now(dt.UTC)
        builder = _builder(self._subject, self._subject, self._key, now - DAY, now + DAY)
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca = folder / f"{name}-ca.pem"
        self.ca.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *hosts: str, expired: bool = False, password: str = "") -> tuple[Path, Path]:
        """Return the files of a certificate for some hosts, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        since, until = (now - 2 * DAY, now - DAY / 2) if expired else (now - DAY, now + DAY)
        issued = _builder(_subject(name), self._subject, key, since, until)
        if hosts:
            names = x509.SubjectAlternativeName([_general(host) for host in hosts])
            issued = issued.add_extension(names, critical=False)
        signed = issued.sign(self._key, hashes.SHA256())
        certificate, private = (self._folder / f"{self._name}-{name}.{end}" for end in ("pem", "key"))
        certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        locked: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password:
            locked = serialization.BestAvailableEncryption(password.encode())
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        private.write_bytes(key.private_bytes(encoding, form, locked))
        return certificate, private


def presented(certificate: Path, key: Path, *, asks_for: Path | None = None) -> ssl.SSLContext:
    """Return what a server presents; with ``asks_for`` it wants a certificate of that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if asks_for is not None:
        context.load_verify_locations(asks_for)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    since: dt.datetime,
    until: dt.datetime,
) -> x509.CertificateBuilder:
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
    made = made.public_key(key.public_key()).serial_number(x509.random_serial_number())
    return made.not_valid_before(since).not_valid_after(until)


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
