"""HTTP/1.1 on both sides: server and client protocols, keep-alive pools, heads. Knows nothing of models."""
