"""Clusters for people: ``python -m tests.cluster.harness up | down | status | build``.  ``make cluster`` calls it."""

import argparse
import sys

from tests.cluster.harness import Cluster, programs
from tests.cluster.harness.base_image import base_image
from tests.cluster.harness.operator_image import operator_image
from tests.cluster.harness.packages import PROOF, ensure_packages
from tests.cluster.harness.slot import clean_leftovers, every_slot

COMMAND = "python -m tests.cluster.harness"


def up(options: argparse.Namespace) -> None:
    """Leave a cluster running."""
    cluster = Cluster.start(options.shape, simulated_nodes=options.simulated_nodes, detached=True)
    if options.image:
        print(f"image on the node: {cluster.load_image(operator_image())}")
    print(f"\nexport KUBECONFIG={cluster.kubeconfig()}")
    print(f"kubectl, if you have none: {programs.folder() / 'kubectl'}")
    print(f"stop it: {COMMAND} down {cluster.folder.name}")


def down(options: argparse.Namespace) -> None:
    """Stop one cluster, or all that were left running."""
    for slot in every_slot():
        cluster = Cluster.find(slot) if options.number in (None, slot.number) else None
        if cluster is not None and (options.number is not None or cluster.is_detached):
            cluster.stop()
            print(f"cluster {slot.number} is gone")
    clean_leftovers()


def status(_: argparse.Namespace) -> None:
    """List what runs."""
    for slot in every_slot():
        cluster = Cluster.find(slot)
        if cluster is not None:
            kind = "left running" if cluster.is_detached else "of a test run"
            print(f"cluster {slot.number} ({kind}): KUBECONFIG={cluster.kubeconfig()}")


def build(options: argparse.Namespace) -> None:
    """Make everything that is slow to make, so that a later start takes seconds."""
    print(programs.ensure_programs(programs.ALL))
    ensure_packages(PROOF)
    print((operator_image() if options.image else base_image()).reference)


def main() -> None:
    parser = argparse.ArgumentParser(prog=COMMAND, description="A throw-away Kubernetes on this computer (needs root).")
    commands = parser.add_subparsers(required=True)
    verb = commands.add_parser("up", help="start a cluster and leave it running")
    verb.add_argument("--shape", choices=["control-plane", "node"], default="node")
    verb.add_argument("--simulated-nodes", type=int, default=0, help="nodes on paper, for the shape control-plane")
    verb.add_argument("--image", action="store_true", help="put the operator's image on the node")
    verb.set_defaults(run=up)
    verb = commands.add_parser("down", help="stop what was left running")
    verb.add_argument("number", nargs="?", type=int, help="only this one, even if a test run holds it")
    verb.set_defaults(run=down)
    commands.add_parser("status", help="list what runs").set_defaults(run=status)
    verb = commands.add_parser("build", help="build programs and the base image ahead of time")
    verb.add_argument("--image", action="store_true", help="the operator's image too")
    verb.set_defaults(run=build)
    options = parser.parse_args()
    try:
        options.run(options)
    except (RuntimeError, TimeoutError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
