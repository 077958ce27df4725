"""The sample of the README, as a cluster admin installs it and as an application calls it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from openai import OpenAI

from tests.cluster.installed import Installed
from tests.cluster.up import SAMPLE, install_sample

ROOT = Path(__file__).parents[2]


def test_the_sample_answers_and_a_made_key_works(installed: Installed) -> None:
    cluster = installed.cluster
    install_sample(cluster, installed.image)
    base = cluster.service_url("chat", SAMPLE) + "/serving-endpoints"
    messages = [{"role": "user", "content": "hello"}]

    def answer() -> str | None:
        with OpenAI(base_url=base, api_key="demo-key", max_retries=0) as client:
            return client.chat.completions.create(model="chat", messages=messages).choices[0].message.content  # type: ignore[arg-type]

    # The Service is new, and nodes learn of it in their own time.
    assert cluster.wait_for(answer, 30, "an answer")

    command = ["key", "create", "--namespace", SAMPLE, "--principal", "carol@example.com", "--group", "data-science"]
    made = subprocess.run(
        [sys.executable, "-m", "model_serving.cli", *command],
        env={"KUBECONFIG": str(cluster.kubeconfig()), "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()

    def works() -> bool:
        # Mounted Secrets are looked at every minute or so; a changed annotation makes that immediate.
        cluster.kubectl(
            "annotate", "--overwrite", "sep", "chat", "-n", SAMPLE, f"model-serving.dev/reload={len(tried)}"
        )
        tried.append(made)
        with OpenAI(base_url=base, api_key=made, max_retries=0) as client:
            return bool(client.chat.completions.create(model="chat", messages=messages))  # type: ignore[arg-type]

    tried: list[str] = []
    cluster.wait_for(works, 120, "the new key to be known")
