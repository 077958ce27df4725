"""How the scripts for MLflow expect a refusal."""

from requests import HTTPError


def refused(status, call, **named):
    """Makes a call that must be refused with that status."""
    try:
        answered = call(**named)
    except HTTPError as error:
        assert error.response.status_code == status, error
    else:
        raise AssertionError(f"not refused: {answered}")
