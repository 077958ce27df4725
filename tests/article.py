"""The REST bodies of the reference article, word for word: what every door of a workspace must take."""

from __future__ import annotations

from typing import Any

CREATE: dict[str, Any] = {
    "name": "openai_endpoint",
    "config": {
        "served_entities": [
            {
                "name": "openai_embeddings",
                "external_model": {
                    "name": "text-embedding-ada-002",
                    "provider": "openai",
                    "task": "llm/v1/embeddings",
                    "openai_config": {"openai_api_key": "{{secrets/my_scope/my_openai_api_key}}"},
                },
            }
        ]
    },
    "rate_limits": [{"calls": 100, "key": "user", "renewal_period": "minute"}],
    "tags": [{"key": "team", "value": "gen-ai"}],
}
"""Creates an endpoint for embeddings."""

UPDATE: dict[str, Any] = {
    "name": "openai_endpoint",
    "served_entities": [
        {
            "name": "openai_chat",
            "external_model": {
                "name": "gpt-4",
                "provider": "openai",
                "task": "llm/v1/chat",
                "openai_config": {"openai_api_key": "{{secrets/my_scope/my_openai_api_key}}"},
            },
        }
    ],
}
"""Makes it one for chat."""
