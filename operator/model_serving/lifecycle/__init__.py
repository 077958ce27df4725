"""The life cycle of an endpoint, pure: everything that both platforms (Kubernetes and local) must decide alike.

`decide.py` is the door: what was observed goes in, what should be done and said comes out. Nothing here does I/O or
reads a clock.
"""
