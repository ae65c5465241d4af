"""Which authorities are trusted, and which certificate is shown."""

from __future__ import annotations

import os
import ssl
from functools import lru_cache

from mesh_plugins.http.transport import TransportOptions


def tls_context(options: TransportOptions) -> ssl.SSLContext:
    """Return a context for these options: ``SSL_CERT_FILE``, else the authorities certifi lists."""
    usual = os.environ.get("SSL_CERT_FILE") if options.use_environment else None
    return _context(usual, options.ca_pem, options.client_pem)


@lru_cache(maxsize=8)
def _context(usual: str | None, ca_pem: str | None, client_pem: str | None) -> ssl.SSLContext:
    # Kept, because reading the authorities takes 20 ms: too much for every event loop.
    import certifi

    context = ssl.create_default_context(cafile=usual or certifi.where())
    if ca_pem is not None:
        context.load_verify_locations(ca_pem)
    if client_pem is not None:
        context.load_cert_chain(client_pem)
    return context
