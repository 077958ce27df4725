"""docs/rest-fields.md says of each field what is done with it: compared with the models, and tried."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_serving.api.base import Model
from model_serving.api.endpoint import EndpointSpec
from model_serving.api.not_supported import not_supported
from model_serving.management.convert.draft import draft_create
from model_serving.management.convert.fields import KUBERNETES_ONLY, Kind, fields_of
from model_serving.management.convert.problems import InvalidBody
from model_serving.management.convert.rest import endpoint_body
from tests.management.convert.bodies import FOUNDATION, OPENAI_CHAT, PROVIDERS, create, external
from tests.management.convert.factory import created

PAGE = Path(__file__).parents[3] / "docs" / "rest-fields.md"
ENTITY = "config.served_entities[]"
ROW = re.compile(r"^\| `([a-z_.\[\]0-9]+)` \| ([a-z ]+) \| .+ \|$", re.MULTILINE)
NO_FIELDS_OF_THE_RESOURCE = {
    "name",
    "telemetry_config",
    f"{ENTITY}.state",
    "config.name",
    "config.tags",
    "config.served_models",
    "config.traffic_config.routes[].served_model_name",
}


def rows() -> dict[str, str]:
    """Path in full → treatment."""
    full = ((re.sub(r"^model\.", "entity.external_model.", path), how) for path, how in ROW.findall(PAGE.read_text()))
    return {re.sub(r"^entity\.", f"{ENTITY}.", path): how for path, how in full}


def leaves(model: type[Model], path: str = "") -> Iterator[str]:
    for field in fields_of(model).values():
        if model is EndpointSpec and field.python in KUBERNETES_ONLY:
            continue
        at = f"{path}.{field.name}".lstrip(".")
        if field.model is not None and fields_of(field.model):
            yield from leaves(field.model, at + ("[]" if field.kind is Kind.OBJECTS else ""))
        else:
            yield at


def test_the_table_has_every_field_once() -> None:
    assert set(rows()) == set(leaves(EndpointSpec)) | NO_FIELDS_OF_THE_RESOURCE
    assert len(ROW.findall(PAGE.read_text())) == len(rows())


def gateway(block: str, **fields: Any) -> dict[str, Any]:
    return create(OPENAI_CHAT, ai_gateway={block: fields})


BEDROCK = {"aws_region": "eu-central-1", "bedrock_provider": "amazon"}
GUARDRAILS: dict[str, Any] = {
    "safety": True,
    "pii": {"behavior": "BLOCK"},
    "invalid_keywords": ["x"],
    "valid_topics": ["x"],
}
TURNED_ON: dict[str, list[dict[str, Any]]] = {
    "config.auto_capture_config.enabled": [
        {"name": "x", "config": create(OPENAI_CHAT)["config"] | {"auto_capture_config": {"enabled": True}}}
    ],
    "ai_gateway.inference_table_config.enabled": [gateway("inference_table_config", enabled=True)],
    "ai_gateway.fallback_config.enabled": [gateway("fallback_config", enabled=True)],
    "route_optimized": [create(OPENAI_CHAT, route_optimized=True)],
    **{
        f"ai_gateway.guardrails.{way}.{name}" + (".behavior" if name == "pii" else ""): [
            gateway("guardrails", **{way: {name: value}})
        ]
        for way in ("input", "output")
        for name, value in GUARDRAILS.items()
    },
}
REFUSED: dict[str, dict[str, Any]] = {
    f"{ENTITY}.instance_profile_arn": {
        "name": "x",
        "config": {"served_entities": [{"external_model": OPENAI_CHAT, "instance_profile_arn": "arn"}]},
    },
    **{
        f"{ENTITY}.external_model.amazon_bedrock_config.{name}": create(
            external("amazon-bedrock", BEDROCK | {"workload_identity": {}, name: "x"})
        )
        for name in ("instance_profile_arn", "uc_service_credential_name")
    },
}


def paths(treatment: str) -> set[str]:
    return {path for path, how in rows().items() if how == treatment}


def test_what_may_only_be_off_is_refused_when_it_is_on() -> None:
    assert paths("off only") == set(TURNED_ON)
    for path, bodies in TURNED_ON.items():
        for body in bodies:
            with pytest.raises(InvalidBody, match=r"(remove|set).*(remove|false|them)") as caught:
                draft_create(body)
            assert path.split(".")[0] in caught.value.message, path


def test_what_is_refused_is_refused_by_its_name() -> None:
    assert paths("refused") == set(REFUSED)
    for path, body in REFUSED.items():
        with pytest.raises(InvalidBody, match=path.rpartition(".")[2]) as caught:
            draft_create(body)
        assert "remove it" in caught.value.message, path


def test_what_is_ignored_changes_nothing() -> None:
    plain = create(OPENAI_CHAT)
    (entity,) = plain["config"]["served_entities"]
    crowded = plain | {
        "telemetry_config": {"x": 1},
        "config": {"served_entities": [entity | {"state": {"deployment": "x"}}], "name": "x", "tags": [{"key": "x"}]},
    }
    assert paths("ignored") == {"telemetry_config", f"{ENTITY}.state", "config.name", "config.tags"}
    assert endpoint_body(created(crowded), "CAN_VIEW") == endpoint_body(created(plain), "CAN_VIEW")


def sent(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict) and value and not path.endswith("environment_vars"):
        for name, each in value.items():
            yield from sent(each, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list):
        for each in value:
            yield from sent(each, f"{path}[]")
    else:
        yield path


@pytest.mark.parametrize("body", [*map(create, PROVIDERS.values()), FOUNDATION], ids=[*PROVIDERS, "foundation"])
def test_what_is_not_done_yet_is_said_to_be(body: dict[str, Any]) -> None:
    told = {rows()[path] for path in sent(body["config"], "config") if rows()[path] != "effective"}
    assert ("not yet" in told) == bool(not_supported(created(body).endpoint.spec))
