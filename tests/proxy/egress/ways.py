"""Each way in which a provider is called with a credential: where its base URL stands, and its secrets.

One row per provider and scheme; `test_every_registered_provider_has_a_way` keeps the table complete.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from model_serving.proxy.call import CHAT, COMPLETIONS
from model_serving.proxy.credentials.platform import Platform
from model_serving.proxy_config import CredentialFile, Target
from tests.fakes.aws import FakeAws
from tests.fakes.token_service import ACCOUNT, CLIENT, CLIENT_SECRET, TENANT, FakeTokenService, new_key, pem
from tests.fakes.upstream import FakeUpstream
from tests.proxy.harness import MESSAGES, Files, write

POD_TOKEN = "sk-test-pod-token-canary/1+2=="
GOOGLE_KEY = new_key()
BODIES = {
    CHAT: ("/serving-endpoints/ep/invocations", {"messages": MESSAGES, "max_tokens": 5}),
    COMPLETIONS: ("/serving-endpoints/ep/invocations", {"prompt": "hello", "max_tokens": 5}),
}


@dataclass(frozen=True)
class Services:
    """Where tokens come from."""

    tokens: FakeTokenService
    aws: FakeAws

    @property
    def issued(self) -> list[str]:
        """Everything secret that they gave."""
        keys = [part for issued in self.aws.issued.values() for part in (issued.id, issued.secret, issued.token)]
        return [*self.tokens.issued, *filter(None, keys)]


@dataclass(frozen=True)
class Way:
    """One row. `settings` and `secrets` may hold {base} and {tokens}, addresses of provider and token service."""

    name: str
    provider: str
    settings: dict[str, str]
    secrets: dict[str, str]
    """By the name of the credential."""
    model: str = "model"
    task: str = CHAT
    base: str = "{base}"
    """The setting's value for the provider's address."""
    platform: Callable[[Services, Files], Platform] = field(default=lambda services, files: Platform())
    entity: str = "one"

    def target(self, base: str) -> Target:
        """The target at `base`."""
        return Target(
            entity=self.entity,
            provider=self.provider,
            task=self.task,
            model=self.model,
            settings={name: value.replace("{base}", base) for name, value in self.settings.items()},
            credentials={name: CredentialFile(f"secret-{self.entity}", name) for name in self.secrets},
        )

    def lay_out(self, files: Files, services: Services, base: str) -> Platform:
        """Writes config, policy, key and secrets; returns the pod's identity."""
        files.config([self.target(base)])
        files.policy()
        files.key()
        self.write_secrets(files, services)
        return self.platform(services, files)

    def write_secrets(self, files: Files, services: Services) -> None:
        """Writes the secrets."""
        for name, value in self.secrets.items():
            told = value.replace("{tokens}", services.tokens.url)
            files.secret(told, f"secret-{self.entity}", name)

    @property
    def canaries(self) -> list[str]:
        """What of its secrets must be seen nowhere."""
        if "private_key" in self.secrets:
            return json.loads(self.secrets["private_key"])["private_key"].split("\n")[1:-2]  # type: ignore[no-any-return]
        return [*self.secrets.values(), POD_TOKEN]


def _key(name: str) -> str:
    """A key with characters that some spellings change."""
    return f"sk-test-{name}/canary+of=the~vendor"


def _aws_identity(services: Services, files: Files) -> Platform:
    services.aws.tokens.add(POD_TOKEN)
    token = files.root / "projected/token"
    write(token, POD_TOKEN)
    return Platform(
        aws_role_arn=services.aws.role, aws_web_identity_token_file=str(token), aws_sts_url=f"{services.aws.url}/"
    )


def _aws_agent(services: Services, files: Files) -> Platform:
    services.aws.tokens.add(POD_TOKEN)
    token = files.root / "projected/token"
    write(token, POD_TOKEN)
    return Platform(
        aws_container_credentials_uri=f"{services.aws.url}/v1/credentials", aws_container_token_file=str(token)
    )


_GOOGLE_FILE = json.dumps(
    {
        "type": "service_account", "project_id": "project", "private_key_id": "kid-0", "private_key": pem(GOOGLE_KEY),
        "client_email": ACCOUNT, "token_uri": "{tokens}/token",
    }
)  # fmt: skip
_AZURE = {"openai_api_base": "{base}", "openai_api_version": "2024-10-21", "openai_deployment_name": "gpt"}
_BEDROCK = {"aws_region": "eu-central-1", "bedrock_provider": "anthropic", "aws_endpoint_url": "{base}"}
_VERTEX = {"project_id": "project", "region": "europe-west4", "vertex_api_base": "{base}"}
_CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
_AWS_KEYS = {
    "aws_access_key_id": "sk-test-id-canary", "aws_secret_access_key": _key("aws"), "aws_session_token": _key("session")
}  # fmt: skip

WAYS = (
    Way("openai", "openai", {"openai_api_base": "{base}/v1"}, {"openai_api_key": _key("openai")}),
    Way("azure", "openai", _AZURE | {"openai_api_type": "azure"}, {"openai_api_key": _key("azure")}),
    Way(
        "azuread", "openai",
        _AZURE | {
            "openai_api_type": "azuread", "microsoft_entra_tenant_id": TENANT, "microsoft_entra_client_id": CLIENT,
        },
        {"microsoft_entra_client_secret": CLIENT_SECRET},
        platform=lambda services, files: Platform(entra_authority=services.tokens.url),
    ),
    Way("anthropic", "anthropic", {"anthropic_api_base": "{base}"}, {"anthropic_api_key": _key("anthropic")}),
    Way("cohere", "cohere", {"cohere_api_base": "{base}"}, {"cohere_api_key": _key("cohere")}),
    Way(
        "ai21labs", "ai21labs", {"ai21labs_api_base": "{base}"}, {"ai21labs_api_key": _key("ai21")}, "j2-ultra",
        COMPLETIONS,
    ),
    Way("bedrock keys", "amazon-bedrock", _BEDROCK, _AWS_KEYS, _CLAUDE),
    Way(
        "bedrock role", "amazon-bedrock", _BEDROCK | {"workload_identity": "true"}, {}, _CLAUDE,
        platform=_aws_identity,
    ),
    Way(
        "bedrock agent", "amazon-bedrock", _BEDROCK | {"workload_identity": "true"}, {}, _CLAUDE, platform=_aws_agent,
    ),
    Way("vertex key", "google-cloud-vertex-ai", _VERTEX, {"private_key": _GOOGLE_FILE}, "gemini-2.5-flash"),
    Way(
        "vertex identity", "google-cloud-vertex-ai", _VERTEX | {"workload_identity": "true"}, {}, "gemini-2.5-flash",
        platform=lambda services, files: Platform(google_metadata_host=f"127.0.0.1:{services.tokens.port}"),
    ),
    Way("vertex claude", "google-cloud-vertex-ai", _VERTEX, {"private_key": _GOOGLE_FILE}, "claude-sonnet-4-5"),
    Way(
        "databricks", "databricks-model-serving", {"databricks_workspace_url": "{base}"},
        {"databricks_api_token": _key("databricks")},
    ),
    Way("custom bearer", "custom", {"custom_provider_url": "{base}/v1/chat/completions"}, {"token": _key("custom")}),
    Way(
        "custom header", "custom", {"custom_provider_url": "{base}/v1/chat/completions", "key": "x-own-key"},
        {"value": _key("own")},
    ),
)  # fmt: skip


def origin_of(upstream: FakeUpstream) -> str:
    """The upstream's address without a path."""
    return upstream.base.removesuffix("/v1")
