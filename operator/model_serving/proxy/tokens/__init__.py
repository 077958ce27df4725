"""Signed bearer tokens (JWT): how they are read, whose they are, and whether the signature is the issuer's."""
