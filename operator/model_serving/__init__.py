"""Databricks-compatible generative-AI serving endpoints on any Kubernetes."""

__version__ = "0.1.0"
