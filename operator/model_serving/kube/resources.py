"""The kinds that this project reads or writes, and where the API server keeps them. Used by everything in `kube/` and
`controller/`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]
"""An object as the API server speaks of it."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind. `group` is empty for the core group."""

    kind: str
    plural: str
    group: str
    version: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As in a manifest's `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str = "", subresource: str = "") -> str:
        """The path of one object, or of a collection; no namespace means all of them."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.namespaced and namespace is not None:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/" + "/".join(parts)


ENDPOINTS = Resource("ServingEndpoint", "servingendpoints", "model-serving.dev", "v1alpha1")
DEPLOYMENTS = Resource("Deployment", "deployments", "apps", "v1")
REPLICA_SETS = Resource("ReplicaSet", "replicasets", "apps", "v1")
CONTROLLER_REVISIONS = Resource("ControllerRevision", "controllerrevisions", "apps", "v1")
CONFIG_MAPS = Resource("ConfigMap", "configmaps", "", "v1")
SERVICES = Resource("Service", "services", "", "v1")
SERVICE_ACCOUNTS = Resource("ServiceAccount", "serviceaccounts", "", "v1")
PODS = Resource("Pod", "pods", "", "v1")
CORE_EVENTS = Resource("Event", "events", "", "v1")
NAMESPACES = Resource("Namespace", "namespaces", "", "v1", namespaced=False)
NETWORK_POLICIES = Resource("NetworkPolicy", "networkpolicies", "networking.k8s.io", "v1")
POD_DISRUPTION_BUDGETS = Resource("PodDisruptionBudget", "poddisruptionbudgets", "policy", "v1")
ROLES = Resource("Role", "roles", "rbac.authorization.k8s.io", "v1")
ROLE_BINDINGS = Resource("RoleBinding", "rolebindings", "rbac.authorization.k8s.io", "v1")
EVENTS = Resource("Event", "events", "events.k8s.io", "v1")
LEASES = Resource("Lease", "leases", "coordination.k8s.io", "v1")
ENDPOINT_SLICES = Resource("EndpointSlice", "endpointslices", "discovery.k8s.io", "v1")
SECRETS = Resource("Secret", "secrets", "", "v1")
SELF_SUBJECT_REVIEWS = Resource(
    "SelfSubjectReview", "selfsubjectreviews", "authentication.k8s.io", "v1", namespaced=False
)
SELF_SUBJECT_ACCESS_REVIEWS = Resource(
    "SelfSubjectAccessReview", "selfsubjectaccessreviews", "authorization.k8s.io", "v1", namespaced=False
)
CUSTOM_RESOURCE_DEFINITIONS = Resource(
    "CustomResourceDefinition", "customresourcedefinitions", "apiextensions.k8s.io", "v1", namespaced=False
)

_ALL = tuple(value for value in list(globals().values()) if isinstance(value, Resource))
_BY_KIND = {(r.api_version, r.kind): r for r in _ALL}


def resource_of(manifest: Manifest) -> Resource:
    """The resource that a manifest belongs to. Raises `LookupError` for a kind that is not in the table."""
    key = manifest.get("apiVersion", ""), manifest.get("kind", "")
    try:
        return _BY_KIND[key]
    except KeyError:
        raise LookupError(f"{key[0]} {key[1]} is not among the kinds of kube/resources.py: add it there") from None
