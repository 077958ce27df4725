"""What files may say, and in which words they are refused."""

import base64

import pytest

from model_serving.local.documents import parse_documents
from model_serving.local.errors import InputError
from model_serving.local.sample import SampleSource, sample_text
from tests.local.running import chat_endpoint, documents, secret


def test_endpoints_and_secrets_of_one_file() -> None:
    encoded = base64.b64encode(b"v2").decode()
    found = parse_documents(
        documents(
            chat_endpoint("a", 1), f"{secret('s', plain='v1')}data: {{coded: {encoded}}}\n", "\nkind: ConfigMap\n"
        ),
        "f",
    )
    assert [e.metadata.name for e in found.endpoints] == ["a"]
    assert [(s.key, s.values) for s in found.secrets] == [(("default", "s"), {"plain": b"v1", "coded": b"v2"})]
    assert found.ignored == ("ConfigMap without metadata",)


def test_values_of_secrets_are_not_shown() -> None:
    found = parse_documents(secret("s", key="canary"), "f")
    assert "canary" not in repr(found)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("a: [", "f: line 1", id="not YAML, with the place"),
        pytest.param("just text", "must be an object", id="not an object"),
        pytest.param(
            "kind: ServingEndpoint\nmetadata: {name: a}\n", "apiVersion", id="another version of the resource"
        ),
        pytest.param(chat_endpoint("A_b", 1), "metadata.name", id="a name that Kubernetes refuses"),
        pytest.param(
            chat_endpoint("a", 1).replace("127.0.0.1", "169.254.169.254"), "169.254.169.254", id="the metadata address"
        ),
        pytest.param(documents(secret("s", a="x"), secret("s", a="y")), "twice", id="one Secret twice"),
        pytest.param(
            "kind: Secret\nmetadata: {name: ../up}\n", "names as Kubernetes", id="a Secret's name with a path"
        ),
        pytest.param("kind: Secret\nmetadata: {name: s, namespace: ..}\n", "names as", id="a namespace with a path"),
        pytest.param(
            "kind: Secret\nmetadata: {name: s}\nstringData: {'..': x}\n", "a key consists", id="a key that is a path"
        ),
        pytest.param(
            "kind: Secret\nmetadata: {name: s}\nstringData: {a/b: x}\n", "a key consists", id="a key with a slash"
        ),
        pytest.param("kind: Secret\nmetadata: {name: s}\nstringData: {k: 5}\n", "quotes", id="a value that is no text"),
        pytest.param("kind: Secret\nmetadata: {name: s}\nstringData: [k]\n", "a map", id="values that are no map"),
        pytest.param("kind: Secret\nmetadata: {name: s}\ndata: {k: '%'}\n", "not base64", id="data that is not base64"),
    ],
)
def test_faults_are_named(text: str, words: str) -> None:
    with pytest.raises(InputError, match=r"^f: ") as caught:
        parse_documents(text, "f")
    assert words in str(caught.value)


def test_the_sample_that_is_shipped_is_the_one_in_manifests() -> None:
    with open("manifests/samples/local.yaml", encoding="utf-8") as file:
        assert file.read() == sample_text()


def test_the_sample_follows_the_demo_provider() -> None:
    found = SampleSource(1234).read()
    models = [entity.external_model for e in found.endpoints for entity in e.spec.config.served_entities]
    assert {m.openai_config.openai_api_base for m in models if m and m.openai_config} == {"http://127.0.0.1:1234/v1"}
    assert {str(m.task) for m in models if m} == {"llm/v1/chat", "llm/v1/completions", "llm/v1/embeddings"}
