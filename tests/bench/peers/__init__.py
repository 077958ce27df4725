"""Other people's gateways: how each is got, set up and spoken to. A file per gateway, `registry.py` names them all."""
