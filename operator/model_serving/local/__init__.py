"""The local platform: everything on one machine, without a cluster. `runner.py` is the door."""
