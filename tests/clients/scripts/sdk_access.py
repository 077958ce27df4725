"""databricks-sdk: who am I, secrets, permissions there and back, on endpoint `chat`."""

import os
import time

from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import BadRequest, NotFound, PermissionDenied, ResourceAlreadyExists
from databricks.sdk.service.serving import (
    ChatMessage,
    ChatMessageRole,
    ServingEndpointAccessControlRequest,
    ServingEndpointDetailedPermissionLevel,
    ServingEndpointPermissionLevel,
)
from databricks.sdk.service.workspace import AclPermission

w = WorkspaceClient()
viewer = WorkspaceClient(host=os.environ["DATABRICKS_HOST"], token=os.environ["VIEWER_TOKEN"])
user = WorkspaceClient(host=os.environ["DATABRICKS_HOST"], token=os.environ["USER_TOKEN"])
hello = [ChatMessage(role=ChatMessageRole.USER, content="hello")]


def refused(kind, call, *arguments, **named):
    """The error with which a call is refused."""
    try:
        call(*arguments, **named)
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


me = w.current_user.me()
assert (me.user_name, me.active) == ("ada@example.com", True)
assert me.emails[0].value == "ada@example.com"
assert "data-science" in [group.display for group in user.current_user.me().groups]
assert int(w.get_workspace_id()) > 0

# Secrets: written, listed, never read back.
w.secrets.create_scope("Team.scope@1")
assert "Team.scope@1" in [scope.name for scope in w.secrets.list_scopes()]
w.secrets.put_secret("Team.scope@1", "api-key", string_value="value")
w.secrets.put_secret("Team.scope@1", "other", bytes_value="dmFsdWU=")
keys = {secret.key: secret.last_updated_timestamp for secret in w.secrets.list_secrets("Team.scope@1")}
assert sorted(keys) == ["api-key", "other"]
assert min(keys.values()) > 1_600_000_000_000
refused(BadRequest, w.secrets.get_secret, "Team.scope@1", "api-key")
refused(ResourceAlreadyExists, w.secrets.create_scope, "Team.scope@1")
w.secrets.delete_secret("Team.scope@1", "other")
assert [secret.key for secret in w.secrets.list_secrets("Team.scope@1")] == ["api-key"]
refused(NotFound, w.secrets.delete_secret, "Team.scope@1", "other")
w.secrets.put_acl("Team.scope@1", "bob@example.com", AclPermission.READ)
assert w.secrets.get_acl("Team.scope@1", "bob@example.com").permission is AclPermission.READ
assert "bob@example.com" in [acl.principal for acl in w.secrets.list_acls("Team.scope@1")]
w.secrets.delete_acl("Team.scope@1", "bob@example.com")
assert "bob@example.com" not in [acl.principal for acl in w.secrets.list_acls("Team.scope@1")]
w.secrets.delete_scope("Team.scope@1")
refused(NotFound, lambda: list(w.secrets.list_secrets("Team.scope@1")))

# Permissions: by id, three levels, what is set comes back.
ident = w.serving_endpoints.get("chat").id
levels = w.serving_endpoints.get_permission_levels(ident).permission_levels
assert {each.permission_level for each in levels} == set(ServingEndpointPermissionLevel)
assert all(each.description for each in levels)


def granted():
    """Each principal's own level, as the workspace tells it."""
    found = w.serving_endpoints.get_permissions(ident)
    assert found.object_id == f"/serving-endpoints/{ident}"
    assert found.object_type == "serving-endpoint"
    return {
        entry.user_name or entry.group_name or entry.service_principal_name: permission.permission_level
        for entry in found.access_control_list
        for permission in entry.all_permissions
        if not permission.inherited
    }


def allowed_within(seconds):
    """What the user is answered, once the proxy has heard of the grant: about a second."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return user.serving_endpoints.query("chat", messages=hello)
        except PermissionDenied:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


refused(PermissionDenied, viewer.serving_endpoints.query, "chat", messages=hello)
assert "chat" not in [each.name for each in viewer.serving_endpoints.list()]
view = ServingEndpointAccessControlRequest(
    user_name="eve@example.com", permission_level=ServingEndpointPermissionLevel.CAN_VIEW
)
query = ServingEndpointAccessControlRequest(
    group_name="data-science", permission_level=ServingEndpointPermissionLevel.CAN_QUERY
)
w.serving_endpoints.update_permissions(ident, access_control_list=[view])
w.serving_endpoints.update_permissions(ident, access_control_list=[query])
held = granted()
assert held["eve@example.com"] is ServingEndpointPermissionLevel.CAN_VIEW
assert held["data-science"] is ServingEndpointPermissionLevel.CAN_QUERY
assert held["ada@example.com"] is ServingEndpointPermissionLevel.CAN_MANAGE

# What is granted holds at once in REST, and for calls within seconds.
seen = viewer.serving_endpoints.get("chat")
assert seen.permission_level is ServingEndpointDetailedPermissionLevel.CAN_VIEW
assert [each.name for each in viewer.serving_endpoints.list()] == ["chat"]
refused(PermissionDenied, viewer.serving_endpoints.query, "chat", messages=hello)
refused(PermissionDenied, viewer.serving_endpoints.delete, "chat")
refused(PermissionDenied, viewer.serving_endpoints.update_permissions, ident, access_control_list=[view])
assert user.serving_endpoints.get("chat").permission_level is ServingEndpointDetailedPermissionLevel.CAN_QUERY
assert allowed_within(30).choices[0].message.content == "You said: hello"
refused(PermissionDenied, user.serving_endpoints.patch, "chat", delete_tags=["team"])

w.serving_endpoints.set_permissions(ident, access_control_list=[query])
held = granted()
assert "eve@example.com" not in held
assert held["data-science"] is ServingEndpointPermissionLevel.CAN_QUERY
refused((PermissionDenied, NotFound), viewer.serving_endpoints.get, "chat")
refused(NotFound, w.serving_endpoints.get_permissions, "0" * 32)
