"""Calls to Bedrock through a whole proxy: signatures that AWS' own signer accepts, rotations, identities, refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from model_serving.proxy.credentials.platform import Platform
from model_serving.proxy_config import CredentialFile, Target
from tests.fakes.aws import FakeAws, Issued
from tests.fakes.upstream import Received, whole
from tests.proxy.harness import Answer, Files, Running, call, chat, proxy, target, until, write

TOKEN = "sk-test-projected-token"
MODEL = "eu.anthropic.claude-3-haiku-20240307-v1:0"


@pytest.fixture
async def aws() -> AsyncIterator[FakeAws]:
    async with FakeAws(tokens={TOKEN}) as aws:
        yield aws


class Keys:
    """A proxy's files for a target with access keys."""

    def __init__(self, files: Files, aws: FakeAws) -> None:
        self.files, self.aws = files, aws
        refs = {name: CredentialFile("aws", name) for name in ("aws_access_key_id", "aws_secret_access_key")}
        self.session = CredentialFile("aws", "aws_session_token")
        files.config([bedrock(aws, credentials=refs | {"aws_session_token": self.session})])
        files.policy()
        files.key()

    def put(self, keys: Issued) -> None:
        for name, value in (
            ("access_key_id", keys.id),
            ("secret_access_key", keys.secret),
            ("session_token", keys.token),
        ):
            self.files.secret(value, "aws", f"aws_{name}")


def bedrock(aws: FakeAws, **changes: Any) -> Target:
    settings = {"aws_region": aws.region, "bedrock_provider": "Anthropic", "aws_endpoint_url": aws.url}
    settings |= changes.pop("settings", {})
    values = {"entity": "claude", "provider": "amazon-bedrock", "model": MODEL, "credentials": {}}
    return target("", settings=settings, **(values | changes))


def with_identity(files: Files, aws: FakeAws, *, agent: bool = False) -> Running:
    """A proxy whose pod has an identity: of STS, or of the node's agent."""
    files.config([bedrock(aws, settings={"workload_identity": "true"})])
    files.policy()
    files.key()
    token = files.root / "projected/token"
    write(token, TOKEN)
    web = Platform(aws_role_arn=aws.role, aws_web_identity_token_file=str(token), aws_sts_url=f"{aws.url}/")
    its = Platform(aws_container_credentials_uri=f"{aws.url}/v1/credentials", aws_container_token_file=str(token))
    return proxy(files, platform=its if agent else web)


async def settle(running: Running, answer: int = 200) -> Answer:
    """Calls until the answer has this status."""
    deadline = asyncio.get_running_loop().time() + 10
    while (got := await chat(running.port)).status != answer:
        assert asyncio.get_running_loop().time() < deadline, got.body
        await asyncio.sleep(0.05)
    return got


async def status_of(running: Running) -> Any:
    return (await call(running.admin_port, "/status", headers={"authorization": ""})).json


# --- access keys


async def test_a_call_is_signed_with_temporary_keys(files: Files, aws: FakeAws) -> None:
    Keys(files, aws).put(aws.issue())
    async with proxy(files) as running:
        answer = await chat(running.port)
    assert answer.status == 200, answer.body
    assert answer.json["choices"][0]["message"]["content"] == "The model is serving."
    (request,) = aws.requests
    assert request.path == "/model/eu.anthropic.claude-3-haiku-20240307-v1%3A0/converse"
    assert request.header("user-agent") == "model-serving"


async def test_keys_that_are_replaced_and_end_at_once_cost_no_call(files: Files, aws: FakeAws) -> None:
    keys = Keys(files, aws)
    keys.put(old := aws.issue())
    async with proxy(files) as running:
        assert (await chat(running.port)).status == 200
        keys.put(aws.issue())
        del aws.issued[old.id]
        answer = await chat(running.port)
        assert answer.status == 200, answer.body
        assert len(aws.requests) == 3, "one refused, and once more with the new ones"


async def test_new_keys_that_do_not_count_yet_cost_no_call(files: Files, aws: FakeAws) -> None:
    keys = Keys(files, aws)
    keys.put(aws.issue())
    async with proxy(files) as running:
        assert (await chat(running.port)).status == 200
        early = aws.issue()
        keys.put(early)
        del aws.issued[early.id]
        while not any(early.id in (request.header("authorization") or "") for request in aws.requests):
            assert (await chat(running.port)).status == 200
            await asyncio.sleep(0.05)
        assert (await chat(running.port)).status == 200, "the former ones serve on"


@pytest.mark.parametrize(
    ("fault", "kind", "requests"),
    [
        pytest.param({"forbidden": True}, "AccessDeniedException", 1, id="keys that may not call the model"),
        pytest.param({"issued": {}}, "security token included in the request is invalid", 1, id="keys nobody knows"),
        pytest.param({"clock": 301.0}, "Signature expired", 1, id="a clock that is five minutes late"),
    ],
)
async def test_a_refusal_without_other_keys_is_the_clients_answer(
    files: Files, aws: FakeAws, fault: dict[str, Any], kind: str, requests: int
) -> None:
    issued = aws.issue()
    Keys(files, aws).put(issued)
    async with proxy(files) as running:
        for name, value in fault.items():
            setattr(aws, name, value)
        answer = await chat(running.port)
    assert answer.status == 403
    assert kind in answer.body.decode()
    assert answer.json["error_code"] == "PERMISSION_DENIED"
    assert not {issued.id, issued.secret, issued.token} & set(answer.body.decode().split('"'))
    assert len(aws.requests) == requests


async def test_an_error_repeats_no_keys_although_they_were_replaced_twice_meanwhile(files: Files, aws: FakeAws) -> None:
    keys, first = Keys(files, aws), aws.issue()
    keys.put(first)
    async with proxy(files) as running:
        await settle(running)
        (source,) = running.service.state.credentials._sources.values()  # type: ignore[attr-defined]

        async def replace_twice(request: Received, writer: asyncio.StreamWriter) -> None:
            for following in (aws.issue(), aws.issue()):
                keys.put(following)
                await until(lambda id=following.id: source.value.id == id)
            told = {"message": f"not {first.id} with {first.secret} and {first.token}"}
            await whole(400, told)(request, writer)

        aws.scripts.append(replace_twice)
        answer = await chat(running.port)
    assert answer.status == 400
    assert not [part for part in (first.id, first.secret, first.token) if part in answer.body.decode()]
    assert answer.body.decode().count("[redacted]") == 3


# --- the pod's identity


@pytest.mark.parametrize("agent", [False, True], ids=["STS", "the agent"])
async def test_calls_that_come_together_wait_for_one_question(files: Files, aws: FakeAws, agent: bool) -> None:
    aws.delay_seconds = 0.3
    async with with_identity(files, aws, agent=agent) as running:
        answers = await asyncio.gather(*(chat(running.port) for _ in range(30)))
        assert [answer.status for answer in answers] == [200] * 30, answers[0].body
        assert len(aws.asked("/v1/credentials" if agent else "/")) == 1
        (token,) = (await status_of(running))["tokens"]
    assert token["name"] == ("AWS keys of the pod's identity" if agent else f"AWS keys of {aws.role}")
    assert "problem" not in token


@pytest.mark.parametrize("agent", [False, True], ids=["STS", "the agent"])
async def test_keys_are_renewed_before_they_end_with_the_token_of_that_day(
    files: Files, aws: FakeAws, agent: bool
) -> None:
    aws.life_seconds = 4.0
    async with with_identity(files, aws, agent=agent) as running:
        await settle(running)
        aws.tokens = {"sk-test-next-token"}
        write(files.root / "projected/token", "sk-test-next-token")
        seen = set()
        while len(seen) < 2:
            answer = await chat(running.port)
            assert answer.status == 200, answer.body
            seen.add((aws.asked("/model/")[-1].header("authorization") or "").split("/")[0])
            await asyncio.sleep(0.05)


async def test_keys_that_aws_ends_early_are_fetched_anew_and_the_call_is_sent_again(files: Files, aws: FakeAws) -> None:
    async with with_identity(files, aws) as running:
        await settle(running)
        aws.issued.clear()
        before = len(aws.asked("/model/"))
        answers = await asyncio.gather(*(chat(running.port) for _ in range(10)))
        assert [answer.status for answer in answers] == [200] * 10, answers[0].body
        assert len(aws.asked("/")) == 2
        assert len(aws.asked("/model/")) - before <= 20, "each once more at most"


@pytest.mark.parametrize("agent", [False, True], ids=["STS", "the agent, which gives the same keys again"])
async def test_a_role_that_may_not_call_the_model_is_the_clients_answer(
    files: Files, aws: FakeAws, agent: bool
) -> None:
    aws.remembers = agent
    async with with_identity(files, aws, agent=agent) as running:
        await settle(running)
        aws.forbidden = True
        answers = [await chat(running.port) for _ in range(5)]
        assert {answer.status for answer in answers} == {403}
        assert all("You don't have access to the model." in answer.body.decode() for answer in answers)
        assert len(aws.asked("/v1/credentials" if agent else "/")) <= 2, "it is not a reason to ask for keys each time"


async def test_what_sts_says_is_told_and_it_is_asked_again(files: Files, aws: FakeAws) -> None:
    aws.sts_error = "IDPCommunicationError"
    async with with_identity(files, aws) as running:
        answer = await settle(running, 503)
        words = "AWS STS refuses with status 400 (IDPCommunicationError"
        assert words in answer.json["message"]
        (token,) = (await status_of(running))["tokens"]
        assert words in token["problem"]
        assert TOKEN not in answer.body.decode() + str(token), "STS repeated it"
        aws.sts_error = ""
        await settle(running)


async def test_what_the_agent_says_is_told_without_the_token_that_it_repeats(files: Files, aws: FakeAws) -> None:
    aws.tokens = {"sk-test-another"}
    async with with_identity(files, aws, agent=True) as running:
        answer = await settle(running, 503)
    assert "the EKS Pod Identity agent refuses with status 401" in answer.json["message"]
    assert "associate a role" in answer.json["message"]
    assert TOKEN not in answer.body.decode()


async def test_a_pod_without_identity_says_what_to_do(files: Files, aws: FakeAws) -> None:
    files.config([bedrock(aws, settings={"workload_identity": "true"})])
    files.policy()
    files.key()
    async with proxy(files) as running:
        answer = await chat(running.port)
        assert (await call(running.admin_port, "/readyz", headers={"authorization": ""})).status == 503
    assert answer.status == 503
    assert "proxy.serviceAccountAnnotations" in answer.json["message"]
    assert not aws.requests


async def test_no_part_of_keys_or_tokens_is_logged(
    files: Files, aws: FakeAws, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    async with with_identity(files, aws) as running:
        await settle(running)
        aws.sts_error = "AccessDenied"
        aws.issued.clear()
        await chat(running.port)
        metrics = (await call(running.admin_port, "/metrics", headers={"authorization": ""})).body.decode()
        told = caplog.text + "".join(capfd.readouterr()) + metrics + str(await status_of(running))
    shown = {request.header("x-amz-security-token") for request in aws.asked("/model/")} - {None}
    assert shown
    assert not any(secret in told for secret in (TOKEN, *map(str, shown)))
