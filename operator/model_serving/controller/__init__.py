"""The Kubernetes platform: Kopf tells what changed, a queue says when to look, the reconciler brings the world in line.

Level-triggered: every reconciliation looks at the whole of one endpoint and never at a difference between events.
"""
