"""The API server over plain HTTP, through `kubectl proxy`: a hundred requests in the time of ten kubectl calls."""

from __future__ import annotations

import http.client
import json
import subprocess
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.cluster.harness.client import Client

Json = dict[str, Any]

ENDPOINTS = "/apis/model-serving.dev/v1alpha1/namespaces/{namespace}/servingendpoints"
MERGE = "application/merge-patch+json"


class Answer(NamedTuple):
    """Status code and body; `message` is what the API server says about an error."""

    code: int
    body: Json

    @property
    def ok(self) -> bool:
        return self.code < 300

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))


class RawApi:
    """Requests as the admin, or as anybody else by impersonation."""

    def __init__(self, cluster: Client) -> None:
        command = [str(cluster.binary), "--kubeconfig", str(cluster.kubeconfig()), "proxy", "--port=0"]
        self._proxy = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._proxy.stdout is not None
        line = self._proxy.stdout.readline()  # Starting to serve on 127.0.0.1:PORT
        self._connection = http.client.HTTPConnection("127.0.0.1", int(line.rpartition(":")[2]), timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._connection.close()
        self._proxy.terminate()
        self._proxy.communicate()

    def send(self, method: str, path: str, body: Json | None = None, *, user: str = "", kind: str = "") -> Answer:
        """One request; `kind` is the content type of a patch."""
        headers = {"Content-Type": kind or "application/json"} | ({"Impersonate-User": user} if user else {})
        self._connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = self._connection.getresponse()
        text = response.read()
        return Answer(
            response.status, json.loads(text) if text.lstrip().startswith(b"{") else {"message": text.decode()}
        )

    def create(self, namespace: str, manifest: Json, *, dry_run: bool = True, user: str = "") -> Answer:
        """Creates an endpoint, by default only on trial."""
        query = "?fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        return self.send("POST", ENDPOINTS.format(namespace=namespace) + query, manifest, user=user)

    def replace(self, namespace: str, manifest: Json, *, user: str = "") -> Answer:
        """Replaces an endpoint on trial, whatever its present version."""
        path = f"{ENDPOINTS.format(namespace=namespace)}/{manifest['metadata']['name']}"
        version = self.send("GET", path).body["metadata"]["resourceVersion"]
        metadata = {**manifest["metadata"], "resourceVersion": version}
        query = "?fieldValidation=Strict&dryRun=All"
        return self.send("PUT", path + query, {**manifest, "metadata": metadata}, user=user)

    def patch(self, namespace: str, name: str, change: Json, *, below: str = "", user: str = "") -> Answer:
        """Merges `change` into an endpoint; `below` is a subresource such as `/status`."""
        path = f"{ENDPOINTS.format(namespace=namespace)}/{name}{below}"
        return self.send("PATCH", path, change, user=user, kind=MERGE)

    def delete(self, namespace: str, name: str) -> Answer:
        """Deletes an endpoint."""
        return self.send("DELETE", f"{ENDPOINTS.format(namespace=namespace)}/{name}")
