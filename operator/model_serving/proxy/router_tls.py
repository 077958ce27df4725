"""TLS from the router to proxies: whom it believes. Made by `router_app.py`.

Pods are called by address, and a certificate is for a name: with an authority's certificates and the name that the
table gives, a proxy must show one that the authority has signed for that name. Without the authority's certificates
nothing is verified: the connection is encrypted, and the network is trusted as with plain HTTP.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from model_serving.proxy.files import Watched

log = logging.getLogger(__name__)


class ProxyTls:
    """The context of connections to proxies. `ca_file` in PEM, re-read when it changes; empty: nothing is verified."""

    def __init__(self, ca_file: str = "") -> None:
        self._file = Watched(Path(ca_file)) if ca_file else None
        self._context: ssl.SSLContext | None = None
        self.problem = ""
        """Why the file could not be taken over; empty when it could."""

    def context(self) -> ssl.SSLContext:
        """For a new connection. OSError when there are no certificates to verify a proxy's with."""
        if self._context is None and self._file is None:
            self._context = _context()
        if self._context is None:
            raise OSError(self.problem or "the CA file of proxies is not read yet")
        return self._context

    def refresh(self) -> None:
        """Takes over a file that changed; the former one holds while the new one is not good."""
        if self._file is None or not self._file.changed():
            return
        try:
            fresh = _context()
            fresh.load_verify_locations(cadata=self._file.read().decode("ascii"))
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            self.problem = f"the CA file of proxies cannot be used: {type(error).__name__}"
            log.error("%s", self.problem)
            return
        fresh.check_hostname, fresh.verify_mode = True, ssl.CERT_REQUIRED
        self._context, self.problem = fresh, ""


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
