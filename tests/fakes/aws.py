"""AWS on a port of this machine, as far as a proxy sees it: STS, the agent of EKS Pod Identity, and Bedrock's door.

Answers are written after botocore's service models, and botocore's own clients accept them (a test shows it). Bedrock
checks signatures with AWS' own signer, and says what AWS says of keys that it does not know, that have expired, or that
may not call the model.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs
from xml.etree import ElementTree

import botocore.loaders
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.model import ServiceModel, Shape
from botocore.validate import validate_parameters

from tests.fakes.upstream import FakeUpstream, Received

ACTION = "AssumeRoleWithWebIdentity"
SKEW_SECONDS = 300.0
"""How far a signature's time may lie off: AWS takes five minutes."""


@dataclass
class Issued:
    """An access key. Without token: a lasting one. `ends_at` in seconds since the epoch."""

    id: str
    secret: str
    token: str = ""
    ends_at: float = float("inf")


@dataclass
class FakeAws(FakeUpstream):
    """STS at `/`, the agent at `/v1/credentials`, Bedrock below `/model/`. Use as an async context manager."""

    tokens: set[str] = field(default_factory=set)
    """ServiceAccount tokens that count, for STS and for the agent."""
    role: str = "arn:aws:iam::123456789012:role/models"
    region: str = "eu-central-1"
    life_seconds: float = 3600.0
    issued: dict[str, Issued] = field(default_factory=dict)
    """Keys that count, by their id."""
    forbidden: bool = False
    """The keys are right, but may not call the model."""
    clock: float = 0.0
    """Seconds by which this side is ahead."""
    delay_seconds: float = 0.0
    """How long STS and the agent take."""
    remembers: bool = False
    """The agent gives the same keys again, as the real one does for most of their life."""
    sts_error: str = ""
    """A code with which STS refuses everything."""

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def issue(self, *, temporary: bool = True) -> Issued:
        """A new key that counts."""
        keys = Issued(f"sk-test-id-{secrets.token_hex(4)}", f"sk-test-secret-{secrets.token_hex(8)}")
        if temporary:
            keys.token, keys.ends_at = f"sk-test-session/{secrets.token_hex(16)}==", time.time() + self.life_seconds
        self.issued[keys.id] = keys
        return keys

    def asked(self, path: str) -> list[Received]:
        """The requests so far whose path begins so; `/` alone is STS."""
        return [r for r in self.requests if r.path == path or (path != "/" and r.path.startswith(path))]

    async def _answer(self, request: Received, writer: asyncio.StreamWriter) -> None:
        if request.path.startswith("/model/"):
            answer = self._bedrock(request)
        else:
            await asyncio.sleep(self.delay_seconds)
            answer = self._sts(request) if request.path == "/" else self._agent(request)
        writer.write(answer)

    # STS

    def _sts(self, request: Received) -> bytes:
        form = {name: values[0] for name, values in parse_qs(request.body.decode(), strict_parsing=True).items()}
        assert request.header("authorization") is None, "this question is not signed"
        assert form.pop("Action") == ACTION and form.pop("Version") == "2011-06-15"
        model = _sts_model()
        validate_parameters(form, model.operation_model(ACTION).input_shape)
        if self.sts_error:
            return _refused_by_sts(self.sts_error, f"It is as it is. Token: {form['WebIdentityToken']}")
        if form["WebIdentityToken"] not in self.tokens:
            return _refused_by_sts("InvalidIdentityToken", "No OpenIDConnect provider found in your account")
        if form["RoleArn"] != self.role:
            return _refused_by_sts("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity", 403)
        keys = self.issue()
        result = {
            "Credentials": _temporary(keys, "SessionToken"),
            "SubjectFromWebIdentityToken": "system:serviceaccount:gen-ai:chat-proxy",
            "AssumedRoleUser": {"AssumedRoleId": "AROA:s", "Arn": f"{self.role}/{form['RoleSessionName']}"},
            "Audience": "sts.amazonaws.com",
        }
        return reply(200, sts_document(ACTION, result), "text/xml")

    # The agent

    def _agent(self, request: Received) -> bytes:
        if (request.method, request.path) != ("GET", "/v1/credentials"):
            return reply(404, b"404 page not found\n", "text/plain")
        if request.header("authorization") not in self.tokens:
            return reply(401, b"Unauthorized error: the token is not known: " + _shown(request), "text/plain")
        keys = next(iter(self.issued.values())) if self.remembers and self.issued else self.issue()
        answer = _temporary(keys, "Token") | {"AccountId": "123456789012"}
        return reply(200, json.dumps(answer).encode(), "application/json")

    # Bedrock

    def _bedrock(self, request: Received) -> bytes:
        assert request.header("content-type") == "application/json"
        if problem := self._signature_problem(request):
            kind, words = problem
            return _refused_by_bedrock(403, kind, words)
        if self.forbidden:
            return _refused_by_bedrock(403, "AccessDeniedException", "You don't have access to the model.")
        answer = {
            "output": {"message": {"role": "assistant", "content": [{"text": "The model is serving."}]}},
            "stopReason": "end_turn",
            "usage": {"inputTokens": 7, "outputTokens": 4, "totalTokens": 11},
            "metrics": {"latencyMs": 1},
        }
        return reply(200, json.dumps(answer).encode(), "application/json")

    def _signature_problem(self, request: Received) -> tuple[str, str] | None:
        parts = dict(
            part.split("=", 1) for part in (request.header("authorization") or "").split(" ", 1)[1].split(", ")
        )
        scope = parts["Credential"].split("/", 1)
        keys = self.issued.get(scope[0])
        stamp = request.header("x-amz-date") or ""
        if keys is None or keys.token != (request.header("x-amz-security-token") or ""):
            return "UnrecognizedClientException", "The security token included in the request is invalid."
        now = time.time() + self.clock
        if now >= keys.ends_at:
            return "ExpiredTokenException", "The security token included in the request is expired"
        if abs(now - datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()) > SKEW_SECONDS:
            return "InvalidSignatureException", f"Signature expired: {stamp} is now earlier than this server's time"
        if parts["Signature"] != self._signature(request, keys, parts["SignedHeaders"].split(";"), stamp):
            return (
                "InvalidSignatureException",
                "The request signature we calculated does not match the one you provided.",
            )
        assert scope[1] == f"{stamp[:8]}/{self.region}/bedrock/aws4_request"
        return None

    def _signature(self, request: Received, keys: Issued, signed: list[str], stamp: str) -> str:
        headers = {name: request.header(name) or "" for name in signed}
        assert {"host", "content-type", "x-amz-date"} <= headers.keys()
        theirs = AWSRequest("POST", f"http://{headers['host']}{request.path}", headers, request.body)
        theirs.context["timestamp"] = stamp
        signer = SigV4Auth(Credentials(keys.id, keys.secret, keys.token or None), "bedrock", self.region)
        return str(signer.signature(signer.string_to_sign(theirs, signer.canonical_request(theirs)), theirs))


def _shown(request: Received) -> bytes:
    return (request.header("authorization") or "nothing").encode()


def _temporary(keys: Issued, token: str) -> dict[str, str]:
    ends = datetime.fromtimestamp(keys.ends_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"AccessKeyId": keys.id, "SecretAccessKey": keys.secret, token: keys.token, "Expiration": ends}


def reply(status: int, body: bytes, content_type: str, **headers: str) -> bytes:
    """A complete answer."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\n{lines}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _refused_by_bedrock(status: int, kind: str, words: str) -> bytes:
    headers = {"x_amzn_errortype": f"{kind}:http://internal.amazon.com/coral/com.amazon.bedrock/"}
    return reply(status, json.dumps({"message": words}).encode(), "application/json", **headers)


def _refused_by_sts(code: str, words: str, status: int = 400) -> bytes:
    root = ElementTree.Element("ErrorResponse", xmlns=_sts_model().metadata["xmlNamespace"])
    error = ElementTree.SubElement(root, "Error")
    for name, text in (("Type", "Sender"), ("Code", code), ("Message", words)):
        ElementTree.SubElement(error, name).text = text
    ElementTree.SubElement(root, "RequestId").text = "11111111-2222-3333-4444-555555555555"
    return reply(status, ElementTree.tostring(root), "text/xml")


def sts_document(operation: str, result: dict[str, Any]) -> bytes:
    """An answer of STS in the form of the service's model: an unknown name fails."""
    model = _sts_model()
    shape = model.operation_model(operation).output_shape
    root = ElementTree.Element(f"{operation}Response", xmlns=model.metadata["xmlNamespace"])
    _write(ElementTree.SubElement(root, shape.serialization["resultWrapper"]), shape, result)
    metadata = ElementTree.SubElement(root, "ResponseMetadata")
    ElementTree.SubElement(metadata, "RequestId").text = "11111111-2222-3333-4444-555555555555"
    return ElementTree.tostring(root)


def _write(element: ElementTree.Element, shape: Shape, value: Any) -> None:
    if shape.type_name != "structure":
        element.text = str(value)
        return
    assert set(shape.required_members) <= value.keys()
    for name, part in value.items():
        member = shape.members[name]
        _write(ElementTree.SubElement(element, member.serialization.get("name", name)), member, part)


@lru_cache
def _sts_model() -> ServiceModel:
    return ServiceModel(botocore.loaders.Loader().load_service_model("sts", "service-2"), "sts")
