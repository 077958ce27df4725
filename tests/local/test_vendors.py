"""Each translated provider from end to end: `run`, the openai package in front, and a vendor's door behind that checks
each request by the vendor's own types and answers as the golden cases say. One runner serves them all."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import openai
import pytest

from tests.fakes.token_service import ACCOUNT, new_key, pem
from tests.local.running import running, say
from tests.proxy.providers.golden import ROOT, vendor_of

TOKEN = "google-token-canary"
KEY = "sk-test-vendor"
CLAUDE = "google_cloud_vertex_ai_claude"
CREDENTIALS: dict[str, dict[str, Any]] = {
    "anthropic": {"anthropicApiKeySecretRef": "key"},
    "cohere": {"cohereApiKeySecretRef": "key"},
    "ai21labs": {"ai21labsApiKeySecretRef": "key"},
    "amazon_bedrock": {"awsAccessKeyIdSecretRef": "key", "awsSecretAccessKeySecretRef": "key"},
    "google_cloud_vertex_ai": {"privateKeySecretRef": "google"},
    CLAUDE: {"privateKeySecretRef": "google"},
}
BASES = {
    "anthropic": ("anthropicConfig", "anthropicApiBase"),
    "cohere": ("cohereConfig", "cohereApiBase"),
    "ai21labs": ("ai21labsConfig", "ai21labsApiBase"),
    "amazon-bedrock": ("amazonBedrockConfig", "awsEndpointUrl"),
    "google-cloud-vertex-ai": ("googleCloudVertexAiConfig", "vertexApiBase"),
}
STREAMED = ("stream", "converse-stream", "streamGenerateContent", "streamRawPredict")


class Door:
    """All vendors on one port, below their golden folders' names."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, bool, str, Any, dict[str, str]]] = []
        """Folder, whether a stream was asked for, path, body, headers."""
        door = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                kind, answer = door.answer(self.path, body, {k.lower(): v for k, v in self.headers.items()})
                self.send_response(200)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[str, bytes]:
        """Content type and body."""
        if path == "/token":
            token = {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}
            return "application/json", json.dumps(token).encode()
        _, folder, rest = path.split("/", 2)
        fields = json.loads(body)
        stream = fields.get("stream") is True or any(word in rest for word in STREAMED)
        self.requests.append((folder, stream, f"/{rest}", fields, headers))
        name = self.case_of(folder, body)
        case = ROOT / folder / (f"{name}_stream" if stream else name)
        if not stream:
            return "application/json", (case / "reply.json").read_bytes()
        if (case / "reply.bin").exists():
            return "application/vnd.amazon.eventstream", (case / "reply.bin").read_bytes()
        return "text/event-stream", (case / "reply.sse").read_bytes()

    def case_of(self, folder: str, body: bytes) -> str:
        """The golden case that answers; a stream's has `_stream` behind."""
        return "text"


@contextmanager
def vendors(kind: type[Door] = Door) -> Iterator[Door]:
    """The door, open."""
    door = kind()
    thread = threading.Thread(target=door.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield door
    finally:
        door.server.shutdown()
        door.server.server_close()


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def endpoint(folder: str, url: str) -> dict[str, Any]:
    """The ServingEndpoint of a golden folder, its vendor behind `url`."""
    told = json.loads((ROOT / folder / "target.json").read_text())
    block, base = BASES[told["provider"]]
    config = {camel(name): value for name, value in told.get("settings", {}).items()} | {base: f"{url}/{folder}"}
    config |= {field: {"name": "vendors", "key": key} for field, key in CREDENTIALS[folder].items()}
    task = "llm/v1/completions" if folder == "ai21labs" else "llm/v1/chat"
    model = {"name": told["model"], "provider": told["provider"], "task": task, block: config}
    return {
        "apiVersion": "model-serving.dev/v1alpha1",
        "kind": "ServingEndpoint",
        "metadata": {"name": name_of(folder)},
        "spec": {"config": {"servedEntities": [{"name": "main", "externalModel": model}]}},
    }


def name_of(folder: str) -> str:
    return folder.replace("_", "-")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Door, openai.OpenAI]]:
    folder = tmp_path_factory.mktemp("vendors")
    with vendors() as door:
        google = {
            "type": "service_account", "project_id": "p", "private_key_id": "k", "private_key": pem(new_key()),
            "client_email": ACCOUNT, "token_uri": f"{door.url}/token",
        }  # fmt: skip
        keys = {"key": KEY, "google": json.dumps(google)}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "vendors"}, "stringData": keys}
        parts = [secret, *(endpoint(each, door.url) for each in CREDENTIALS)]
        (folder / "all.yaml").write_text("\n---\n".join(json.dumps(part) for part in parts))
        with running(folder, "--port", "0", "-f", "all.yaml") as run:
            for each in run.serving()["endpoints"]:
                if not each["ready"]:
                    run.ready(each["name"], 1)
            with run.client() as client:
                yield door, client


def expected(folder: str) -> Any:
    return json.loads((ROOT / folder / "text" / "answer.json").read_text())


@pytest.mark.parametrize("folder", CREDENTIALS)
def test_a_provider_serves_the_openai_package(served: tuple[Door, openai.OpenAI], folder: str) -> None:
    door, client = served
    if folder == "ai21labs":
        text = client.completions.create(model=name_of(folder), prompt="hello", max_tokens=20)
        assert text.choices[0].text == expected(folder)["choices"][0]["text"]
    else:
        asked: dict[str, Any] = {"model": name_of(folder), "messages": say("hello"), "max_tokens": 20}
        whole = client.chat.completions.create(**asked)
        content = expected(folder)["choices"][0]["message"]["content"]
        assert whole.choices[0].message.content == content
        assert whole.usage is not None
        assert whole.usage.model_dump(exclude_none=True) == expected(folder)["usage"]
        chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == content
        assert chunks[-1].usage == whole.usage
    told = json.loads((ROOT / folder / "target.json").read_text())
    task = "completions" if folder == "ai21labs" else "chat"
    its = [request for request in door.requests if request[0] == folder]
    assert len(its) == (1 if folder == "ai21labs" else 2)
    for _, stream, path, body, headers in its:
        vendor_of(told["provider"]).accept_request(task, stream, path, body)
        shown = " ".join(headers.values())
        assert (TOKEN if "vertex" in folder else KEY) in shown
