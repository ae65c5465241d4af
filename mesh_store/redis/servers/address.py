"""The URLs users write, as values.

::

    redis://[user:password@]host[:port][/db]                          one server
    unix:///path/to/socket[?db=0&username=…&password=…]               one server on this machine
    redis+sentinel://[user:password@]host[:port],…/service[/db]       the primary its sentinels name
    redis+cluster://[user:password@]host[:port],…                     a cluster, by some of its servers

``rediss`` instead of ``redis`` means TLS. Options follow as a query, values percent-encoded:

======================================  =========================================================
``ssl_ca_certs``, ``ssl_ca_path``       who may sign the server's certificate; the system's if absent
``ssl_certfile``, ``ssl_keyfile``       our certificate, where the server asks for one (mutual TLS)
``ssl_password``                        of that key
``ssl_server_name``                     the name to ask for and to check instead of the host's own
``ssl_check_hostname``                  ``no``: any name the certificate has will do
``ssl_cert_reqs``                       ``required`` (so by default), ``optional`` or ``none``
``ssl_min_version``, ``ssl_ciphers``    as of Python's ssl
``db``, ``client_name``                 as of Redis
``username``, ``password``              instead of before the host
``sentinel_username``,                  for the sentinels, which know nothing of the servers' users
``sentinel_password``
``sentinel_ssl``                        ``no``: the sentinels speak without TLS
======================================  =========================================================

Deadlines and retries are no options: a decision has one deadline (``MESH_DECISION_S``), nothing is retried.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from mesh_store.model.errors import ConfigError

Kind = Literal["one", "sentinel", "cluster"]

#: A host's name or address, and its port.
Host = tuple[str, int]

PORT, SENTINEL_PORT = 6379, 26379

_KINDS: dict[str, Kind] = {"": "one", "sentinel": "sentinel", "cluster": "cluster"}
_SCHEMES = (
    "redis://, rediss://, unix://, redis+sentinel://, rediss+sentinel://, redis+cluster://, rediss+cluster://"
)
_TEXTS = frozenset(
    {
        *("username", "password", "client_name", "ssl_ca_certs", "ssl_ca_path", "ssl_certfile"),
        *("ssl_keyfile", "ssl_password", "ssl_server_name", "ssl_cert_reqs", "ssl_ciphers"),
    }
)
_SENTINEL_TEXTS = frozenset({"sentinel_username", "sentinel_password"})
_YES, _NO = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


class Address(NamedTuple):
    """Where to connect.

    Attributes:
        kind: one server, sentinels or a cluster.
        hosts: the server, the sentinels, or some servers of the cluster; none for a unix socket.
        path: of a unix socket, or empty.
        tls: whether servers are spoken to over TLS.
        service: what the sentinels call the primary, or empty.
        options: of connections to servers: credentials, database, certificates.
        sentinel_options: of connections to sentinels.
        sentinel_tls: whether sentinels are spoken to over TLS.
    """

    kind: Kind
    hosts: tuple[Host, ...]
    path: str
    tls: bool
    service: str
    options: dict[str, Any]
    sentinel_options: dict[str, Any]
    sentinel_tls: bool


def parse_address(url: str) -> Address:
    """Read a URL.

    Raises:
        ConfigError: it is not one of the forms above; says which part, never a credential.
    """
    scheme, there, rest = url.partition("://")
    base, plus, topology = scheme.lower().partition("+")
    if base in ("sentinel", "cluster") and not plus:
        base, topology = "redis", base
    kind = _KINDS.get(topology)
    if not there or kind is None or base not in ("redis", "rediss", "unix") or (base == "unix" and topology):
        raise ConfigError(f"a Redis URL begins with one of {_SCHEMES}")
    options, sentinel_options, sentinel_tls = _options(rest.partition("?")[2])
    place, _, path = rest.partition("?")[0].partition("/")
    if base == "unix":
        options = _credentials(place.rpartition("@")[0]) | options
        return Address("one", (), "/" + unquote(path), False, "", options, {}, False)
    if "@" in path:
        raise _unreadable()
    user, _, hosts = place.rpartition("@")
    service, db = _path(kind, path)
    options = _credentials(user) | db | options
    if kind == "cluster" and options.get("db", 0) != 0:
        raise ConfigError("a Redis cluster has no databases: leave the number away")
    if kind != "sentinel" and sentinel_options:
        raise ConfigError("sentinel_username and sentinel_password belong to a redis+sentinel:// URL")
    found = tuple(_host(text, SENTINEL_PORT if kind == "sentinel" else PORT) for text in hosts.split(","))
    if kind == "one" and len(found) > 1:
        raise ConfigError("a Redis URL with several hosts begins with redis+sentinel:// or redis+cluster://")
    tls = base == "rediss"
    return Address(kind, found, "", tls, service, options, sentinel_options, tls and sentinel_tls)


def shown(url: str) -> str:
    """Return a URL for messages: without credentials and options."""
    scheme, there, rest = url.partition("://")
    place, slash, path = rest.partition("?")[0].partition("/")
    return f"{scheme}{there}{place.rpartition('@')[2]}{slash}{path}" if there else "a Redis URL"


def identity(url: str) -> str:
    """Return what tells one Redis from another, whoever connects and whichever options are set."""
    try:
        address = parse_address(url)
    except ConfigError:
        return shown(url)
    db = address.options.get("db", 0)
    if address.path:
        return f"unix://{address.path}/{db}"
    hosts = ",".join(f"{host}:{port}" for host, port in sorted(address.hosts))
    return f"{address.kind}://{hosts}/{address.service}/{db}"


def _credentials(text: str) -> dict[str, Any]:
    username, _, password = text.partition(":")
    found = {"username": unquote(username), "password": unquote(password)}
    return {name: value for name, value in found.items() if value}


def _host(text: str, port: int) -> Host:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname or "localhost", parts.port or port
    except ValueError:
        raise _unreadable() from None
    return unquote(host), port


def _unreadable() -> ConfigError:
    # Never quoted: what is taken for a host may be a part of a password.
    return ConfigError(
        "a host in the Redis URL is not host:port; characters of a password other than letters and digits "
        "must be percent-encoded"
    )


def _path(kind: Kind, path: str) -> tuple[str, dict[str, Any]]:
    """Read what follows the hosts: the service of sentinels, then the database."""
    service = ""
    if kind == "sentinel":
        service, _, path = path.partition("/")
        if not service:
            raise ConfigError(
                "a redis+sentinel:// URL names its service after the hosts: redis+sentinel://host/service"
            )
    path = path.strip("/")
    return unquote(service), {"db": _number("the database in the Redis URL", path)} if path else {}


def _options(query: str) -> tuple[dict[str, Any], dict[str, Any], bool]:
    """Read the query: options for servers, for sentinels, and whether these speak TLS."""
    options: dict[str, Any] = {}
    sentinel: dict[str, Any] = {}
    sentinel_tls = True
    for name, value in parse_qsl(query):
        said = f"{name} in the Redis URL"
        if name in _TEXTS:
            options[name] = value
        elif name in ("db", "ssl_min_version"):
            options[name] = _number(said, value)
        elif name == "ssl_check_hostname":
            options[name] = _truth(said, value)
        elif name in _SENTINEL_TEXTS:
            sentinel[name.removeprefix("sentinel_")] = value
        elif name == "sentinel_ssl":
            sentinel_tls = _truth(said, value)
        else:
            raise ConfigError(f"{said} is not an option of Mesh; it has {', '.join(sorted(_known()))}")
    return options, sentinel, sentinel_tls


def _known() -> frozenset[str]:
    return _TEXTS | _SENTINEL_TEXTS | {"db", "ssl_min_version", "ssl_check_hostname", "sentinel_ssl"}


def _number(what: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(f"{what} must be a number")
    return int(text)


def _truth(what: str, text: str) -> bool:
    if text.lower() in _YES | _NO:
        return text.lower() in _YES
    raise ConfigError(f"{what} must be yes or no")
