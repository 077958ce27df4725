"""The HTTP session to an API server: TLS, tokens that renew themselves, request counts. Used by `kube/client.py`, and
handed to Kopf so that both authenticate alike."""

from __future__ import annotations

from collections import Counter

import aiohttp
from aiohttp.client_middlewares import ClientHandlerType

from model_serving.kube.config import Connection

CONNECT_SECONDS = 10.0
USER_AGENT = "model-serving"

RequestCounts = Counter[tuple[str, str]]
"""Requests by (verb, status code); code `error` when there was no answer."""


def open_session(connection: Connection, counts: RequestCounts | None = None) -> aiohttp.ClientSession:
    """A session that authenticates every request; the caller closes it."""
    tally = RequestCounts() if counts is None else counts

    async def authenticate(request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
        if "Authorization" in request.headers:
            return await handler(request)
        await _present(request, connection, renew=False)
        response = await handler(request)
        if response.status == 401 and await _present(request, connection, renew=True):
            response.close()
            response = await handler(request)
        return response

    async def count(request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
        try:
            response = await handler(request)
        except BaseException:
            tally[_verb(request), "error"] += 1
            raise
        tally[_verb(request), str(response.status)] += 1
        return response

    ssl = connection.ssl_context()
    return aiohttp.ClientSession(
        # Requests are limited by the client's own semaphore; watches must never wait for a free connection.
        connector=aiohttp.TCPConnector(limit=0, ssl=True if ssl is None else ssl),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        headers={"User-Agent": USER_AGENT},
        # One session acts for many callers: what the server would remember of one must not go with another's token.
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=(authenticate, count),
    )


async def _present(request: aiohttp.ClientRequest, connection: Connection, *, renew: bool) -> bool:
    """Puts the token into the request; False if it is the one that was there already."""
    token = await connection.credentials.token(renew=renew)
    value = f"Bearer {token}"
    if not token or request.headers.get("Authorization") == value:
        return False
    request.headers["Authorization"] = value
    return True


def _verb(request: aiohttp.ClientRequest) -> str:
    if request.method == "GET":
        return "watch" if "watch" in request.url.query else "get"
    return request.method.lower()
