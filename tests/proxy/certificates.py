"""Certificates for tests, made by `openssl`."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """A self-signed certificate and its key, in PEM."""

    certificate: bytes
    key: bytes


def make_pair(folder: Path, name: str, *options: str, hosts: str = "DNS:localhost") -> Pair:
    """A pair whose subject is `name`, for `hosts`; `options` are further ones of `openssl req`."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName={hosts}", *options,
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return Pair(certificate.read_bytes(), key.read_bytes())


def encrypted(key: bytes) -> bytes:
    """The same key under a passphrase."""
    command = ["openssl", "ec", "-aes256", "-passout", "pass:secret"]
    return subprocess.run(command, input=key, check=True, capture_output=True).stdout
