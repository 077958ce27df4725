"""What the router of a namespace needs to know of it: endpoints, ready proxies, issuers, and who callers are."""
