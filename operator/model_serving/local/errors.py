"""Errors of the local platform that a user can put right; `runner.py` prints them without a traceback."""


class InputError(Exception):
    """What a user gave cannot be used. Each line of the text says what, where, and what to do."""
