"""The data plane: serves the calls of one endpoint (proxy) or of all endpoints of a workspace (router).

Knows no Kubernetes. Reads the files that `model_serving.proxy_config` describes; started by `cli.py` through
`app.run_proxy` and `router_app.run_router`.
"""
