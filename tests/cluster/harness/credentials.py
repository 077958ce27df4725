"""Who may talk to a cluster: static tokens and kubeconfig files.  Used by the cluster."""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# The components' own users, with the groups that Kubernetes' built-in roles expect.
SYSTEM_USERS: Mapping[str, Sequence[str]] = {
    "admin": ("system:masters",),
    "system:kube-controller-manager": (),
    "system:kube-scheduler": (),
    "system:kube-proxy": (),
    "system:node:node": ("system:nodes",),
    "coredns": ("system:masters",),
    "kwok": ("system:masters",),
}


@dataclass(frozen=True, slots=True)
class Access:
    """How a client reaches the API server."""

    url: str
    ca_file: Path
    tokens: Mapping[str, str]

    def kubeconfig(self, user: str, namespace: str = "default") -> str:
        """A kubeconfig (JSON is YAML) for one user.

        Raises:
            KeyError: the cluster was started without that user.
        """
        if user not in self.tokens:
            raise KeyError(f"no user {user!r} in this cluster; it has {', '.join(sorted(self.tokens))}")
        cluster = {"server": self.url, "certificate-authority": str(self.ca_file)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": self.tokens[user]}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user, "namespace": namespace}}],
            "current-context": "test",
        }
        return json.dumps(document, indent=1)


def new_tokens(users: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """A random token for each of the system's users and the given ones."""
    return {name: secrets.token_hex(24) for name in (*SYSTEM_USERS, *users)}


def token_file(tokens: Mapping[str, str], users: Mapping[str, Sequence[str]]) -> str:
    """The API server's ``--token-auth-file``."""
    groups = {**SYSTEM_USERS, **users}
    return "".join(f'{token},{name},{name},"{",".join(groups[name])}"\n' for name, token in tokens.items())


def write_private(path: Path, text: str) -> Path:
    """Write a file that only its owner may read."""
    path.touch(mode=0o600)
    path.write_text(text)
    return path
