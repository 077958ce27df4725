"""Whose tokens callers may show: read from the API server and from the issuers of a setting, renewed as keys rotate."""
