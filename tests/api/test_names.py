"""Names: what Kubernetes gets for what Databricks allows."""

import re

import pytest

from model_serving.api.names import child_name, databricks_id, kept_keys_name, object_name, scope_hash, secret_names

OBJECT_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        pytest.param("chat", r"chat", id="a legal name stays"),
        pytest.param("a" * 48, "a" * 48, id="48 characters stay"),
        pytest.param("openai_endpoint", r"openai-endpoint-[0-9a-f]{6}", id="an underscore is lost and leaves a hash"),
        pytest.param("Chat", r"chat-[0-9a-f]{6}", id="a capital is lost"),
        pytest.param("4o", r"e-4o-[0-9a-f]{6}", id="a letter comes first"),
        pytest.param("a" * 49, "a" * 41 + "-[0-9a-f]{6}", id="49 characters are cut to 41 and a hash"),
        pytest.param("a" * 40 + "_" * 22 + "b", "a" * 40 + "-[0-9a-f]{6}", id="no dash doubles at the cut"),
        pytest.param("_", r"e-[0-9a-f]{6}", id="nothing left still makes a name"),
    ],
)
def test_object_name(endpoint: str, expected: str) -> None:
    name = object_name(endpoint)

    assert re.fullmatch(expected, name)
    assert len(name) <= 48 and OBJECT_NAME.fullmatch(name)
    assert object_name(name) == name


def test_names_that_differ_in_what_a_slug_loses_differ() -> None:
    names = ["my_model", "my-model", "My-Model", "my__model", "my_model_"]

    assert len({object_name(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    ("scope", "first"),
    [
        pytest.param("my_scope", "my-scope", id="underscore"),
        pytest.param("alice@example.com", "alice-example-com", id="at sign"),
        pytest.param("team.secrets", "team.secrets", id="a legal name stays, dots included"),
        pytest.param("a.-b", "a-b", id="dots that Kubernetes refuses go"),
        pytest.param("@", "scope", id="nothing left still makes a name"),
        pytest.param("S" * 128, "s" * 128, id="the longest scope"),
    ],
)
def test_secret_names(scope: str, first: str) -> None:
    names = secret_names(scope)

    assert names[0] == first
    assert re.fullmatch(re.escape(first) + "-[0-9a-f]{6}", names[1])
    assert all(len(name) <= 253 and SUBDOMAIN.fullmatch(name) for name in names)


def test_scope_hash_is_a_label_value() -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", scope_hash("alice@example.com"))


def test_databricks_id_is_the_uid_without_dashes() -> None:
    assert databricks_id("88fd3f75-a0d2-4b03-80dd-c40484d7a31b") == "88fd3f75a0d24b0380ddc40484d7a31b"


@pytest.mark.parametrize(
    ("owner", "suffix", "expected"),
    [
        pytest.param("chat", "policy", "chat-policy", id="short"),
        pytest.param("a" * 48, "0123456789abcd", "a" * 48 + "-0123456789abcd", id="63 characters stay"),
        pytest.param("a" * 48, "0123456789abcdef", "a" * 39 + "-[0-9a-f]{6}-0123456789abcdef", id="cut with a hash"),
        pytest.param("chat", "x" * 80, "chat-[0-9a-f]{6}", id="a suffix that cannot fit becomes the hash"),
    ],
)
def test_child_name(owner: str, suffix: str, expected: str) -> None:
    name = child_name(owner, suffix)

    assert re.fullmatch(expected, name) and len(name) <= 63


def test_kept_keys_name_is_the_endpoints_own_and_fits() -> None:
    assert kept_keys_name("chat") == "chat-keys"
    assert len(kept_keys_name("e" * 48)) <= 63
