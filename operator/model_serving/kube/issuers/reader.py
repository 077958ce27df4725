"""Reads JSON documents of issuers over HTTPS, within bounds of size and time. Used by `renewal.py`."""

from __future__ import annotations

import ssl
from typing import Any

import aiohttp
import msgspec

_SECONDS = 10.0
_MOST_BYTES = 512 * 1024


class ReadError(Exception):
    """A document that cannot be read; the text names its URL and why."""


async def read_json(url: str, certificate_authority: str = "") -> Any:
    """The JSON document at `url`, whose server must show a certificate of these authorities (PEM). ReadError.

    Redirects are not followed: the admin has said where the document is.
    """
    if not url.startswith("https://"):
        raise ReadError(f"reading {url[:200]}: it is not an https:// URL")
    context = ssl.create_default_context(cadata=certificate_authority or None)
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(ssl=context)) as session,
            session.get(url, allow_redirects=False, headers={"Accept": "application/json"}) as response,
        ):
            if response.status != 200:
                raise ReadError(f"reading {url}: the answer is {response.status}")
            body = bytearray()
            async for part in response.content.iter_any():
                body += part
                if len(body) > _MOST_BYTES:
                    raise ReadError(f"reading {url}: it is larger than {_MOST_BYTES} bytes")
            return msgspec.json.decode(body)
    except TimeoutError:
        raise ReadError(f"reading {url}: no answer within {_SECONDS:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise ReadError(f"reading {url}: {type(error).__name__}: {error}") from None
