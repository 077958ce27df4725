"""TLS on the data port: certificate and key from the files of a `kubernetes.io/tls` Secret, replaced while serving.

Made by `app.py` when the settings name a Secret. The listener has one context for its whole life; each handshake is
moved to the context of the pair that was loaded last. So a rotation touches no open connection, and a pair that is not
good is never seen by a client.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from model_serving.proxy.files import Watched
from model_serving.proxy_config import (
    CREDENTIAL_MISSING,
    TLS_CERTIFICATE,
    TLS_KEY,
    CredentialFile,
    CredentialReport,
    Layout,
)

# Forward secrecy and authenticated encryption alone; TLS 1.3 has no others.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_ENCRYPTED = "the key is encrypted"


class ServerTls:
    """The certificate of the data port: what handshakes get, and what is wrong with the files."""

    def __init__(self, secret: str, layout: Layout) -> None:
        self._files = tuple(CredentialFile(secret, key) for key in (TLS_CERTIFICATE, TLS_KEY))
        self._watched = tuple(Watched(layout.credential(file)) for file in self._files)
        self._current: ssl.SSLContext | None = None
        self._loaded_at = 0.0
        self._problems = [CREDENTIAL_MISSING, CREDENTIAL_MISSING]
        self.context = _context()
        """For the listener."""
        self.context.sni_callback = self._choose

    @property
    def loaded(self) -> bool:
        """Whether handshakes can succeed."""
        return self._current is not None

    def refresh(self, wall: float) -> None:
        """Takes over a pair that changed; the former one stays in use while the new one is not good."""
        # Both are asked each time: one of two files that are replaced one after the other may be seen first.
        certificate, key = self._watched
        changed = certificate.changed()
        if key.changed() or changed:
            self._load(wall)

    def reports(self) -> list[CredentialReport]:
        """How both files stand, as for any credential."""
        loaded = datetime.fromtimestamp(self._loaded_at, UTC).isoformat(timespec="seconds") if self._loaded_at else ""
        return [
            CredentialReport(file.secret, file.key, loaded, problem)
            for file, problem in zip(self._files, self._problems, strict=True)
        ]

    def _load(self, wall: float) -> None:
        contents: list[bytes] = []
        for index, watched in enumerate(self._watched):
            self._problems[index] = ""
            try:
                contents.append(watched.read())
            except FileNotFoundError:
                self._problems[index] = CREDENTIAL_MISSING
            except (OSError, ValueError):
                self._problems[index] = "unreadable"
        if any(self._problems):
            return
        fresh = _context()
        try:
            with _memory_file(contents[0]) as certificate, _memory_file(contents[1]) as key:
                fresh.load_cert_chain(certificate, key, password=_no_password)
        except (ssl.SSLError, ValueError, OSError) as error:
            at, problem = _fault(error, contents[0])
            self._problems[at] = problem
            return
        self._current, self._loaded_at = fresh, wall

    def _choose(
        self, handshake: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext
    ) -> int | None:
        """Called by OpenSSL for each handshake, whether or not the client names a host."""
        if self._current is None:
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        handshake.context = self._current
        return None


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    return context


@contextmanager
def _memory_file(content: bytes) -> Iterator[str]:
    """A path to `content`: Python loads keys from files alone, and reading both files twice could mix two pairs."""
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _no_password() -> str:
    raise ValueError(_ENCRYPTED)  # without this OpenSSL would ask on the terminal


def _fault(error: Exception, certificate: bytes) -> tuple[int, str]:
    """Which of the two files is at fault, and how."""
    try:
        _context().load_verify_locations(cadata=certificate.decode("ascii"))
    except (ssl.SSLError, ValueError):
        return 0, "not a certificate in PEM format"
    if str(error) == _ENCRYPTED:
        return 1, "encrypted: store it without a passphrase"
    if isinstance(error, ssl.SSLError) and "MISMATCH" in (error.reason or ""):
        return 1, f"not the key of the certificate in {TLS_CERTIFICATE}"
    if isinstance(error, ssl.SSLError) and error.reason and "PEM" not in str(error):
        return 0, f"not accepted: {error.reason.lower().replace('_', ' ')}"  # such as a key that is too short
    return 1, "not a private key in PEM format"
