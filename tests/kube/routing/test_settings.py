"""Settings of a router in a cluster, and the workspace's number."""

from __future__ import annotations

import pytest

from model_serving.kube.routing.settings import FeedSettings, SettingsError, from_environ
from model_serving.kube.workspace_id import workspace_id


def test_the_pods_own_namespace_is_served_unless_another_is_named() -> None:
    assert from_environ({}, "mine") == FeedSettings("mine")
    assert from_environ({"MODEL_SERVING_NAMESPACE": "gen-ai"}, "mine").namespace == "gen-ai"


def test_issuers_are_the_operators_own_setting() -> None:
    environ = {
        "MODEL_SERVING_ISSUERS": "- {issuer: https://login.example, audiences: [a]}",
        "MODEL_SERVING_ISSUERS_RENEW_SECONDS": "30",
        "MODEL_SERVING_CLUSTER_DOMAIN": "k8s.example",
    }
    found = from_environ(environ, "mine")
    assert [issuer.issuer for issuer in found.issuers] == ["https://login.example"]
    assert (found.issuers_renew_seconds, found.cluster_domain) == (30.0, "k8s.example")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("NAMESPACE", "Gen_AI", "name of the namespace"),
        ("ISSUERS", "issuer: x", "a YAML list of issuers"),
        ("ISSUERS_RENEW_SECONDS", "soon", "from 5 to 86400"),
        ("CLUSTER_DOMAIN", "a b", "such as cluster.local"),
    ],
)
def test_a_bad_setting_is_named_with_the_remedy(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError, match=f"MODEL_SERVING_{name}: .*{words}"):
        from_environ({f"MODEL_SERVING_{name}": value}, "mine")


def test_a_workspaces_number_is_stable_exact_in_every_client_and_its_own() -> None:
    uids = [f"5f1c6e7e-0000-4000-8000-{n:012d}" for n in range(2000)]
    numbers = [workspace_id(uid) for uid in uids]
    assert numbers[0] == workspace_id(uids[0])
    assert all(number.isdigit() and 0 < int(number) < 2**53 for number in numbers)
    assert len(set(numbers)) == len(uids)
