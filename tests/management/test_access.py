"""Who may see, change and delete an endpoint: `spec.access`, the platform's rules, and the platform's last word."""

from __future__ import annotations

from typing import Any

import pytest

from model_serving.api.policy import AccessEntry, PermissionLevel, PrincipalKind
from model_serving.management.access import level_of
from model_serving.stores import Caller, Denied, Verb
from tests.article import CREATE, UPDATE
from tests.management.memory import ALICE, BOB, CAROL, EVERYTHING, World
from tests.management.rest import API, AT, NAME, connect, create_body, good, refused

VIEW, QUERY, MANAGE = PermissionLevel.CAN_VIEW, PermissionLevel.CAN_QUERY, PermissionLevel.CAN_MANAGE
ROBOT = Caller("system:serviceaccount:gen-ai:robot", token="robot-token")


def grant(world: World, name: str, level: PermissionLevel, kind: PrincipalKind = PrincipalKind.USER) -> None:
    """Gives a principal a level with the article's endpoint."""
    record = world.record(NAME)
    entries = [*(record.endpoint.spec.access or []), AccessEntry(kind=kind, name=name, permission_level=level)]
    record.endpoint = record.endpoint.model_copy(
        update={"spec": record.endpoint.spec.model_copy(update={"access": entries})}
    )


LEVELS = {
    "nobody": (None, frozenset(), None),
    "a viewer": (VIEW, frozenset(), VIEW),
    "who may query": (QUERY, frozenset(), QUERY),
    "a manager": (MANAGE, frozenset(), MANAGE),
    "who may get objects": (None, frozenset({Verb.GET}), VIEW),
    "who may get objects and query": (QUERY, frozenset({Verb.GET}), QUERY),
    "who may update but not delete": (None, frozenset({Verb.UPDATE, Verb.GET}), VIEW),
    "who may do everything with objects": (None, EVERYTHING, MANAGE),
}


@pytest.mark.usefixtures("endpoint")
@pytest.mark.parametrize("case", LEVELS)
async def test_the_level_is_the_higher_of_both(shop: World, case: str) -> None:
    given, rights, level = LEVELS[case]
    if given:
        grant(shop, BOB.name, given)
    shop.rights[BOB.name] = rights
    stored = await shop.platform().endpoints.find(NAME)
    assert stored is not None
    assert await level_of(shop.platform(), BOB, stored) == level


@pytest.mark.usefixtures("endpoint")
@pytest.mark.parametrize(
    ("caller", "name", "kind"),
    [(BOB, "readers", PrincipalKind.GROUP), (ROBOT, "robot", PrincipalKind.SERVICE_ACCOUNT)],
    ids=["a group", "a ServiceAccount of the endpoint's namespace"],
)
async def test_groups_and_service_accounts_count(shop: World, caller: Caller, name: str, kind: PrincipalKind) -> None:
    grant(shop, name, QUERY, kind)
    shop.people[caller.token] = caller
    async with connect(shop, caller) as rest:
        assert good(await rest.get(AT))["permission_level"] == "CAN_QUERY"


READS = ["", "/metrics", "/openapi", "/config-history", "/served-models/openai_embeddings/build-logs"]
WRITES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "config": ("PUT", "/config", UPDATE),
    "rate limits": ("PUT", "/rate-limits", {"rate_limits": []}),
    "gateway": ("PUT", "/ai-gateway", {}),
    "tags": ("PATCH", "/tags", {"delete_tags": ["team"]}),
    "notifications": ("PATCH", "/notifications", {"email_notifications": {}}),
    "rollback": ("POST", "/config:rollback", {"config_version": 1}),
    "delete": ("DELETE", "", {}),
}


@pytest.mark.usefixtures("endpoint")
async def test_who_may_not_see_an_endpoint_gets_403_everywhere(shop: World) -> None:
    async with connect(shop, BOB) as rest:
        for tail in [*READS, "/served-models/openai_embeddings/logs"]:
            refused(await rest.get(AT + tail), 403, BOB.name, NAME)
        for method, tail, body in WRITES.values():
            refused(await rest.request(method, AT + tail, json=body), 403, NAME, "CAN_VIEW")
        for tail in ("/config:cancel", "/config:retry", "/config:stop"):
            refused(await rest.post(AT + tail), 403, NAME)
        assert good(await rest.get(API)) == {"endpoints": []}
        refused(await rest.get(API + "/unknown"), 404, "unknown")
    assert shop.writes == [(ALICE.token, "create", shop.endpoint(NAME).metadata.name)]


@pytest.mark.usefixtures("endpoint")
@pytest.mark.parametrize("level", [VIEW, QUERY])
async def test_viewers_read_and_do_not_write(shop: World, level: PermissionLevel) -> None:
    grant(shop, BOB.name, level)
    before = shop.endpoint(NAME).spec
    async with connect(shop, BOB) as rest:
        for tail in READS:
            assert (await rest.get(AT + tail)).status_code == 200, tail
        assert good(await rest.get(AT))["permission_level"] == level
        (listed,) = good(await rest.get(API))["endpoints"]
        assert listed["name"] == NAME
        refused(await rest.get(AT + "/served-models/openai_embeddings/logs"), 403, "CAN_MANAGE")
        for method, tail, body in WRITES.values():
            refused(await rest.request(method, AT + tail, json=body), 403, BOB.name, NAME, "CAN_MANAGE")
    assert shop.endpoint(NAME).spec == before


@pytest.mark.usefixtures("endpoint")
async def test_who_may_not_change_is_told_so_before_a_body_is_judged(shop: World) -> None:
    grant(shop, BOB.name, QUERY)
    wrong = {"served_entities": 1, "rate_limits": 1, "guardrails": 1, "add_tags": 1, "email_notifications": 1}
    async with connect(shop, BOB) as rest:
        for method, tail, _ in WRITES.values():
            refused(await rest.request(method, AT + tail, json=wrong), 403, "CAN_MANAGE")
        for tail in ("/config:cancel", "/config:retry"):
            refused(await rest.post(AT + tail), 403, "CAN_MANAGE")
        for method, tail, _ in WRITES.values():
            refused(await rest.request(method, f"{API}/unknown{tail}", json=wrong), 404, "unknown")


@pytest.mark.usefixtures("endpoint")
@pytest.mark.parametrize("case", WRITES)
async def test_managers_write_with_their_own_token(shop: World, case: str) -> None:
    grant(shop, BOB.name, MANAGE)
    method, tail, body = WRITES[case]
    async with connect(shop, BOB) as rest:
        good(await rest.request(method, AT + tail, json=body))
        assert {token for token, _, _ in shop.writes[1:]} == {BOB.token}


async def test_the_platform_decides_who_creates(shop: World) -> None:
    async with connect(shop, BOB) as rest:
        refused(await rest.post(API, json=CREATE), 403, BOB.name, "create")
        shop.rights[BOB.name] = frozenset({Verb.CREATE})
        made = good(await rest.post(API, json=CREATE))
        assert made["creator"] == BOB.name and made["permission_level"] == "CAN_MANAGE"
        good(await rest.patch(AT + "/tags", json={"add_tags": [{"key": "mine"}]}))
        good(await rest.delete(AT))


@pytest.mark.usefixtures("endpoint")
async def test_a_manager_whom_the_platform_forbids_something_is_not_told_of_a_level(shop: World) -> None:
    async def policy(verb: str, name: str) -> None:
        raise Denied("the policy of this cluster forbids it")

    shop.before_write = policy
    async with connect(shop) as rest:
        for method, tail, body in WRITES.values():
            message = refused(await rest.request(method, AT + tail, json=body), 403, "the policy of this cluster")
            assert "lacks" not in message


async def test_lists_show_what_the_caller_may_see(shop: World) -> None:
    async with connect(shop) as rest:
        for name in ("one", "two", NAME):
            good(await rest.post(API, json=create_body(name)))
        everything = [each["name"] for each in good(await rest.get(API))["endpoints"]]
    assert everything == ["one", "two", NAME], "oldest first"
    grant(shop, BOB.name, VIEW)
    shop.rights[CAROL.name] = frozenset({Verb.LIST})
    seen = {}
    for caller in (BOB, CAROL):
        async with connect(shop, caller) as rest:
            seen[caller.name] = [each["name"] for each in good(await rest.get(API + "/"))["endpoints"]]
    assert seen == {BOB.name: [NAME], CAROL.name: everything}


@pytest.mark.usefixtures("endpoint")
async def test_a_token_may_come_as_curl_sends_it_with_a_user(shop: World) -> None:
    async with connect(shop, None) as rest:
        assert good(await rest.get(AT, auth=("token", ALICE.token)))["name"] == NAME
        refused(await rest.get(AT, auth=("alice", ALICE.token)), 401, "Authorization: Bearer")


async def test_openais_paths_at_the_wrong_place_are_told_where_they_are(shop: World) -> None:
    async with connect(shop, ALICE) as rest:
        for path in ("/v1/chat/completions", "/embeddings"):
            refused(await rest.post(path, json={}), 404, "below /serving-endpoints")


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer nobody", "Bearer \u00e9", "alice-token"],
    ids=["none", "no token", "blank", "another scheme", "unknown", "not ASCII", "no scheme"],
)
async def test_without_a_known_token_everything_is_401(shop: World, header: str) -> None:
    async with connect(shop, None) as rest:
        for method, path in [("GET", API), ("POST", API), ("DELETE", AT), ("PUT", AT + "/config")]:
            headers = {"Authorization": header.encode("latin-1").decode("latin-1")} if header else {}
            answer = await rest.request(method, path, headers={n: v.encode("latin-1") for n, v in headers.items()})
            refused(answer, 401, "Authorization: Bearer")
            assert answer.headers["www-authenticate"] == "Bearer"
