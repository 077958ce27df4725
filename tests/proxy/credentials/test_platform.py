"""What a proxy learns of its platform: the clouds' own variables, and the admin's choice before them."""

from __future__ import annotations

import pytest

from model_serving.proxy.credentials.platform import Platform


@pytest.mark.parametrize(
    ("environ", "sts", "authority"),
    [
        pytest.param({}, "", "https://login.microsoftonline.com", id="nothing is said"),
        pytest.param(
            {"AWS_ENDPOINT_URL_STS": "https://sts.own", "AZURE_AUTHORITY_HOST": "https://login.own/"},
            "https://sts.own",
            "https://login.own",
            id="as webhooks and a laptop have it",
        ),
        pytest.param(
            {
                "AWS_ENDPOINT_URL_STS": "https://sts.own",
                "MODEL_SERVING_AWS_ENDPOINT_URL_STS": "https://sts.admin",
                "MODEL_SERVING_AZURE_AUTHORITY_HOST": "https://login.admin",
            },
            "https://sts.admin",
            "https://login.admin",
            id="what the operator hands on comes first",
        ),
    ],
)
def test_token_services_are_chosen_by_the_environment(environ: dict[str, str], sts: str, authority: str) -> None:
    found = Platform.from_environ(environ)
    assert (found.aws_sts_url, found.entra_authority) == (sts, authority)
