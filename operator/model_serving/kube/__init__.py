"""The one door to a cluster: connection, client, watches and typed errors. Knows nothing of
endpoints."""
