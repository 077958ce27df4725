"""What the router is told of an endpoint."""

from __future__ import annotations

import pytest

from model_serving.api.status import Condition, EndpointStatus
from model_serving.lifecycle.routing import Reach, table_entry
from model_serving.proxy_config import Entry, EntryState, Grant


def status(ready: str, reason: str, *more: str) -> EndpointStatus:
    conditions = [Condition(type="Ready", status=ready, reason=reason, message="words")]  # type: ignore[arg-type]
    return EndpointStatus(
        task="llm/v1/chat", conditions=conditions + [Condition(type=kind, status="True", reason="x") for kind in more]
    )


@pytest.mark.parametrize(
    ("given", "addresses", "state", "message"),
    [
        pytest.param(status("True", "Ready"), ["a:1"], "ready", "", id="ready"),
        pytest.param(
            status("False", "RolloutInProgress", "Reconciling"), ["a:1"], "ready", "", id="the old one serves"
        ),
        pytest.param(status("False", "UpdateFailed", "Stalled"), ["a:1"], "ready", "", id="the old one serves on"),
        pytest.param(status("False", "Progressing", "Reconciling"), [], "starting", "words", id="calls are held"),
        pytest.param(status("False", "Recovering", "Reconciling"), [], "starting", "words", id="and while it recovers"),
        pytest.param(status("False", "SecretNotFound", "Reconciling"), [], "not_ready", "words", id="not for a Secret"),
        pytest.param(status("False", "NotSupported", "Stalled"), [], "not_supported", "words", id="nor for ever"),
    ],
)
def test_the_state_of_an_endpoint(given: EndpointStatus, addresses: list[str], state: str, message: str) -> None:
    entry = table_entry(given, [], Reach(addresses))
    assert (entry.state, entry.message, entry.task) == (state, message, "llm/v1/chat")


def test_an_endpoint_that_nobody_has_looked_at_is_starting() -> None:
    assert table_entry(EndpointStatus(), [], Reach()) == Entry(state=EntryState.STARTING)


def test_grants_say_who_may_see_it() -> None:
    grants = [Grant("user", "me", "CAN_QUERY")]
    assert table_entry(status("True", "Ready"), grants, Reach()).grants == grants


def test_the_certificates_name_counts_with_tls_alone() -> None:
    ready = status("True", "Ready")
    assert table_entry(ready, [], Reach(["a:1"], True, "chat.svc")).server_name == "chat.svc"
    assert table_entry(ready, [], Reach(["a:1"], False, "chat.svc")).server_name == ""
