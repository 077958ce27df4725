"""A real Kubernetes for tests, made of programs built here and thrown away afterwards.

Tests use ``Cluster``, mostly through the fixtures in ``tests/cluster/conftest.py``, and the images of ``base_image``
and ``operator_image``; ``python -m tests.cluster.harness`` serves people.
"""

from tests.cluster.harness.cluster import Cluster

__all__ = ["Cluster"]
