"""A namespace of a cluster as a workspace: the ports of `stores.py`, over the API server.

Reads go out with the workspace's own rights, which allow no writes; every write goes out with its caller's token.
"""
