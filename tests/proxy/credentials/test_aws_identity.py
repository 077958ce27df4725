"""The pod's own identity at AWS: what STS and the node's agent answer, and what becomes of it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.loaders import Loader
from botocore.utils import ContainerMetadataFetcher

from model_serving.proxy.credentials.aws_identity import (
    ContainerIdentity,
    NoIdentity,
    WebIdentity,
    aws_domain,
    identity_grant,
)
from model_serving.proxy.credentials.exchange import TokenAnswer
from model_serving.proxy.credentials.platform import Platform
from model_serving.proxy.credentials.sigv4 import AccessKeys
from model_serving.proxy.credentials.token import Fetched
from tests.fakes.aws import FakeAws, sts_document

TOKEN = "sk-test-projected-token"
ROLE = "arn:aws:iam::123456789012:role/models"
KEYS = {
    "AccessKeyId": "sk-test-id-0000000",
    "SecretAccessKey": "sk-test-secret",
    "SessionToken": "sk-test-session",
    "Expiration": "2026-01-01T01:00:00Z",
}
WALL = 1_767_225_600.0  # 2026-01-01T00:00:00Z


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text(TOKEN + "\n")
    return tmp_path / "token"


def web(token_file: Path, **changes: str) -> WebIdentity:
    platform = Platform(aws_role_arn=ROLE, aws_web_identity_token_file=str(token_file), **changes)
    grant = identity_grant(platform, "eu-central-1")
    assert isinstance(grant, WebIdentity)
    return grant


def read(grant: WebIdentity | ContainerIdentity, status: int, body: bytes) -> Fetched:
    found = grant.ask(WALL).read(TokenAnswer(status, body))
    assert isinstance(found, Fetched)
    return found


# --- which way


@pytest.mark.parametrize(
    ("platform", "kind"),
    [
        pytest.param(Platform(aws_role_arn=ROLE, aws_web_identity_token_file="/t"), WebIdentity, id="IRSA"),
        pytest.param(
            Platform(aws_role_arn=ROLE, aws_web_identity_token_file="/t", aws_container_credentials_uri="http://a/"),
            WebIdentity,
            id="IRSA before the agent, as in AWS' SDKs",
        ),
        pytest.param(Platform(aws_container_credentials_uri="http://a/"), ContainerIdentity, id="EKS Pod Identity"),
        pytest.param(Platform(aws_role_arn=ROLE), NoIdentity, id="a role without a token"),
        pytest.param(Platform(), NoIdentity, id="nothing"),
    ],
)
def test_the_platform_tells_the_way(platform: Platform, kind: type) -> None:
    assert type(identity_grant(platform, "eu-central-1")) is kind


def test_without_an_identity_the_remedy_is_told() -> None:
    with pytest.raises(ValueError, match=r"proxy\.serviceAccountAnnotations"):
        NoIdentity().ask(WALL)


REGIONS = ["us-east-1", "eu-central-1", "us-gov-west-1", "cn-north-1", "eusc-de-east-1"]
REGIONS += ["us-iso-east-1", "us-isob-east-1", "us-isof-south-1", "eu-isoe-west-1"]


@pytest.fixture(scope="module")
def partitions() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = Loader().load_data("partitions")["partitions"]
    return found


@pytest.mark.parametrize("region", REGIONS)
def test_sts_is_asked_in_the_region_at_the_host_that_aws_names(partitions: list[dict[str, Any]], region: str) -> None:
    (partition,) = (partition for partition in partitions if re.match(partition["regionRegex"], region))
    assert aws_domain(region) == partition["outputs"]["dnsSuffix"]
    grant = identity_grant(Platform(aws_role_arn=ROLE, aws_web_identity_token_file="/t"), region)
    assert isinstance(grant, WebIdentity)
    assert grant.sts_url == f"https://sts.{region}.{aws_domain(region)}/"


# --- what is asked


def test_the_tokens_file_is_read_anew_for_each_question(token_file: Path) -> None:
    grant = web(token_file, aws_role_session_name="models@cluster")
    first = grant.ask(WALL)
    token_file.write_text("sk-test-next")
    second = grant.ask(WALL)
    assert b"WebIdentityToken=sk-test-projected-token" in first.request.body
    assert b"WebIdentityToken=sk-test-next" in second.request.body
    assert b"RoleSessionName=models%40cluster" in second.request.body
    assert (first.secrets, second.secrets) == ((TOKEN,), ("sk-test-next",))
    assert grant.stamp() == grant.stamp(), "a renewed file does not end keys that it once gave"


def test_the_agent_is_a_service_of_the_platform(token_file: Path) -> None:
    platform = Platform(
        aws_container_credentials_uri="http://169.254.170.23/v1/credentials", aws_container_token_file=str(token_file)
    )
    request = identity_grant(platform, "eu-central-1").ask(WALL).request
    assert (request.method, request.url, request.platform) == ("GET", "http://169.254.170.23/v1/credentials", True)
    assert request.headers == (("authorization", TOKEN),)


@pytest.mark.parametrize("content", [None, b"", b" \n", b"two\nlines", "ключ".encode()], ids=repr)
def test_a_broken_token_file_is_told_by_its_path(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    for grant in (web(path), ContainerIdentity("http://169.254.170.23/", path)):
        with pytest.raises(ValueError, match="the token that shows this pod's identity to AWS") as told:
            grant.ask(WALL)
        assert str(path) in str(told.value)
        assert "two" not in str(told.value)


# --- what is answered


def test_keys_of_sts(token_file: Path) -> None:
    body = sts_document("AssumeRoleWithWebIdentity", {"Credentials": KEYS})
    keys = AccessKeys("sk-test-id-0000000", "sk-test-secret", "sk-test-session")
    assert read(web(token_file), 200, body) == Fetched(
        keys, WALL + 3600, ("sk-test-id-0000000", "sk-test-secret", "sk-test-session")
    )


def test_keys_of_the_agent(token_file: Path) -> None:
    body = b'{"AccessKeyId": "i", "SecretAccessKey": "s", "Token": "t", "Expiration": "2026-01-01T01:00:00Z", "New": 1}'
    found = read(ContainerIdentity("http://169.254.170.23/", token_file), 200, body)
    assert found == Fetched(AccessKeys("i", "s", "t"), WALL + 3600, ("i", "s", "t"))


def error(code: str, message: str) -> bytes:
    words = f"<Type>Sender</Type><Code>{code}</Code><Message>{message}</Message>"
    return f'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>{words}</Error></ErrorResponse>'.encode()


def keys_but(**changes: str) -> bytes:
    return sts_document("AssumeRoleWithWebIdentity", {"Credentials": KEYS | changes})


BOMB = b'<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><a>&c;</a>'
REFUSED_BY_STS = [
    pytest.param(403, error("AccessDenied", "No"), r"403 \(AccessDenied: No\): .*trust policy", id="a role for others"),
    pytest.param(400, error("InvalidIdentityToken", "No provider"), "register the cluster's OIDC", id="no provider"),
    pytest.param(400, error("ExpiredTokenException", "x"), "clock is wrong", id="an old token"),
    pytest.param(503, error("Throttling", "Rate exceeded"), "503 .*asked again", id="overload"),
    pytest.param(502, b"<html><p>Bad gateway</html>", "something else than XML", id="a gateway"),
    pytest.param(200, b'{"AssumeRole": {}}', "something else than XML", id="JSON"),
    pytest.param(200, b"", "something else than XML", id="nothing"),
    pytest.param(200, BOMB, "something that it never sends", id="entities"),
    pytest.param(200, BOMB.decode().encode("utf-16"), "something else than XML", id="entities in another encoding"),
    pytest.param(200, b"<a>" + b"x" * 70_000 + b"</a>", "something that it never sends", id="too much"),
    pytest.param(200, b"<a/>", "without keys", id="another document"),
    pytest.param(200, keys_but(Expiration="soon"), "without keys", id="no time"),
    pytest.param(200, keys_but(SessionToken=""), "incomplete", id="no session token"),
    pytest.param(200, keys_but(SessionToken="a\nb"), "cannot be sent", id="a token that would break a header"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "words"), REFUSED_BY_STS)
def test_answers_of_sts_that_bring_no_keys(token_file: Path, status: int, body: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words) as told:
        read(web(token_file), status, body)
    assert "sk-test-secret" not in str(told.value)


REFUSED_BY_AGENT = [
    pytest.param(404, b"404 page not found", "associate a role", id="no association"),
    pytest.param(500, b"\xff\xfe", "500 .*it is asked again", id="no text"),
    pytest.param(200, b"[", "something else than JSON", id="broken"),
    pytest.param(200, b"[" * 100_000, "something else than JSON", id="deep"),
    pytest.param(200, b"[]", "without keys", id="a list"),
    pytest.param(200, b'{"AccessKeyId": "i", "SecretAccessKey": "sk-test-secret"}', "without keys", id="half"),
    pytest.param(200, b'{"Expiration": "sk-test-secret"}', "without keys", id="a secret in the wrong place"),
]


@pytest.mark.parametrize(("status", "body", "words"), REFUSED_BY_AGENT)
def test_answers_of_the_agent_that_bring_no_keys(token_file: Path, status: int, body: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words) as told:
        read(ContainerIdentity("http://169.254.170.23/", token_file), status, body)
    assert "sk-test-secret" not in str(told.value)


def test_services_that_cannot_be_reached_are_named(token_file: Path) -> None:
    lost = TokenAnswer(failure="cannot be reached: the connection is refused")
    with pytest.raises(ValueError, match="AWS STS cannot be reached: the connection is refused; it is asked again"):
        web(token_file).ask(WALL).read(lost)
    with pytest.raises(ValueError, match="the EKS Pod Identity agent cannot be reached"):
        ContainerIdentity("http://169.254.170.23/", token_file).ask(WALL).read(lost)


# --- the fake is like the thing: AWS' own library gets along with it


async def test_aws_own_library_takes_the_fakes_for_aws() -> None:
    async with FakeAws(tokens={TOKEN}) as aws:
        await asyncio.to_thread(_as_botocore, aws)


def _as_botocore(aws: FakeAws) -> None:
    session = botocore.session.Session()
    lasting = aws.issue(temporary=False)
    options = {"region_name": aws.region, "endpoint_url": aws.url, "aws_access_key_id": lasting.id}
    sts = session.create_client("sts", **options, aws_secret_access_key=lasting.secret)
    told = sts.assume_role_with_web_identity(RoleArn=aws.role, RoleSessionName="s1", WebIdentityToken=TOKEN)
    assert told["Credentials"]["AccessKeyId"] in aws.issued
    with pytest.raises(sts.exceptions.InvalidIdentityTokenException):
        sts.assume_role_with_web_identity(RoleArn=aws.role, RoleSessionName="s1", WebIdentityToken="sk-test-other")
    agent = ContainerMetadataFetcher().retrieve_full_uri(f"{aws.url}/v1/credentials", {"Authorization": TOKEN})
    options |= {"aws_access_key_id": agent["AccessKeyId"], "aws_session_token": agent["Token"]}
    bedrock = session.create_client("bedrock-runtime", **options, aws_secret_access_key=agent["SecretAccessKey"])
    question = {"modelId": "nova:0", "messages": [{"role": "user", "content": [{"text": "Hi"}]}]}
    assert bedrock.converse(**question)["output"]["message"]["content"] == [{"text": "The model is serving."}]
    aws.forbidden = True
    with pytest.raises(bedrock.exceptions.AccessDeniedException):
        bedrock.converse(**question)
