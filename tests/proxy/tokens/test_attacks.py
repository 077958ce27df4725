"""Tokens that somebody might try: each is a stranger's, whatever is wrong with it, and nobody is told what."""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from model_serving.proxy.errors import Unauthenticated
from model_serving.proxy.identity import Identity
from model_serving.proxy.tokens.claims import SKEW_SECONDS
from model_serving.proxy.tokens.verifier import TokenVerifier
from model_serving.proxy_config import Issuer
from tests.proxy.tokens.minting import (
    ACCOUNT,
    AUDIENCE,
    CLUSTER,
    NOW,
    Mint,
    cluster,
    ec_key,
    jwk,
    mint,
    rsa_key,
    segment,
)

OTHER = Issuer("https://login.example", ["app"], [jwk(ec_key(), "e1")], groups_claim="groups")
ISSUERS = [cluster(jwk(rsa_key(), "k1"), jwk(ec_key(), "e1")), OTHER]
SKEW = int(SKEW_SECONDS)


def known(token: str, wall: float = NOW, issuers: list[Issuer] = ISSUERS) -> str:
    """Whom a token makes the caller; empty for nobody."""
    identity = Identity((TokenVerifier(issuers),), router="")
    try:
        return identity.of({b"authorization": b"Bearer " + token.encode("latin-1")}, wall).name
    except Unauthenticated as error:
        assert error.message == "the token is not known here: send a valid one as Authorization: Bearer TOKEN"
        return ""


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(mint, id="RS256"),
        pytest.param(lambda: Mint(ec_key(), "ES256", {"kid": "e1"}).token(), id="ES256"),
        pytest.param(lambda: mint(aud=AUDIENCE), id="an audience that is no list"),
        pytest.param(lambda: mint(aud=["other", AUDIENCE]), id="ours among several audiences"),
        pytest.param(lambda: mint(nbf=None, iat=None), id="without the optional times"),
        pytest.param(lambda: mint(exp=NOW + 0.5), id="a fraction of a second"),
        pytest.param(lambda: mint(exp=int(NOW) - SKEW + 1), id="expired within the clocks' difference"),
        pytest.param(lambda: mint(nbf=int(NOW) + SKEW), id="from the future within the clocks' difference"),
        pytest.param(lambda: Mint(header={"typ": None}).token(), id="without a type"),
        pytest.param(lambda: Mint(header={"typ": "at+jwt", "x5t": "abc"}).token(), id="an access token by RFC 9068"),
        pytest.param(lambda: mint(extra={"deep": [1, None, True]}), id="other claims"),
    ],
)
def test_good_tokens_name_their_service_account(token: Callable[[], str]) -> None:
    assert known(token()) == ACCOUNT


def unsigned(**header: object) -> str:
    first, claims = Mint(header=header).parts()
    return f"{segment(first)}.{segment(claims)}."


def keyed_hash(secret: bytes, **header: object) -> str:
    """A token signed with HS256 by what everybody may know: the public key."""
    first, claims = Mint(header={"alg": "HS256"} | header).parts()
    signed = f"{segment(first)}.{segment(claims)}"
    return f"{signed}.{segment(hmac.digest(secret, signed.encode(), 'sha256'))}"


def pem() -> bytes:
    return rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def der() -> bytes:
    return rsa_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def signed(header: object = None, claims: object = None) -> str:
    """A token whose segments are anything, with a signature that is right for them."""
    first, second = Mint().parts()
    return Mint().sign(segment(first if header is None else header), segment(second if claims is None else claims))


def claims_text(old: str, new: str) -> str:
    """The claims' JSON with something in the place of something."""
    text = json.dumps(Mint().parts()[1])
    assert old in text
    return signed(claims=text.replace(old, new, 1))


def cut(token: str, index: int, change: Callable[[str], str]) -> str:
    parts = token.split(".")
    parts[index] = change(parts[index])
    return ".".join(parts)


def other_bits(text: str) -> str:
    """Another spelling of the same bytes: the bits that the last character leaves over."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) | 1]


STRANGER = {"key": rsa_key(1)}

ATTACKS: dict[str, Callable[[], str]] = {
    "alg none": lambda: unsigned(alg="none"),
    "alg None in capitals": lambda: unsigned(alg="NONE"),
    "alg none with a signature": lambda: Mint(header={"alg": "none"}).token(),
    "an empty signature": lambda: unsigned(),
    "no signature segment": lambda: mint().rpartition(".")[0],
    "HS256 with the public key as PEM": lambda: keyed_hash(pem()),
    "HS256 with the public key as DER": lambda: keyed_hash(der()),
    "HS256 with the modulus": lambda: keyed_hash(jwk(rsa_key(), "k1")["n"].encode()),
    "HS256 with an empty secret": lambda: keyed_hash(b"", kid=""),
    "HS384": lambda: keyed_hash(pem(), alg="HS384"),
    "RS512": lambda: Mint(header={"alg": "RS512"}).token(),
    "PS256": lambda: Mint(header={"alg": "PS256"}).token(),
    "RS256 claimed for an EC key": lambda: Mint(ec_key(), "RS256", {"kid": "e1"}).token(),
    "ES256 claimed for an RSA key": lambda: Mint(header={"alg": "ES256"}).token(),
    "ES256 of an EC key under the id of an RSA key": lambda: Mint(ec_key(), "ES256").token(),
    "ES256 of zeros": lambda: f"{mint().rpartition('.')[0]}.{segment(bytes(64))}",
    "ES256 zeros under an EC key": lambda: cut(
        Mint(ec_key(), "ES256", {"kid": "e1"}).token(), 2, lambda _: segment(bytes(64))
    ),
    "ES256 as DER instead of raw": lambda: cut(
        Mint(ec_key(), "ES256", {"kid": "e1"}).token(), 2, lambda _: segment(b"\x30\x06\x02\x01\x01\x02\x01\x01")
    ),
    "alg missing": lambda: Mint(header={"alg": None}).token(),
    "alg a list": lambda: Mint(header={"alg": ["RS256"]}).token(),
    "alg a number": lambda: Mint(header={"alg": 256}).token(),
    "alg in small letters": lambda: Mint(header={"alg": "rs256"}).token(),
    "another's key": lambda: Mint(**STRANGER).token(),
    "another's key with its own jwk": lambda: Mint(**STRANGER, header={"jwk": jwk(rsa_key(1), "k1")}).token(),
    "jwk although the key is right": lambda: Mint(header={"jwk": jwk(rsa_key(), "k1")}).token(),
    "jku": lambda: Mint(header={"jku": "https://evil.example/jwks"}).token(),
    "x5u": lambda: Mint(header={"x5u": "https://evil.example/cert"}).token(),
    "x5c": lambda: Mint(header={"x5c": ["MIIB"]}).token(),
    "crit": lambda: Mint(header={"crit": ["exp"]}).token(),
    "crit, empty": lambda: Mint(header={"crit": []}).token(),
    "b64 false": lambda: Mint(header={"b64": False}).token(),
    "compressed": lambda: Mint(header={"zip": "DEF"}).token(),
    "encrypted": lambda: Mint(header={"enc": "A256GCM"}).token(),
    "a token of another kind": lambda: Mint(header={"typ": "dpop+jwt"}).token(),
    "a log-out token": lambda: Mint(header={"typ": "logout+jwt"}).token(),
    "typ a list": lambda: Mint(header={"typ": ["JWT"]}).token(),
    "unknown kid": lambda: Mint(header={"kid": "k2"}).token(),
    "kid missing": lambda: Mint(header={"kid": None}).token(),
    "kid empty": lambda: Mint(header={"kid": ""}).token(),
    "kid of another issuer's key": lambda: Mint(header={"kid": "e1"}).token(),
    "kid a path": lambda: Mint(header={"kid": "../../../../dev/null"}).token(),
    "kid a path and an empty HS256 secret": lambda: keyed_hash(b"", kid="../../../../dev/null"),
    "kid SQL": lambda: Mint(header={"kid": "k1' UNION SELECT 'x' --"}).token(),
    "kid a command": lambda: Mint(header={"kid": "k1|id"}).token(),
    "kid with a zero byte": lambda: Mint(header={"kid": "k1\0"}).token(),
    "kid huge": lambda: Mint(header={"kid": "k" * 10_000}).token(),
    "kid a list": lambda: Mint(header={"kid": ["k1"]}).token(),
    "kid an object": lambda: Mint(header={"kid": {"$ne": ""}}).token(),
    "kid a number": lambda: Mint(header={"kid": 0}).token(),
    "kid null": lambda: signed(header='{"alg":"RS256","kid":null}'),
    "wrong audience": lambda: mint(aud=["https://kubernetes.default.svc"]),
    "audience of the API server": lambda: mint(aud=[CLUSTER]),
    "audience that ours begins": lambda: mint(aud=[AUDIENCE + "-x"]),
    "audience in capitals": lambda: mint(aud=[AUDIENCE.upper()]),
    "audience missing": lambda: mint(aud=None),
    "audience empty": lambda: mint(aud=[]),
    "audience an empty text": lambda: mint(aud=""),
    "audience an object": lambda: mint(aud={AUDIENCE: True}),
    "audience with a number": lambda: mint(aud=[AUDIENCE, 1]),
    "another issuer's audience": lambda: mint(aud=["app"]),
    "expired": lambda: mint(exp=int(NOW) - SKEW),
    "expired long ago": lambda: mint(exp=0),
    "exp missing": lambda: mint(exp=None),
    "exp null": lambda: claims_text(f'"exp": {int(NOW) + 3600}', '"exp": null'),
    "exp a text": lambda: mint(exp=str(int(NOW) + 3600)),
    "exp true": lambda: mint(exp=True),
    "exp negative": lambda: mint(exp=-1),
    "exp infinite": lambda: claims_text(f'"exp": {int(NOW) + 3600}', '"exp": Infinity'),
    "exp no number": lambda: claims_text(f'"exp": {int(NOW) + 3600}', '"exp": NaN'),
    "exp beyond all floats": lambda: claims_text(f'"exp": {int(NOW) + 3600}', '"exp": 1e999'),
    "exp with 400 digits": lambda: mint(exp=10**400),
    "exp with 5000 digits": lambda: claims_text(f'"exp": {int(NOW) + 3600}', f'"exp": {"9" * 5000}'),
    "not yet valid": lambda: mint(nbf=int(NOW) + SKEW + 1),
    "issued in the future": lambda: mint(iat=int(NOW) + SKEW + 1),
    "nbf a text": lambda: mint(nbf="0"),
    "iat a list": lambda: mint(iat=[0]),
    "unknown issuer": lambda: mint(iss="https://evil.example"),
    "issuer missing": lambda: mint(iss=None),
    "issuer a list": lambda: mint(iss=[CLUSTER]),
    "issuer with a slash more": lambda: mint(iss=CLUSTER + "/"),
    "another known issuer": lambda: mint(iss="https://login.example", aud="app"),
    "subject missing": lambda: mint(sub=None),
    "subject empty": lambda: mint(sub=""),
    "subject a number": lambda: mint(sub=7),
    "subject no ServiceAccount": lambda: mint(sub="system:admin"),
    "subject a node": lambda: mint(sub="system:node:n1"),
    "subject without a namespace": lambda: mint(sub="system:serviceaccount::app"),
    "subject with a part more": lambda: mint(sub="system:serviceaccount:shop:app:x"),
    "subject with a line break": lambda: mint(sub=ACCOUNT + "\n"),
    "too large": lambda: mint(pad="x" * 16_384),
    "much too large": lambda: mint(pad="x" * 60_000),
    "a claim twice": lambda: claims_text('"sub": ', '"sub": "system:serviceaccount:kube-system:admin", "sub": '),
    "exp twice": lambda: claims_text('"exp": ', f'"exp": {int(NOW) + 3600}, "exp": '),
    "a member twice deep inside": lambda: claims_text('"namespace": ', '"namespace": "x", "namespace": '),
    "alg twice": lambda: signed(header='{"alg":"none","alg":"RS256","kid":"k1"}'),
    "claims a list": lambda: signed(claims=[Mint().parts()[1]]),
    "claims a text": lambda: signed(claims='"x"'),
    "claims no JSON": lambda: signed(claims="{"),
    "claims with more after them": lambda: signed(claims=json.dumps(Mint().parts()[1]) + "{}"),
    "claims in UTF-16": lambda: signed(claims=json.dumps(Mint().parts()[1]).encode("utf-16")),
    "claims no UTF-8": lambda: signed(claims=json.dumps(Mint().parts()[1]).encode() + b"\xff"),
    "claims with a byte order mark": lambda: signed(claims=b"\xef\xbb\xbf" + json.dumps(Mint().parts()[1]).encode()),
    "claims nested without end": lambda: signed(claims="[" * 9_000),
    "header a list": lambda: signed(header=["RS256"]),
    "header empty": lambda: signed(header={}),
    "header nested without end": lambda: signed(header="[" * 9_000),
    "four segments": lambda: mint() + ".x",
    "five segments (encrypted)": lambda: mint() + ".x.y",
    "two tokens": lambda: f"{mint()} {mint()}",
    "dots alone": lambda: "..",
    "nothing between the dots": lambda: "a..b",
    "padding": lambda: cut(mint(), 2, lambda s: s + "=="),
    "padding of the header": lambda: cut(mint(), 0, lambda s: s + "="),
    "the other alphabet": lambda: cut(mint(), 2, lambda s: s[:-4] + "+/+/"),
    "a blank within": lambda: cut(mint(), 2, lambda s: s[:9] + " " + s[9:]),
    "a line break within": lambda: cut(mint(), 2, lambda s: s[:9] + "\n" + s[9:]),
    "characters that decoders skip": lambda: cut(mint(), 2, lambda s: s[:8] + "!!!!" + s[8:]),
    "another spelling of the signature": lambda: cut(mint(), 2, other_bits),
    "a signature with a byte more": lambda: cut(mint(), 2, lambda s: s + "AAAA"),
    "letters outside ASCII": lambda: cut(mint(), 1, lambda s: s + "é"),
    "of the JSON serialisation": lambda: json.dumps({"payload": "x", "signatures": []}),
    "an opaque token": lambda: "0123456789abcdef",
    "an API key that is not there": lambda: "msk.a.b",
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_attacks_are_strangers(attack: Callable[[], str], caplog: pytest.LogCaptureFixture) -> None:
    token = attack()
    with caplog.at_level(logging.DEBUG):
        assert known(token) == ""
    assert caplog.text == ""


def weak_key() -> dict[str, str]:
    return jwk(rsa_key(2, 1024), "weak")


P384 = ec.generate_private_key(ec.SECP384R1())

BAD_KEYS: dict[str, dict[str, str]] = {
    "a secret key": {"kty": "oct", "kid": "k1", "k": "AAAA", "alg": "HS256"},
    "another algorithm": jwk(rsa_key(), "k1", alg="RS512"),
    "an algorithm of another type": jwk(rsa_key(), "k1", alg="ES256"),
    "a key for encryption": jwk(rsa_key(), "k1", use="enc"),
    "a private key": jwk(rsa_key(), "k1", d="AAAA"),
    "a key without a modulus": {"kty": "RSA", "kid": "k1", "e": "AQAB"},
    "no base64": jwk(rsa_key(), "k1", n="%%%"),
    "another curve": jwk(ec_key(), "k1", crv="P-384"),
    "a point off the curve": jwk(ec_key(), "k1", x=segment(b"\1" * 32)),
    "no type": {"kid": "k1"},
    "an Edwards key": {"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": segment(b"\1" * 32)},
}


@pytest.mark.parametrize("key", BAD_KEYS.values(), ids=BAD_KEYS)
@pytest.mark.parametrize("alg", ["RS256", "ES256", "HS256"])
def test_keys_that_are_not_for_us_verify_nothing_and_harm_no_other(key: dict[str, str], alg: str) -> None:
    issuers = [cluster(key, jwk(rsa_key(3), "good"))]
    private = ec_key() if alg == "ES256" else rsa_key()
    assert known(Mint(private, alg).token(), issuers=issuers) == ""
    assert known(Mint(rsa_key(3), header={"kid": "good"}).token(), issuers=issuers) == ACCOUNT


def test_short_rsa_keys_verify_nothing() -> None:
    token = Mint(rsa_key(2, 1024), header={"kid": "weak"}).token()
    assert known(token, issuers=[cluster(weak_key())]) == ""


def test_without_issuers_every_token_is_a_strangers() -> None:
    assert known(mint(), issuers=[]) == ""


# No segment of the one is a segment of the other: put together, they never spell a good token.
GOOD = {"RS256": mint(jti="r"), "ES256": Mint(ec_key(), "ES256", {"kid": "e1"}, {"jti": "e"}).token()}
VERIFIER = TokenVerifier(ISSUERS)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(GOOD)), st.integers(0, 10**6), st.integers(0, 7))
def test_no_bit_of_a_token_can_be_flipped(alg: str, position: int, bit: int) -> None:
    token = bytearray(GOOD[alg].encode())
    token[position % len(token)] ^= 1 << bit
    assert VERIFIER.authenticate(bytes(token), NOW) is None


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(GOOD)), st.integers(0, 2)), min_size=0, max_size=5
    ).filter(lambda parts: [i for _, i in parts] != [0, 1, 2] or len({alg for alg, _ in parts}) > 1)
)  # fmt: skip
def test_segments_of_good_tokens_make_no_other(parts: list[tuple[str, int]]) -> None:
    token = ".".join(GOOD[alg].split(".")[index] for alg, index in parts)
    assert VERIFIER.authenticate(token.encode(), NOW) is None


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 10**6), st.integers(0, 40))
def test_nothing_can_be_put_in_or_taken_out(inserted: bytes, position: int, removed: int) -> None:
    good = GOOD["RS256"].encode()
    start = position % len(good)
    token = good[:start] + inserted + good[start + removed :]
    if token != good:
        assert VERIFIER.authenticate(token, NOW) is None


def test_the_good_tokens_of_these_tests_are_good() -> None:
    assert all(VERIFIER.authenticate(token.encode(), NOW) for token in GOOD.values())
