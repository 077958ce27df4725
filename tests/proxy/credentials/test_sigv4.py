"""Signatures, against AWS' own signer and against the suite of vectors that AWS has published.

The vectors come with the source of botocore, which is fetched once by name and kept in the cache of tests.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock
from urllib.parse import quote

import botocore
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model_serving.proxy.credentials.scheme import Outgoing
from model_serving.proxy.credentials.sigv4 import AccessKeys, Scope, authorization, canonical_request, signed_headers
from tests.cluster.harness.paths import cache

HOST = "bedrock-runtime.eu-central-1.amazonaws.com"
SCOPE = Scope("eu-central-1", "bedrock")
KEYS = AccessKeys("sk-test-id", "sk-test-secret")


def shown(keys: AccessKeys, scope: Scope, request: Outgoing) -> dict[str, str]:
    lines = signed_headers(keys, scope, request).decode().split("\r\n")
    assert lines.pop() == "", "the last line has its end"
    return dict(line.split(": ", 1) for line in lines)


def shown_by_botocore(keys: AccessKeys, scope: Scope, request: Outgoing) -> dict[str, str]:
    theirs = AWSRequest(
        "POST", f"https://{request.host}{request.path}", {"Content-Type": "application/json"}, request.body
    )
    moment = datetime.fromtimestamp(int(request.wall), UTC)
    with mock.patch("botocore.auth.get_current_datetime", return_value=moment):
        SigV4Auth(Credentials(keys.id, keys.secret, keys.token or None), scope.service, scope.region).add_auth(theirs)
    return {name.lower(): value for name, value in theirs.headers.items() if name.lower() != "content-type"}


# What a URL may hold where it is sent; `quote` decides for the rest.
SEGMENTS = st.text(st.characters(codec="utf-8"), max_size=12).map(lambda text: quote(text, safe=":@!$&'()*+,;=~"))
PATHS = st.lists(st.one_of(SEGMENTS, st.sampled_from(["", ".", "..", "a%3A0", "%2F"])), max_size=6).map(
    lambda parts: "/" + "/".join(parts)
)
PAIRS = st.tuples(SEGMENTS, SEGMENTS).map("=".join) | SEGMENTS
QUERIES = st.lists(PAIRS, max_size=4).map("&".join)
TARGETS = st.builds(lambda path, query: path + (f"?{query}" if query else ""), PATHS, QUERIES)
HOSTS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}(\.[a-z]{2,8}){1,3}(:8[0-9]{3})?", fullmatch=True)
WORDS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=60)
REGIONS = st.sampled_from(["us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1"])
WALLS = st.floats(min_value=0.0, max_value=7_000_000_000.0)


@settings(max_examples=400, deadline=None)
@given(
    keys=st.builds(AccessKeys, WORDS, WORDS, st.just("") | WORDS),
    scope=st.builds(Scope, REGIONS, st.just("bedrock")),
    request=st.builds(Outgoing, HOSTS, TARGETS, st.binary(max_size=300), WALLS),
)
@example(
    KEYS, SCOPE, Outgoing(HOST, "/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse", b"{}", 1_700_000_000.5)
)
@example(KEYS, SCOPE, Outgoing(HOST, "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aprofile%2Fx/converse", b"{}", 0.0))
@example(KEYS, SCOPE, Outgoing(HOST, "/model/a:0/converse", b"", 951_782_399.9))
def test_requests_are_signed_as_aws_own_library_signs_them(keys: AccessKeys, scope: Scope, request: Outgoing) -> None:
    assert shown(keys, scope, request) == shown_by_botocore(keys, scope, request)


def test_the_colon_of_a_models_id_is_encoded_twice() -> None:
    assert canonical_request("POST", "/model/nova-v1%3A0/converse", [], b"").split("\n")[1] == (
        "/model/nova-v1%253A0/converse"
    )


@pytest.mark.parametrize(
    "other",
    [
        Outgoing(HOST, "/b", b"{}", 1.0),
        Outgoing(HOST, "/a?b=c", b"{}", 1.0),
        Outgoing("elsewhere.example.com", "/a", b"{}", 1.0),
        Outgoing(HOST, "/a", b"[]", 1.0),
        Outgoing(HOST, "/a", b"{}", 2.0),
        Outgoing(HOST, "/a", b"{}", 90_000.0),
    ],
    ids=["path", "query", "host", "body", "second", "day"],
)
def test_a_signature_is_good_for_one_request(other: Outgoing) -> None:
    one = shown(KEYS, SCOPE, Outgoing(HOST, "/a", b"{}", 1.0))
    assert one["authorization"].rpartition("=")[2] != shown(KEYS, SCOPE, other)["authorization"].rpartition("=")[2]


def test_no_secret_is_shown_by_name() -> None:
    keys = AccessKeys("sk-test-id", "sk-test-secret", "sk-test-session")
    assert "sk-test-secret" not in repr(keys)
    assert "sk-test-session" not in repr(keys)
    assert b"sk-test-secret" not in signed_headers(keys, SCOPE, Outgoing(HOST, "/a", b"", 1.0))


# --- the published vectors

MEMBERS = "tests/unit/auth/aws4_testsuite"
READER = "tests/unit/auth/test_sigv4.py"
"""Botocore's own test of them, which knows the suite's key."""
SUITE_SCOPE = Scope("us-east-1", "service")
UNSENDABLE = {
    "get-header-value-multiline": "a header over several lines: HTTP has withdrawn those",
}


@pytest.fixture(scope="module")
def vectors() -> Path:
    """The folder with the suite's cases. Skips where botocore's source cannot be fetched."""
    folder = cache().parent / f"sigv4-vectors-{botocore.__version__}"
    if not folder.exists():
        source = cache().parent / f"botocore-source-{botocore.__version__}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "botocore"]
        done = subprocess.run(
            [*command, "--dest", source, f"botocore=={botocore.__version__}"], capture_output=True, timeout=300
        )
        if done.returncode != 0:
            pytest.skip("the source of botocore, which holds the published vectors, cannot be fetched")
        _unpack(next(source.glob("*.tar.gz")), folder)
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    partial = folder.with_name(f"{folder.name}-{os.getpid()}")
    with tarfile.open(archive) as source:
        wanted = [member for member in source.getmembers() if re.search(f"{MEMBERS}|{READER}$", member.name)]
        for member in wanted:
            member.name = member.name.partition("/auth/")[2]
            source.extract(member, partial, filter="data")
    with contextlib.suppress(OSError):  # another run was first
        partial.rename(folder)


@pytest.mark.slow
def test_the_published_vectors_come_out(vectors: Path) -> None:
    cases = sorted(vectors.rglob("*.req"))
    known = dict(re.findall(r"^(ACCESS|SECRET)_KEY = .(.*).$", (vectors / Path(READER).name).read_text(), re.MULTILINE))
    keys = AccessKeys(known["ACCESS"], known["SECRET"])
    assert len(cases) >= 20, "the suite is there"
    for case in cases:
        if case.stem not in UNSENDABLE:
            _check(case, keys)


def _check(case: Path, keys: AccessKeys) -> None:
    expected = case.with_suffix(".creq").read_text().replace("\r", "")
    method, path, headers, body = _request(case.with_suffix(".sreq").read_text(), signed=expected.split("\n")[-2])
    canonical = canonical_request(method, path, headers, body)
    assert canonical == expected, case.stem
    found = authorization(keys, SUITE_SCOPE, dict(headers)["x-amz-date"], canonical)
    assert found == case.with_suffix(".authz").read_text().strip(), case.stem


def _request(text: str, *, signed: str) -> tuple[str, str, list[tuple[str, str]], bytes]:
    """A vector's request as a client sends it: its query encoded, headers' names small, their blanks trimmed.

    Which headers are `signed` is the client's choice.
    """
    head, _, body = text.replace("\r", "").partition("\n\n")
    first, *lines = head.split("\n")
    method, path = first.removesuffix(" HTTP/1.1").split(" ", 1)
    where, mark, query = path.partition("?")  # the path is encoded by the signature itself
    merged: dict[str, str] = {}
    for name, value in _fields(lines):
        merged[name] = f"{merged[name]},{value}" if name in merged else value
    headers = sorted((name, value) for name, value in merged.items() if name in signed.split(";"))
    return method, where + mark + quote(query, safe="=&%-_.~"), headers, body.encode()


def _fields(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in filter(None, lines):
        name, _, value = line.partition(":")
        yield name.lower(), " ".join(value.split())
