"""The words of an endpoint's conditions: types, reasons and causes, each with the sentence that documents it.

`lifecycle/status.py` picks them, the reference page of the documentation is generated from them. A reason is part of
the API: people wait for it, alert on it and search for it, so that it is never renamed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class _Documented(StrEnum):
    """A word that carries its own documentation."""

    description: str

    def __new__(cls, value: str, description: str) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.description = description
        return member


class ConditionType(_Documented):
    """The condition types of a ServingEndpoint."""

    AVAILABLE = "Available", "Some config version answers calls."
    READY = "Ready", "What the spec asks for is what serves; every word of it was observed."
    RECONCILING = "Reconciling", "The operator is at work and expects to finish by itself; absent otherwise."
    STALLED = "Stalled", "The operator cannot go on without a change by somebody; absent otherwise."
    LIMITS_EXACT = "LimitsExact", "False while replicas enforce their own shares of the rate limits."
    CERTIFICATE_CURRENT = (
        "CertificateCurrent",
        "With spec.proxy.tls: whether the proxies use what its Secret holds now; False while they keep a former one.",
    )
    TOKENS_CURRENT = (
        "TokensCurrent",
        "Where tokens of a cloud are fetched: whether they could be renewed when they were due; False while former "
        "ones serve, or have expired.",
    )
    PROVIDERS_REACHABLE = (
        "ProvidersReachable",
        "Whether real calls reach the provider; never a part of Ready, for an outage there must not take pods away.",
    )


class Reason(_Documented):
    """Why a condition of an endpoint has its status. The same word stands on all conditions that it explains."""

    READY = "Ready", "The config of the spec serves on enough ready pods."
    RECONCILING = "Reconciling", "The endpoint was just seen; nothing is known about it yet."
    PROGRESSING = "Progressing", "The first config version is starting; nothing serves yet."
    ROLLOUT_IN_PROGRESS = (
        "RolloutInProgress",
        "A new config version, image or proxy setting is starting while the old one serves.",
    )
    SECRET_NOT_FOUND = (
        "SecretNotFound",
        "A Secret or a key that the config names does not exist; create it and the update completes by itself.",
    )
    UPDATE_FAILED = (
        "UpdateFailed",
        "The new config version failed and was taken back, the old one serves; correct spec.config, or change the "
        "retry annotation to try the same again.",
    )
    PROGRESS_DEADLINE_EXCEEDED = (
        "ProgressDeadlineExceeded",
        "The first config version did not become ready in time; it is kept trying, for there is nothing to go back to.",
    )
    UPDATE_CANCELED = (
        "UpdateCanceled",
        "The pending config version was cancelled and the old one serves, although the spec still asks for the new.",
    )
    ROLLOUT_FAILED = (
        "RolloutFailed",
        "A new image or proxy setting did not become ready; old pods serve the same config version.",
    )
    RECOVERING = "Recovering", "All pods were lost after the endpoint had been ready; they are being replaced."
    NAME_CONFLICT = (
        "NameConflict",
        "An older endpoint of the namespace, or an object that is not the endpoint's, has the name that is needed.",
    )
    INVALID_SPEC = (
        "InvalidSpec",
        "The spec passed admission but cannot be served as it stands; the message names the field.",
    )
    NOT_SUPPORTED = (
        "NotSupported",
        "The spec asks for what the resource can say and this release does not do; the message names the field.",
    )
    REPLICA_FAILURE = (
        "ReplicaFailure",
        "The API server refuses an object that the endpoint needs (quota, policy); the message holds its words.",
    )
    LIMITS_EXACT = "LimitsExact", "Every rate limit holds exactly: a single replica counts, or a common store does."
    LIMITS_STORE_LOST = (
        "LimitsStoreLost",
        "Some proxies cannot use the common store of limits: each of them grants its share until they can.",
    )
    LIMITS_DIVIDED = "LimitsDivided", "Replicas count apart: each enforces its share of every limit, rounded down."
    CERTIFICATE_LOADED = "CertificateLoaded", "The proxies use the certificate that the Secret of spec.proxy.tls holds."
    CERTIFICATE_INVALID = (
        "CertificateInvalid",
        "The Secret of spec.proxy.tls holds no pair that can be used; the proxies keep the former one. The message "
        "names the key.",
    )
    TOKENS_RENEWED = "TokensRenewed", "The tokens with which the provider is called are renewed when they are due."
    TOKEN_NOT_RENEWED = (
        "TokenNotRenewed",
        "A token cannot be renewed: the cloud's token service refuses or cannot be reached. Calls go on until the "
        "former token expires; the message holds the service's words and the remedy.",
    )
    CALLS_SUCCEED = "CallsSucceed", "The provider answered the latest calls."
    CALLS_FAIL = "CallsFail", "The provider could not be reached, or refused the credentials, in the latest calls."


class Cause(_Documented):
    """What made pods fail; stands in messages after reasons such as UpdateFailed, and on events."""

    IMAGE_PULL_FAILED = "ImagePullFailed", "The node cannot get the proxy's image."
    PROXY_CRASH_LOOPING = "ProxyCrashLooping", "The proxy ends again and again; its last message is quoted."
    OUT_OF_MEMORY = "OutOfMemory", "The proxy was killed for exceeding its memory limit; raise proxy.resources."
    UNSCHEDULABLE = "Unschedulable", "No node takes the pod; the scheduler's words are quoted."
    CREATE_CONTAINER_FAILED = "CreateContainerFailed", "The node cannot create the container; its words are quoted."
    SECRET_NOT_FOUND = "SecretNotFound", "The Secret does not exist."
    SECRET_KEY_NOT_FOUND = "SecretKeyNotFound", "The Secret exists, the key in it does not, or is empty."
    SECRET_INVALID = "SecretInvalid", "The key is there and cannot be used: empty, not text, or more than one line."
    TOKEN_NOT_FETCHED = (
        "TokenNotFetched",
        "The provider is called with a cloud's tokens, and none can be fetched: the token service refuses or cannot be "
        "reached. Its words are quoted, with the remedy.",
    )
    CONFIG_INVALID = "ConfigInvalid", "The proxy refused its config; its words are quoted."
    REPLICA_FAILURE = "ReplicaFailure", "The API server refuses to create pods (quota, policy); its words are quoted."
    NOT_READY = "NotReady", "Pods run and did not become ready; what they report is quoted."
