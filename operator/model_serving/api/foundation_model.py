"""Foundation models: what a served entity says about a model that runs in the cluster.

The fields and words are Databricks' (served entity of a provisioned-throughput or custom model).
"""

from __future__ import annotations

from enum import StrEnum


class WorkloadSize(StrEnum):
    """Databricks' sizes: 4, 8 to 16, and 16 to 64 concurrent calls."""

    SMALL = "Small"
    MEDIUM = "Medium"
    LARGE = "Large"


class WorkloadType(StrEnum):
    """Databricks' kinds of machine."""

    CPU = "CPU"
    CPU_MEDIUM = "CPU_MEDIUM"
    CPU_LARGE = "CPU_LARGE"
    GPU_SMALL = "GPU_SMALL"
    GPU_MEDIUM = "GPU_MEDIUM"
    GPU_LARGE = "GPU_LARGE"
    GPU_XLARGE = "GPU_XLARGE"
    GPU_XLARGE_8 = "GPU_XLARGE_8"
    MULTIGPU_MEDIUM = "MULTIGPU_MEDIUM"


SETTINGS: tuple[str, ...] = (
    "entity_version",
    "workload_size",
    "workload_type",
    "scale_to_zero_enabled",
    "min_provisioned_concurrency",
    "max_provisioned_concurrency",
    "min_provisioned_throughput",
    "max_provisioned_throughput",
    "provisioned_model_units",
    "burst_scaling_enabled",
)
"""Fields of a served entity that only a foundation model may set."""
