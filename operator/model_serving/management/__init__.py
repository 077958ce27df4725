"""Databricks' REST API of a workspace, over the ports of `stores.py`."""
