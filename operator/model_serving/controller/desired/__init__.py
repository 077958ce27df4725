"""What an endpoint's children should be: one pure builder per child, named by the noun that it returns.

Called by `controller/reconciler.py`; what comes out is applied by `controller/children.py`. A builder states only what
it has an opinion on: fields of other writers (a sidecar, an autoscaler's replicas) are never touched.
"""
