"""Public keys out of documents: what is of use, and never what is secret."""

from __future__ import annotations

from typing import Any

import pytest

from model_serving.kube.issuers.jwks import KeysError, public_keys
from tests.kube.issuers.documents import ec, rsa, text


def test_only_what_is_public_and_of_use_is_handed_on_in_one_order() -> None:
    document = {"keys": [rsa("b", x5c=["MIIB"], key_ops=["verify"]), ec("a")], "more": 1}
    found = public_keys(document)
    assert [set(key) for key in found] == [{"kty", "alg", "kid", "crv", "x", "y"}, {"kty", "alg", "kid", "n", "e"}]
    assert found == public_keys({"keys": [ec("a"), rsa("b")]})
    assert public_keys({"keys": [rsa(d="AAAA", p="AAAA")]}) == public_keys({"keys": [rsa()]}), "never a private member"


@pytest.mark.parametrize(
    "key",
    [
        pytest.param({"kty": "oct", "k": "AAAA", "kid": "x"}, id="a secret"),
        pytest.param({"kty": "OKP", "crv": "Ed25519", "x": text(32)}, id="another type"),
        pytest.param({"kty": ["RSA"]}, id="a type that is no text"),
        pytest.param("RSA", id="no object"),
        pytest.param(rsa(use="enc"), id="for encryption"),
        pytest.param(rsa(alg="RS512"), id="another algorithm"),
        pytest.param(rsa(alg="ES256"), id="the other type's algorithm"),
        pytest.param(rsa(n=text(128)), id="1024 bits"),
        pytest.param(rsa(n="é"), id="no base64"),
        pytest.param(rsa(n=5), id="a number"),
        pytest.param(rsa(n=text(5000)), id="far too long"),
        pytest.param(rsa(e=""), id="no exponent"),
        pytest.param(rsa(kid=7), id="an id that is no text"),
        pytest.param(rsa(kid="k" * 300), id="a very long id"),
        pytest.param(ec(crv="P-384"), id="another curve"),
        pytest.param(ec(x=text(31)), id="a short coordinate"),
        pytest.param({"kty": "EC", "crv": "P-256"}, id="no coordinates"),
    ],
)
def test_other_keys_are_left_out_and_alone_are_no_document(key: Any) -> None:
    assert public_keys({"keys": [key, rsa()]}) == public_keys({"keys": [rsa()]})
    with pytest.raises(KeysError, match="no key for"):
        public_keys({"keys": [key]})


@pytest.mark.parametrize(
    "document", [None, [], {}, {"keys": {}}, {"keys": []}, {"keys": [rsa(str(n)) for n in range(33)]}]
)
def test_what_is_no_set_of_keys_is_refused(document: Any) -> None:
    with pytest.raises(KeysError):
        public_keys(document)
