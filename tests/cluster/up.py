"""`make cluster`: a real Kubernetes on this machine, left running, with operator, sample and front door installed."""

from __future__ import annotations

from pathlib import Path

from tests.cluster.harness import Cluster
from tests.cluster.harness.operator_image import operator_image
from tests.cluster.harness.progress import step
from tests.cluster.installed import apply_folder, install, rolled_out

ROOT = Path(__file__).parents[2]
SAMPLE = "model-serving-demo"
DOOR = "model-serving-workspace"
QUESTION = '{"messages": [{"role": "user", "content": "Tell me about rivers"}], "stream": true}'


def main() -> None:
    """Starts, installs, and prints what to try."""
    cluster = Cluster.start("node", detached=True)
    image = cluster.load_image(operator_image())
    with step("installing CRD, policies and operator"):
        install(cluster, image, settings={})
    with step("installing the sample"):
        install_sample(cluster, image)
    with step("installing its front door"):
        apply_folder(cluster, ROOT / "manifests" / "workspace", image, namespace=SAMPLE)
        rolled_out(cluster, DOOR, SAMPLE)
    kubectl = f"{cluster.binary} --kubeconfig {cluster.kubeconfig()} -n {SAMPLE}"
    base = cluster.service_url("chat", SAMPLE)
    print("\nTry it:")
    print(f"  {kubectl} get sep")
    print(f"  {kubectl} describe sep chat")
    print(
        f"  curl -sN {base}/serving-endpoints/chat/invocations -H 'Authorization: Bearer demo-key' "
        f"-H 'Content-Type: application/json' -d '{QUESTION}'"
    )
    print("\nThe front door, for Databricks' clients:")
    print(f"  export DATABRICKS_HOST={cluster.service_url(DOOR, SAMPLE)}")
    print(f"  export DATABRICKS_TOKEN=$({kubectl} create token app --duration 1h)")
    print('  curl -s $DATABRICKS_HOST/api/2.0/serving-endpoints -H "Authorization: Bearer $DATABRICKS_TOKEN"')
    print(f"\n  export KUBECONFIG={cluster.kubeconfig()}")
    print("  make cluster-down    # ends it without a trace")


def install_sample(cluster: Cluster, image: str) -> None:
    """The sample of the README, until it is ready."""
    apply_folder(cluster, ROOT / "manifests" / "samples" / "demo", image)
    rolled_out(cluster, "demo-provider", SAMPLE)
    cluster.kubectl("wait", "--for=condition=Ready", "sep", "--all", "-n", SAMPLE, "--timeout=120s")


if __name__ == "__main__":
    main()
