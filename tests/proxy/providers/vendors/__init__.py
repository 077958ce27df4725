"""The vendors' own types, one module per provider: what our requests must fit and what replies in tests are made of.

Each offers, raising AssertionError or pydantic's ValidationError for what the vendor's types do not allow:

    accept_request(task, stream, path, body)
    accept_reply(task, body)
    accept_stream(task, raw)

`task` is `chat`, `completions` or `embeddings`.
"""
