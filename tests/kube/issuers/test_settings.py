"""Other issuers than the API server's, as an admin lists them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model_serving.kube.issuers.settings import parse_issuers
from model_serving.proxy_config import Issuer
from tests.kube.issuers.documents import LOGIN, rsa


def test_the_setting_mirrors_the_api_servers_claim_mapping() -> None:
    (setting,) = parse_issuers(f"""
- issuer: {LOGIN}
  audiences: [serving]
  usernameClaim: email
  usernamePrefix: "oidc:"
  groupsClaim: roles
  groupsPrefix: "oidc:"
""")
    issuer = setting.with_keys([{"kty": "RSA"}])
    assert issuer == Issuer(
        LOGIN, ["serving"], [{"kty": "RSA"}],
        username_claim="email", username_prefix="oidc:", groups_claim="roles", groups_prefix="oidc:",
    )  # fmt: skip
    assert parse_issuers(json.dumps([{"issuer": LOGIN, "keys": [rsa()]}]))[0].audiences == ("model-serving",)
    assert parse_issuers("[]") == ()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        pytest.param("{", "a YAML list of issuers", id="no YAML"),
        pytest.param("issuer: x", "a YAML list of issuers", id="no list"),
        pytest.param([{"audiences": ["a"]}], "missing required field `issuer`", id="no issuer"),
        pytest.param([{"issuer": LOGIN, "audience": "a"}], "unknown field `audience`", id="a field misspelt"),
        pytest.param([{"issuer": "http://login.example"}], "https:// URL", id="plain HTTP"),
        pytest.param([{"issuer": "https://a:b@login.example"}], "https:// URL", id="a user in the URL"),
        pytest.param([{"issuer": "https://login.example?x=1"}], "https:// URL", id="a query in the URL"),
        pytest.param([{"issuer": LOGIN, "jwksUrl": "file:///etc/passwd"}], "jwksUrl to an https:// URL", id="a file"),
        pytest.param([{"issuer": LOGIN, "audiences": []}], "name the audiences", id="no audience"),
        pytest.param([{"issuer": LOGIN, "audiences": [""]}], "name the audiences", id="an empty audience"),
        pytest.param([{"issuer": LOGIN, "usernameClaim": ""}], "usernameClaim", id="no claim"),
        pytest.param([{"issuer": LOGIN}, {"issuer": LOGIN}], "each issuer once", id="twice"),
        pytest.param([{"issuer": LOGIN, "keys": [rsa()], "jwksUrl": LOGIN}], "either keys or jwksUrl", id="both"),
        pytest.param([{"issuer": LOGIN, "keys": [{"kty": "oct"}]}], "correct keys", id="a secret key"),
        pytest.param([{"issuer": LOGIN, "certificateAuthority": "x"}], "in PEM", id="no certificate"),
        pytest.param([{"issuer": f"https://{n}.example"} for n in range(17)], "at most 16", id="too many"),
    ],
)
def test_a_bad_setting_is_named_with_the_remedy(setting: Any, words: str) -> None:
    value = setting if isinstance(setting, str) else json.dumps(setting)
    with pytest.raises(ValueError) as caught:
        parse_issuers(value)
    assert words in str(caught.value)
