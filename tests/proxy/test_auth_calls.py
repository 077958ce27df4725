"""Callers with tokens, on a running proxy: who may, what refusals say, and issuers' keys that change under load."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from model_serving.proxy_config import Grant, Issuer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.harness import Answer, Files, Running, call, chat, policy, proxy, until
from tests.proxy.tokens.minting import ACCOUNT, Mint, cluster, ec_key, jwk, rsa_key

LOGIN = "https://login.example"
FRONT = "system:serviceaccount:ns:model-serving-workspace"
GRANTS = [
    Grant("user", "oidc:ada", "CAN_QUERY"),
    Grant("user", "oidc:vic", "CAN_VIEW"),
    Grant("group", "oidc:team", "CAN_MANAGE"),
    Grant("group", "system:serviceaccounts:jobs", "CAN_QUERY"),
    Grant("user", ACCOUNT, "CAN_QUERY"),
]


def provider(*keys: dict[str, str]) -> Issuer:
    return Issuer(
        LOGIN, ["model-serving"], list(keys) or [jwk(ec_key(), "e1")],
        username_prefix="oidc:", groups_claim="groups", groups_prefix="oidc:",
    )  # fmt: skip


def user(name: str, *groups: str) -> str:
    claims = {"iss": LOGIN, "sub": name, "groups": list(groups)}
    return Mint(ec_key(), "ES256", {"kid": "e1"}, claims, time.time()).token()


def account(namespace: str = "shop", name: str = "app", **changes: Any) -> str:
    return Mint(claims={"sub": f"system:serviceaccount:{namespace}:{name}"}, now=time.time(), **changes).token()


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.fixture
async def tokens(files: Files, upstream: FakeUpstream) -> AsyncIterator[Running]:
    """A proxy whose policy has two issuers."""
    files.usual(upstream.base)
    files.policy(grants=GRANTS, issuers=[cluster(jwk(rsa_key(), "k1")), provider()], router=FRONT)
    async with proxy(files) as running:
        yield running


@pytest.mark.parametrize(
    ("token", "name", "may"),
    [
        pytest.param(lambda: user("ada"), "oidc:ada", True, id="a user"),
        pytest.param(lambda: user("eve"), "oidc:eve", False, id="another user"),
        pytest.param(lambda: user("vic"), "oidc:vic", False, id="a user who may only view"),
        pytest.param(lambda: user("eve", "team"), "oidc:eve", True, id="a member of a group"),
        pytest.param(lambda: user("team"), "oidc:team", False, id="a user called like a group"),
        pytest.param(lambda: user("eve", "ada"), "oidc:eve", False, id="a group called like a user"),
        pytest.param(lambda: account(), ACCOUNT, True, id="a ServiceAccount"),
        pytest.param(lambda: account("shop", "web"), "system:serviceaccount:shop:web", False, id="another account"),
        pytest.param(lambda: account("jobs", "x"), "system:serviceaccount:jobs:x", True, id="accounts of a namespace"),
    ],
)
async def test_access_is_decided_for_the_caller_of_a_token(tokens: Running, token: Any, name: str, may: bool) -> None:
    answer = await chat(tokens.port, bearer(token()))
    if may:
        assert answer.status == 200
        return
    message = f"{name} may not query endpoint ep: this needs CAN_QUERY, granted in its access list"
    assert (answer.status, answer.json) == (403, {"error_code": "PERMISSION_DENIED", "message": message})


async def test_a_bad_token_is_refused_as_the_reference_words_it(tokens: Running) -> None:
    message = "the token is not known here: send a valid one as Authorization: Bearer TOKEN"
    forged = bearer(account(key=rsa_key(1)))
    answer = await chat(tokens.port, forged)
    assert (answer.status, answer.json) == (401, {"error_code": "UNAUTHENTICATED", "message": message})
    assert answer.headers["www-authenticate"] == "Bearer"
    body = {"model": "ep", "messages": [{"role": "user", "content": "hello"}]}
    answer = await call(tokens.port, "/serving-endpoints/chat/completions", body, forged)
    assert answer.json["error"]["type"] == "authentication_error"
    answer = await call(tokens.port, "/serving-endpoints/chat/completions", body, bearer(user("eve")))
    assert (answer.status, answer.json["error"]["type"]) == (403, "permission_error")


async def test_the_router_calls_in_the_name_of_others_and_nobody_else_does(tokens: Running) -> None:
    router = bearer(account("ns", "model-serving-workspace"))
    named = {"x-model-serving-principal": "oidc%3Aeve", "x-model-serving-groups": "oidc%3Ateam"}
    assert (await chat(tokens.port, router | named)).status == 200
    answer = await chat(tokens.port, router | {"x-model-serving-principal": "oidc%3Aeve"})
    assert (answer.status, "oidc:eve may not query" in answer.json["message"]) == (403, True)
    assert (await chat(tokens.port, router)).status == 403
    forger = bearer(account("other", "model-serving-workspace"))
    for token in (bearer(account()), forger):
        answer = await chat(tokens.port, token | named)
        assert (answer.status, answer.json["error_code"]) == (403, "PERMISSION_DENIED")
        assert "in another's name" in answer.json["message"]


async def test_api_keys_work_beside_tokens(tokens: Running, files: Files) -> None:
    files.policy(version="p2", grants=[*GRANTS, *policy().grants], issuers=[cluster(), provider()])
    await until(lambda: tokens.service.state.runtime.policy_version == "p2")
    assert (await chat(tokens.port)).status == 200
    assert (await chat(tokens.port, bearer(account()))).status == 200


async def test_an_issuers_keys_are_rotated_without_a_failed_call(tokens: Running, files: Files) -> None:
    old, new = bearer(account()), bearer(account(key=rsa_key(1), header={"kid": "k2"}))
    shown = [old]
    statuses: list[int] = []
    done = asyncio.Event()

    async def caller() -> None:
        while not done.is_set():
            statuses.append((await chat(tokens.port, shown[-1])).status)

    async def publish(version: str, *keys: dict[str, str]) -> None:
        files.policy(version=version, grants=GRANTS, issuers=[cluster(*keys), provider()], router=FRONT)
        await until(lambda: tokens.service.state.runtime.policy_version == version)
        seen = len(statuses)
        await until(lambda: len(statuses) > seen + 20, 30)

    callers = [asyncio.create_task(caller()) for _ in range(3)]
    assert (await chat(tokens.port, new)).status == 401, "the new key is not published yet"
    await publish("p2", jwk(rsa_key(), "k1"), jwk(rsa_key(1), "k2"))
    shown.append(new)  # the issuer signs with the new key
    await until(lambda: len(statuses) > 60, 30)
    assert (await chat(tokens.port, old)).status == 200, "old tokens live on in the overlap"
    await publish("p3", jwk(rsa_key(1), "k2"))
    done.set()
    await asyncio.gather(*callers)
    assert set(statuses) == {200}
    assert (await chat(tokens.port, old)).status == 401, "a removed key ends at once, though its tokens were seen"
    assert (await chat(tokens.port, new)).status == 200


async def test_an_issuer_that_goes_takes_its_callers_along_and_no_others(tokens: Running, files: Files) -> None:
    async def both() -> list[int]:
        answers: list[Answer] = [await chat(tokens.port, bearer(token)) for token in (user("ada"), account())]
        return [answer.status for answer in answers]

    assert await both() == [200, 200]
    files.policy(version="p2", grants=GRANTS, issuers=[cluster()], router=FRONT)
    await until(lambda: tokens.service.state.runtime.policy_version == "p2")
    assert await both() == [401, 200]
    files.policy(version="p3", grants=GRANTS, issuers=[cluster(), provider()], router=FRONT)
    await until(lambda: tokens.service.state.runtime.policy_version == "p3")
    assert await both() == [200, 200]


async def test_no_token_is_told_anywhere(tokens: Running, caplog: pytest.LogCaptureFixture, capfd: Any) -> None:
    good, bad = account(), account(key=rsa_key(1))
    pages = [(await chat(tokens.port, bearer(token))).body.decode() for token in (good, bad)]
    for path in ("/status", "/metrics", "/readyz"):
        pages.append((await call(tokens.admin_port, path)).body.decode())
    told = "".join([*pages, caplog.text, *capfd.readouterr()])
    for token in (good, bad):
        assert not any(part[-40:] in told for part in token.split(".")[1:])


def test_the_signature_library_is_loaded_with_the_first_token_of_a_known_issuer_only() -> None:
    program = """
import json, sys, msgspec
from model_serving.proxy.tokens.verifier import TokenVerifier
from model_serving.proxy_config import Issuer
issuers, tokens, wall = json.load(sys.stdin)
verifier = TokenVerifier([msgspec.convert(issuer, Issuer) for issuer in issuers])
found = []
for token in tokens:
    known = verifier.authenticate(token.encode(), wall)
    found.append([known is not None, "jwt" in sys.modules])
print(json.dumps(found))
"""
    now = time.time()
    tokens = ["key", user("ada"), account()]
    keys = cluster(jwk(rsa_key(), "k1"))
    issuers = [{name: getattr(keys, name) for name in ("issuer", "audiences", "keys", "service_accounts")}]
    done = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps([issuers, tokens, now]), capture_output=True, text=True
    )
    assert json.loads(done.stdout) == [[False, False], [False, False], [True, True]], done.stderr
