"""Signed assertions (RS256), by PyJWT and the cryptography package. Imported by `google.py` with the first one."""

from __future__ import annotations

from typing import Any

import jwt


def signed(claims: dict[str, Any], private_key: str, kid: str) -> str:
    """The compact form of a JWT. ValueError when `private_key` is not an RSA key in PEM format."""
    headers = {"kid": kid} if kid else None
    try:
        return jwt.encode(claims, private_key, algorithm="RS256", headers=headers)
    except Exception:  # several kinds from several layers, whose texts may quote the key
        raise ValueError("not an RSA key in PEM format") from None
