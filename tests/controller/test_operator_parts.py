"""The small parts of the operator: settings, health, metrics, events, logs, Kopf's settings, the shipped rights."""

from __future__ import annotations

import itertools
import json
import logging
from pathlib import Path
from typing import Any

import aiohttp
import kopf
import pytest
import yaml

from model_serving.controller import metrics as metric
from model_serving.controller.events import Recorder
from model_serving.controller.handlers import build_registry, configure
from model_serving.controller.health import HealthServer
from model_serving.controller.intake import Intake
from model_serving.controller.logs import configure_logs, redact
from model_serving.controller.metrics import Metrics
from model_serving.controller.settings import Settings, SettingsError, external_base, from_environ
from model_serving.kube.client import Client
from model_serving.kube.config import Connection
from model_serving.kube.request import Retries
from model_serving.kube.session import RequestCounts
from model_serving.lifecycle.events import Event
from tests.controller.factory import endpoint
from tests.fakes.kube_api import Failure, FakeKubeApi

MANIFESTS = Path(__file__).parents[2] / "manifests"

# Settings


def test_settings_come_from_the_environment() -> None:
    environ = {"MODEL_SERVING_IMAGE": "x:1", "MODEL_SERVING_NAMESPACES": "a, b", "MODEL_SERVING_MANAGE_ACCESS": "false"}
    settings = from_environ(environ | {"OTHER": "ignored", "MODEL_SERVING_WORKERS": " "})
    assert (settings.image, settings.namespaces, settings.manage_access) == ("x:1", ("a", "b"), False)
    assert settings.workers == Settings().workers


@pytest.mark.parametrize(
    ("given", "base"),
    [
        pytest.param("", "", id="none"),
        pytest.param("https://models.example.com/", "https://models.example.com", id="one host"),
        pytest.param("http://10.0.0.1:8080/team", "http://10.0.0.1:8080/team", id="a path, and no TLS"),
        pytest.param("https://{namespace}.example.com", "https://gen-ai.example.com", id="a host each"),
        pytest.param("https://example.com/w/{namespace}", "https://example.com/w/gen-ai", id="a path each"),
    ],
)
def test_the_address_from_outside_is_a_namespaces_own(given: str, base: str) -> None:
    assert external_base(from_environ({"MODEL_SERVING_EXTERNAL_URL": given}), "gen-ai") == base


BAD = [
    pytest.param("WORKERS", "many", "whole number from 1 to 200", id="not a number"),
    pytest.param("WORKERS", "0", "whole number from 1 to 200", id="out of range"),
    pytest.param("PROXY_SETTINGS", "PORT=1", "with names of FIRST_BYTE_SECONDS", id="not a setting to choose"),
    pytest.param("PROXY_SETTINGS", "WORKERS", "NAME=VALUE", id="a setting without value"),
    pytest.param("PROXY_SETTINGS", "WORKERS=0", "WORKERS to a whole number above 0", id="a proxy's count"),
    pytest.param("PROXY_SETTINGS", "WORKERS=2,FIRST_BYTE_SECONDS=x", "number of seconds", id="a proxy's seconds"),
    pytest.param("PROXY_SETTINGS", "ACCESS_LOG=no", "on or off", id="a proxy's switch"),
    pytest.param(
        "PROXY_SETTINGS", "AZURE_AUTHORITY_HOST=http://login", "https://HOST", id="a token service in the clear"
    ),
    pytest.param("PROXY_SETTINGS", "AWS_ENDPOINT_URL_STS=https://h:8443", "port 443", id="a port that no policy opens"),
    pytest.param("LIMITS_STORE", "valkey://valkey:port", "port to a number", id="a store's port"),
    pytest.param("MANAGE_ACCESS", "yes", "true or false", id="not a flag"),
    pytest.param("IMAGE_PULL_POLICY", "Sometimes", "Always, IfNotPresent, Never", id="not one of them"),
    pytest.param("LIMITS_STORE", "http://valkey:6379", "valkey://HOST:PORT/DB", id="no store"),
    pytest.param("LIMITS_STORE", "valkey://:word@valkey:6379", "without a password", id="a password in the open"),
    pytest.param("LIMITS_STORE", "valkey://valkey/zero", "number of a database", id="no database"),
    pytest.param("UPSTREAM_PROXY", "https://proxy:3128", "http://HOST:PORT", id="TLS to a proxy"),
    pytest.param("UPSTREAM_PROXY", "proxy:3128", "http://HOST:PORT", id="a proxy without scheme"),
    pytest.param("UPSTREAM_PROXY", "http://u:p@proxy:3128", "without credentials", id="a proxy's password"),
    pytest.param("TRACES_ENDPOINT", "collector:4318", "http://HOST:4318", id="no collector"),
    pytest.param("TRACES_ENDPOINT", "http://u:p@collector", "without a password", id="a collector's password"),
    pytest.param("EXTERNAL_URL", "models.example.com", "https://HOST", id="no scheme"),
    pytest.param("EXTERNAL_URL", "ftp://models.example.com", "https://HOST", id="another scheme"),
    pytest.param("EXTERNAL_URL", "https://", "https://HOST", id="no host"),
    pytest.param("EXTERNAL_URL", "https://me:word@models.example.com", "without user", id="an address with a password"),
    pytest.param("EXTERNAL_URL", "https://models.example.com?x=1", "without query", id="an address with a query"),
    pytest.param("EXTERNAL_URL", "https://x.example/{name}", "{namespace} is the only", id="another placeholder"),
    pytest.param("EXTERNAL_URL", "https://x.example:port", "port to a number", id="an address's port"),
    pytest.param("MIN_READY_SECONDS", "300", "below MODEL_SERVING_PROGRESS_DEADLINE_SECONDS", id="contradiction"),
]


@pytest.mark.parametrize(("name", "value", "words"), BAD)
def test_a_bad_setting_is_named_with_the_remedy(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError, match=f"MODEL_SERVING_{name}") as caught:
        from_environ({f"MODEL_SERVING_{name}": value})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LIMITS_STORE", "valkey://ada:pass/word@valkey:6379/0"),
        ("LIMITS_STORE", "valkey://:" + "password" * 20 + "@valkey"),
        ("TRACES_ENDPOINT", "http://ada:password@collector:4318"),
        ("UPSTREAM_PROXY", "http://ada:password@proxy:3128"),
        ("ISSUERS", '[{issuer: "https://ada:password@login.example.com"}]'),
    ],
)
def test_no_complaint_about_a_setting_shows_its_password(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        from_environ({f"MODEL_SERVING_{name}": value})
    assert "word" not in str(caught.value).replace("without a password", "")


@pytest.mark.parametrize("value", [
        "WORKERS=2", "FIRST_BYTE_SECONDS=0.5,ACCESS_LOG=OFF", "UPSTREAM_CA_FILE=/a/b.pem",
        "AZURE_AUTHORITY_HOST=https://login.microsoftonline.us,AWS_ENDPOINT_URL_STS=https://vpce-1.sts.example.com/",
    ])  # fmt: skip
def test_good_settings_of_proxies_pass(value: str) -> None:
    assert from_environ({"MODEL_SERVING_PROXY_SETTINGS": value}).proxy_settings == tuple(value.split(","))


def test_all_bad_settings_are_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        from_environ({"MODEL_SERVING_WORKERS": "x", "MODEL_SERVING_HEALTH_PORT": "y"})
    assert len(str(caught.value).splitlines()) == 2


# Health and metrics


async def test_health_and_metrics_are_served() -> None:
    problems = {"live": "", "ready": "not yet"}
    metrics = Metrics()
    metrics.observe_reconcile("done", 0.1)
    metrics.status_write()
    metrics.look_up(lambda: [metric.requests(RequestCounts({("get", "200"): 7}))])
    server = HealthServer(port=0, live=lambda: problems["live"], ready=lambda: problems["ready"], metrics=metrics)
    async with server, aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        async with session.get("/livez") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
        async with session.get("/readyz") as answer:
            assert (answer.status, await answer.text()) == (503, "not yet\n")
        async with session.get("/metrics") as answer:
            text = await answer.text()
    assert 'model_serving_operator_reconciles_total{result="done"} 1.0' in text
    assert 'model_serving_operator_api_requests_total{code="200",verb="get"} 7.0' in text
    assert "model_serving_operator_status_writes_total 1.0" in text


def test_endpoints_are_counted_by_condition() -> None:
    ready: dict[str, Any] = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    stalled = {"status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "Stalled", "status": "True"}]}}
    family = metric.endpoints_by_condition([ready, ready, stalled, {}])
    counted = {(s.labels["condition"], s.labels["status"]): s.value for s in family.samples}
    assert counted == {
        ("Ready", "True"): 2,
        ("Ready", "False"): 1,
        ("Ready", "Unknown"): 1,
        ("Stalled", "True"): 1,
        ("Stalled", "False"): 3,
    }


# Events


async def test_an_event_is_written_once() -> None:
    event = Event("Warning", "SecretNotFound", "ä" * 2000)
    async with FakeKubeApi() as api, Client(api.connection, retries=Retries(attempts=1)) as client:
        now = [0.0]
        recorder = Recorder(client, Metrics(), identity="pod", clock=lambda: now[0])
        await recorder.record(endpoint(), [event, event])
        await recorder.record(endpoint(), [event])
        assert len(api.writes()) == 1
        now[0] = 601
        await recorder.record(endpoint(), [event])
        assert len(api.writes()) == 2
        written = json.loads(api.requests[0][3])
    assert written["regarding"]["uid"] == endpoint().metadata.uid
    assert (written["type"], written["reason"]) == ("Warning", "SecretNotFound")
    assert len(written["note"].encode()) <= 1024


async def test_a_lost_event_harms_nobody() -> None:
    async with FakeKubeApi() as api, Client(api.connection, retries=Retries(attempts=1)) as client:
        api.failures.append(Failure(403, times=9))
        await Recorder(client, Metrics(), identity="pod").record(endpoint(), [Event("Normal", "Ready", "x")])


# Logs


@pytest.mark.parametrize(
    ("name", "level", "text", "expected"),
    [
        ("kopf.objects", logging.DEBUG, "Creation is in progress: {'spec': 'sk-canary'}", "Creation is in progress: …"),
        ("kopf.objects", logging.INFO, "diff: (('add', ('x',), None, 'sk-canary'),)", "diff: …"),
        ("model_serving.x", logging.INFO, "all {fine}", "all {fine}"),
        ("kopf.x", logging.ERROR, "trouble {1}", "trouble {1}"),
    ],
)
def test_kopf_never_logs_the_content_of_an_object(name: str, level: int, text: str, expected: str) -> None:
    record = logging.LogRecord(name, level, "f", 1, "%s", (text,), None)
    assert redact(record) is True
    assert record.getMessage() == expected


@pytest.mark.parametrize("style", ["text", "json"])
def test_log_lines(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure_logs(Settings(log_format=style))
        try:
            raise ValueError("why")
        except ValueError:
            logging.getLogger("here").exception("what %s", "ever")
        line = capsys.readouterr().err
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    if style == "json":
        parsed = json.loads(line)
        assert (parsed["level"], parsed["logger"], parsed["message"]) == ("error", "here", "what ever")
        assert "ValueError: why" in parsed["exception"]
    else:
        assert "ERROR   here: what ever" in line and "ValueError: why" in line


# Kopf


def test_kopf_only_watches() -> None:
    settings = kopf.OperatorSettings()
    configure(settings)
    assert settings.posting.enabled is False
    assert settings.peering.standalone is True
    assert settings.scanning.disabled is True
    waits = list(itertools.islice(settings.networking.error_backoffs, 1000))  # type: ignore[arg-type]
    assert len(waits) == 1000 and max(waits) <= 45
    assert len(list(settings.watching.label_selectors)) == 1


async def test_kopf_gets_no_handler_that_writes_to_objects() -> None:
    async def stop() -> None:
        return

    intake = Intake.__new__(Intake)
    registry = build_registry(intake, Connection("http://x"), RequestCounts(), stop)
    assert len(list(registry._watching.get_all_handlers())) == 2
    assert not list(registry._changing.get_all_handlers())
    assert not list(registry._spawning.get_all_handlers())
    assert not list(registry._indexing.get_all_handlers())


# The shipped rights


def documents(path: str) -> list[dict[str, Any]]:
    return [d for d in yaml.safe_load_all((MANIFESTS / path).read_text()) if d]


def rules(path: str, kind: str, name: str) -> list[dict[str, Any]]:
    return next(d["rules"] for d in documents(path) if d["kind"] == kind and d["metadata"]["name"] == name)


def test_one_namespace_needs_the_same_rights_as_all_of_them() -> None:
    cluster = rules("operator/cluster_role.yaml", "ClusterRole", "model-serving-operator")
    assert rules("operator-namespaced/role.yaml", "Role", "model-serving-operator") == cluster
    kinds = {d["kind"] for d in documents("operator-namespaced/role.yaml")}
    assert kinds == {"Role", "RoleBinding"}


@pytest.mark.parametrize(
    "path", ["operator/cluster_role.yaml", "operator/base/own_role.yaml", "operator/aggregated_roles.yaml"]
)
def test_no_right_is_too_wide(path: str) -> None:
    for document in documents(path):
        for rule in document.get("rules", []):
            words = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
            assert not words & {"*", "secrets", "bind", "escalate", "impersonate", "pods/exec", "pods/log"}
            if path.endswith("aggregated_roles.yaml"):
                assert not any("status" in resource for resource in rule["resources"])


def test_the_operator_holds_what_it_grants_and_no_more_on_endpoints() -> None:
    granted = {"get", "update", "patch", "delete"}
    held = next(
        set(rule["verbs"])
        for rule in rules("operator/cluster_role.yaml", "ClusterRole", "model-serving-operator")
        if rule["resources"] == ["servingendpoints"]
    )
    assert held == granted | {"list", "watch"}


def test_the_operator_meets_pod_security_restricted() -> None:
    (document,) = documents("operator/base/deployment.yaml")
    pod = document["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    security = container["securityContext"]
    assert security["allowPrivilegeEscalation"] is False and security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
