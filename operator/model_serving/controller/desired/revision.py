"""The ControllerRevision of a revision: one entry of an endpoint's history."""

from __future__ import annotations

from model_serving.controller.desired.owner import Owner, child
from model_serving.kube.resources import CONTROLLER_REVISIONS, Manifest
from model_serving.kube.revisions import revision_annotations, revision_body
from model_serving.lifecycle.revision import Revision


def controller_revision(owner: Owner, revision: Revision) -> Manifest:
    """One entry of the history; `kube/revisions.py` reads it back."""
    annotations = revision_annotations(revision)
    return child(owner, CONTROLLER_REVISIONS, revision_body(revision), suffix=revision.name, annotations=annotations)
