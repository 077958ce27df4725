"""External models: one block of settings per provider, named as in Databricks' `external_model`.

A new provider adds its block here, a member of `Provider` and a row of `BLOCKS`.
Source of the fields: Databricks REST reference, `POST /api/2.0/serving-endpoints`; what is ours says so.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from model_serving.api.base import Model, Rule, camel, count_set, matching
from model_serving.api.types import HeaderName, Region, SecretRef, Segment, Url, Word, WorkloadIdentity


class Provider(StrEnum):
    """Vendors by Databricks' names (proper names, hence not CamelCase)."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    COHERE = "cohere"
    AMAZON_BEDROCK = "amazon-bedrock"
    GOOGLE_CLOUD_VERTEX_AI = "google-cloud-vertex-ai"
    AI21LABS = "ai21labs"
    PALM = "palm"
    DATABRICKS_MODEL_SERVING = "databricks-model-serving"
    CUSTOM = "custom"


class Task(StrEnum):
    """What a served entity does."""

    CHAT = "llm/v1/chat"
    COMPLETIONS = "llm/v1/completions"
    EMBEDDINGS = "llm/v1/embeddings"


class OpenaiApiType(StrEnum):
    """Which kind of OpenAI service is called."""

    OPENAI = "openai"
    AZURE = "azure"
    AZUREAD = "azuread"


_GOOGLES_OWN = r"https://[A-Za-z0-9.-]+\.googleapis\.com(:443)?(/.*)?"
"""URLs of Google's own services, private endpoints' names included."""
_TYPE = "self.?openaiApiType.orValue('openai')"


class OpenaiConfig(Model):
    """OpenAI, Azure OpenAI, or a server that speaks OpenAI's API (`openaiApiBase`)."""

    openai_api_key_secret_ref: SecretRef | None = Field(default=None, description="The API key.")
    openai_api_type: OpenaiApiType = Field(
        default=OpenaiApiType.OPENAI, description="openai, azure (API key) or azuread (Entra ID)."
    )
    openai_api_base: Url | None = Field(
        default=None, description="Base URL, up to and including /v1. Default https://api.openai.com/v1."
    )
    openai_api_version: Segment | None = Field(default=None, description="Azure only: the API version.")
    openai_deployment_name: Segment | None = Field(default=None, description="Azure only: the deployment.")
    openai_organization: Segment | None = Field(default=None, description="Sent as OpenAI-Organization.")
    microsoft_entra_tenant_id: Segment | None = Field(default=None, description="azuread only: the tenant.")
    microsoft_entra_client_id: Segment | None = Field(default=None, description="azuread only: the client.")
    microsoft_entra_client_secret_ref: SecretRef | None = Field(
        default=None, description="azuread only: the client secret."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"{_TYPE} == 'azuread' || has(self.openaiApiKeySecretRef)",
            holds=lambda m: m.openai_api_type == "azuread" or m.openai_api_key_secret_ref is not None,
            message="openaiApiKeySecretRef is required: name the Secret and the key that hold the OpenAI API key",
            reason="FieldValueRequired",
        ),
        Rule(
            cel=f"{_TYPE} != 'azuread' || (has(self.microsoftEntraTenantId) && "
            "has(self.microsoftEntraClientId) && has(self.microsoftEntraClientSecretRef))",
            holds=lambda m: (
                m.openai_api_type != "azuread"
                or count_set(
                    m, "microsoft_entra_tenant_id", "microsoft_entra_client_id", "microsoft_entra_client_secret_ref"
                )
                == 3
            ),
            message="openaiApiType azuread needs microsoftEntraTenantId, microsoftEntraClientId and "
            "microsoftEntraClientSecretRef: set all three",
        ),
        Rule(
            cel=f"{_TYPE} == 'openai' || (has(self.openaiApiBase) && "
            "has(self.openaiApiVersion) && has(self.openaiDeploymentName))",
            holds=lambda m: (
                m.openai_api_type == "openai"
                or count_set(m, "openai_api_base", "openai_api_version", "openai_deployment_name") == 3
            ),
            message="openaiApiType azure and azuread need openaiApiBase, openaiApiVersion and "
            "openaiDeploymentName: set all three",
        ),
        Rule(
            cel=f"{_TYPE} != 'openai' || !(has(self.openaiApiVersion) || has(self.openaiDeploymentName))",
            holds=lambda m: (
                m.openai_api_type != "openai" or not count_set(m, "openai_api_version", "openai_deployment_name")
            ),
            message="openaiApiVersion and openaiDeploymentName belong to openaiApiType azure and azuread: "
            "set the type or remove them",
        ),
        Rule(
            cel=f"{_TYPE} == 'azuread' || !(has(self.microsoftEntraTenantId) || "
            "has(self.microsoftEntraClientId) || has(self.microsoftEntraClientSecretRef))",
            holds=lambda m: (
                m.openai_api_type == "azuread"
                or not count_set(
                    m, "microsoft_entra_tenant_id", "microsoft_entra_client_id", "microsoft_entra_client_secret_ref"
                )
            ),
            message="microsoftEntra fields belong to openaiApiType azuread: set the type or remove them",
        ),
        Rule(
            cel=f"{_TYPE} != 'azuread' || !has(self.openaiApiKeySecretRef)",
            holds=lambda m: m.openai_api_type != "azuread" or m.openai_api_key_secret_ref is None,
            message="openaiApiType azuread takes no openaiApiKeySecretRef: remove it, or set the type to azure",
        ),
    )


class AnthropicConfig(Model):
    """Anthropic."""

    anthropic_api_key_secret_ref: SecretRef = Field(description="The API key.")
    anthropic_api_base: Url | None = Field(default=None, description="Base URL of a gateway (our extension).")


class CohereConfig(Model):
    """Cohere."""

    cohere_api_key_secret_ref: SecretRef = Field(description="The API key.")
    cohere_api_base: Url | None = Field(default=None, description="Base URL.")


class Ai21labsConfig(Model):
    """AI21 Labs."""

    ai21labs_api_key_secret_ref: SecretRef = Field(description="The API key.")
    ai21labs_api_base: Url | None = Field(default=None, description="Base URL of a gateway (our extension).")


class PalmConfig(Model):
    """Google PaLM, retired by its vendor."""

    palm_api_key_secret_ref: SecretRef = Field(description="The API key.")


class AmazonBedrockConfig(Model):
    """Amazon Bedrock with access keys or the pod's own identity."""

    aws_region: Region = Field(description="Region, for example eu-central-1.")
    bedrock_provider: Annotated[
        str,
        Field(max_length=16),
        matching("(?i:anthropic|cohere|ai21labs|amazon)", "must be anthropic, cohere, ai21labs or amazon"),
    ] = Field(description="anthropic, cohere, ai21labs or amazon, in any letter case.")
    aws_access_key_id_secret_ref: SecretRef | None = Field(default=None, description="The access key id.")
    aws_secret_access_key_secret_ref: SecretRef | None = Field(default=None, description="The secret access key.")
    aws_session_token_secret_ref: SecretRef | None = Field(
        default=None, description="The session token that belongs to temporary access keys (our extension)."
    )
    workload_identity: WorkloadIdentity | None = Field(
        default=None, description="Use the pod's own AWS identity (our extension); see proxy.serviceAccountAnnotations."
    )
    aws_endpoint_url: Url | None = Field(default=None, description="A VPC endpoint or gateway (our extension).")
    instance_profile_arn: Word | None = Field(default=None, description="Refused: use workloadIdentity.")
    uc_service_credential_name: Word | None = Field(default=None, description="Refused: use workloadIdentity.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.instanceProfileArn)",
            holds=lambda m: m.instance_profile_arn is None,
            message="instanceProfileArn has no meaning in Kubernetes: remove it and use workloadIdentity with "
            "proxy.serviceAccountAnnotations",
        ),
        Rule(
            cel="!has(self.ucServiceCredentialName)",
            holds=lambda m: m.uc_service_credential_name is None,
            message="ucServiceCredentialName has no meaning in Kubernetes: remove it and use workloadIdentity with "
            "proxy.serviceAccountAnnotations",
        ),
        Rule(
            cel="has(self.awsAccessKeyIdSecretRef) == has(self.awsSecretAccessKeySecretRef)",
            holds=lambda m: count_set(m, "aws_access_key_id_secret_ref", "aws_secret_access_key_secret_ref") != 1,
            message="awsAccessKeyIdSecretRef and awsSecretAccessKeySecretRef belong together: set both or none",
        ),
        Rule(
            cel="!has(self.awsSessionTokenSecretRef) || has(self.awsAccessKeyIdSecretRef)",
            holds=lambda m: m.aws_session_token_secret_ref is None or m.aws_access_key_id_secret_ref is not None,
            message="awsSessionTokenSecretRef belongs to temporary access keys: set awsAccessKeyIdSecretRef and "
            "awsSecretAccessKeySecretRef too, or remove it",
        ),
        Rule(
            cel="has(self.awsAccessKeyIdSecretRef) != has(self.workloadIdentity)",
            holds=lambda m: count_set(m, "aws_access_key_id_secret_ref", "workload_identity") == 1,
            message="set exactly one of the access keys (awsAccessKeyIdSecretRef, awsSecretAccessKeySecretRef) "
            "and workloadIdentity",
        ),
    )


class GoogleCloudVertexAiConfig(Model):
    """Google Vertex AI with a service account's key or the pod's own identity."""

    project_id: Segment = Field(description="Google Cloud project.")
    region: Region = Field(description="Region, for example europe-west4, or global.")
    private_key_secret_ref: SecretRef | None = Field(default=None, description="The service account's JSON key.")
    workload_identity: WorkloadIdentity | None = Field(
        default=None, description="Use the pod's own Google identity (our extension)."
    )
    vertex_api_base: Url | None = Field(default=None, description="A private endpoint or gateway (our extension).")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.privateKeySecretRef) != has(self.workloadIdentity)",
            holds=lambda m: count_set(m, "private_key_secret_ref", "workload_identity") == 1,
            message="set exactly one of privateKeySecretRef and workloadIdentity",
        ),
        Rule(
            cel="!has(self.workloadIdentity) || !has(self.vertexApiBase) || "
            f"self.vertexApiBase.matches(r'^{_GOOGLES_OWN}$')",
            holds=lambda m: (
                count_set(m, "workload_identity", "vertex_api_base") < 2
                or re.fullmatch(_GOOGLES_OWN, m.vertex_api_base) is not None
            ),
            message="with workloadIdentity, vertexApiBase must be https:// and end in .googleapis.com, for the pod's "
            "token opens more than models: name such a host, or give the gateway a privateKeySecretRef of its own",
        ),
    )


class DatabricksModelServingConfig(Model):
    """Another serving endpoint: Databricks', or one of this project."""

    databricks_workspace_url: Url = Field(
        description="The workspace, for example https://example.cloud.databricks.com."
    )
    databricks_api_token_secret_ref: SecretRef = Field(description="A token of that workspace.")


class BearerTokenAuth(Model):
    """Authorization: Bearer."""

    token_secret_ref: SecretRef = Field(description="The token.")


class ApiKeyAuth(Model):
    """A header of its own."""

    key: HeaderName = Field(description="Name of the header.")
    value_secret_ref: SecretRef = Field(description="Its value.")


class CustomProviderConfig(Model):
    """Any server that speaks OpenAI's API, at a full URL."""

    custom_provider_url: Url = Field(
        description="The full URL, for example https://llm.example.com/v1/chat/completions."
    )
    bearer_token_auth: BearerTokenAuth | None = Field(default=None, description="Authorization: Bearer.")
    api_key_auth: ApiKeyAuth | None = Field(default=None, description="A header with a key.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.bearerTokenAuth) != has(self.apiKeyAuth)",
            holds=lambda m: count_set(m, "bearer_token_auth", "api_key_auth") == 1,
            message="set exactly one of bearerTokenAuth and apiKeyAuth",
        ),
    )


BLOCKS: dict[Provider, str] = {
    Provider.OPENAI: "openai_config",
    Provider.ANTHROPIC: "anthropic_config",
    Provider.COHERE: "cohere_config",
    Provider.AMAZON_BEDROCK: "amazon_bedrock_config",
    Provider.GOOGLE_CLOUD_VERTEX_AI: "google_cloud_vertex_ai_config",
    Provider.AI21LABS: "ai21labs_config",
    Provider.PALM: "palm_config",
    Provider.DATABRICKS_MODEL_SERVING: "databricks_model_serving_config",
    Provider.CUSTOM: "custom_provider_config",
}


TASKS: dict[Provider, tuple[Task, ...]] = {
    Provider.ANTHROPIC: (Task.COMPLETIONS, Task.CHAT),
    Provider.AI21LABS: (Task.COMPLETIONS,),
}
"""Providers that do not offer every task (Databricks' table of providers and tasks)."""

_HAS_BLOCK = ", ".join(f"'{provider}': has(self.{camel(block)})" for provider, block in BLOCKS.items())
_TASKS_CEL = "{" + ", ".join(f"'{p}': {[t.value for t in tasks]}" for p, tasks in TASKS.items()) + "}"
_BLOCK_NAMES = ", ".join(camel(block) for block in BLOCKS.values())


class ExternalModel(Model):
    """A model at a vendor. Names are not checked against a list: new versions and fine-tuned variants just work."""

    name: Word = Field(description="The provider's name of the model.")
    provider: Provider = Field(description="The vendor; its settings go into the block of the same name.")
    task: Task = Field(description="What the model does; all entities of an endpoint have one task.")
    openai_config: OpenaiConfig | None = Field(default=None, description="Settings of provider openai.")
    anthropic_config: AnthropicConfig | None = Field(default=None, description="Settings of provider anthropic.")
    cohere_config: CohereConfig | None = Field(default=None, description="Settings of provider cohere.")
    amazon_bedrock_config: AmazonBedrockConfig | None = Field(
        default=None, description="Settings of provider amazon-bedrock."
    )
    google_cloud_vertex_ai_config: GoogleCloudVertexAiConfig | None = Field(
        default=None, description="Settings of provider google-cloud-vertex-ai."
    )
    ai21labs_config: Ai21labsConfig | None = Field(default=None, description="Settings of provider ai21labs.")
    palm_config: PalmConfig | None = Field(default=None, description="Settings of provider palm.")
    databricks_model_serving_config: DatabricksModelServingConfig | None = Field(
        default=None, description="Settings of provider databricks-model-serving."
    )
    custom_provider_config: CustomProviderConfig | None = Field(
        default=None, description="Settings of provider custom."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"[{', '.join(f'has(self.{camel(b)})' for b in BLOCKS.values())}].filter(x, x).size() == 1",
            holds=lambda m: count_set(m, *BLOCKS.values()) == 1,
            message=f"exactly one provider configuration block must be set: one of {_BLOCK_NAMES}",
        ),
        Rule(
            cel=f"{{{_HAS_BLOCK}}}[self.provider]",
            holds=lambda m: getattr(m, BLOCKS[m.provider]) is not None,
            message="provider needs the configuration block of the same name",
            message_cel="'provider ' + self.provider + ' needs its own configuration block, not another one'",
            describe=lambda m: (
                f"provider {m.provider} needs its own configuration block, {camel(BLOCKS[m.provider])}, not another one"
            ),
            field=".provider",
            reason="FieldValueRequired",
        ),
        Rule(
            cel=f"!(self.provider in {_TASKS_CEL}) || self.task in {_TASKS_CEL}[self.provider]",
            holds=lambda m: m.task in TASKS.get(m.provider, tuple(Task)),
            message="provider does not offer this task",
            message_cel="'provider ' + self.provider + ' does not offer the task ' + self.task + ': "
            "choose another task or provider'",
            describe=lambda m: (
                f"provider {m.provider} does not offer the task {m.task}: choose another task or provider"
            ),
            field=".task",
        ),
    )

    @property
    def block(self) -> Model:
        """The settings of the provider."""
        block: Model = getattr(self, BLOCKS[self.provider])
        return block

    @property
    def block_name(self) -> str:
        """The field that holds the settings, as written in YAML."""
        return camel(BLOCKS[self.provider])
