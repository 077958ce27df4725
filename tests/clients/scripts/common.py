"""What the scripts share: entities at the provider of the tests. Plain dictionaries, no client."""

from __future__ import annotations

import os
from typing import Any

KEY = "{{secrets/my_scope/my_openai_api_key}}"
"""The secret that each script finds in the workspace; its value is what the provider takes."""


def entity(name: str, task: str = "llm/v1/chat", model: str = "gpt-4") -> dict[str, Any]:
    """A served entity as REST spells it."""
    config = {"openai_api_key": KEY, "openai_api_base": os.environ["PROVIDER"]}
    return {
        "name": name,
        "external_model": {"name": model, "provider": "openai", "task": task, "openai_config": config},
    }


def with_own_key(name: str) -> dict[str, Any]:
    """The same with a key in plain text, for somebody who may read no scope."""
    plain = entity(name)
    config = plain["external_model"]["openai_config"]
    del config["openai_api_key"]
    config["openai_api_key_plaintext"] = os.environ["PROVIDER_KEY"]
    return plain


def say(text: str) -> list[Any]:
    """Messages of a chat."""
    return [{"role": "user", "content": text}]
