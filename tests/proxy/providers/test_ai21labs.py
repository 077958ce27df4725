"""Provider `ai21labs`: where it is called, and what its golden cases cannot show."""

from __future__ import annotations

import json

import msgspec
import pytest

from model_serving.proxy.call import COMPLETIONS, Call
from model_serving.proxy.credentials.scheme import Bearer
from model_serving.proxy.errors import InvalidParameter, Unavailable
from model_serving.proxy.providers.base import Asked
from model_serving.proxy.providers.registry import PROVIDERS
from model_serving.proxy_config import CredentialFile, Target

AI21 = PROVIDERS["ai21labs"]
KEY = CredentialFile("s", "k")


def target(model: str = "j2-ultra", **settings: str) -> Target:
    credentials = {"ai21labs_api_key": KEY}
    return Target("e", "ai21labs", COMPLETIONS, model, settings=settings, credentials=credentials)


DIALECT = AI21.dialect(target())
ASKED = Asked(Call(COMPLETIONS, {"prompt": msgspec.Raw(b'"a"')}, False), "j2-ultra", "ours", 1)


@pytest.mark.parametrize(
    ("model", "settings", "url"),
    [
        ("j2-ultra", {}, "https://api.ai21.com/studio/v1/j2-ultra/complete"),
        ("j2-mid/mine ?", {}, "https://api.ai21.com/studio/v1/j2-mid%2Fmine%20%3F/complete"),
        ("m", {"ai21labs_api_base": "http://h:1/"}, "http://h:1/studio/v1/m/complete"),
        ("m", {"ai21labs_api_base": "http://h:1/x/studio/v1/"}, "http://h:1/x/studio/v1/m/complete"),
    ],
)
def test_the_path_names_the_model(model: str, settings: dict[str, str], url: str) -> None:
    assert AI21.url(target(model, **settings), False) == url


@pytest.mark.parametrize("model", ["", ".", ".."])
def test_a_model_that_would_lead_elsewhere_is_refused(model: str) -> None:
    with pytest.raises(ValueError, match="not the name of a model"):
        AI21.url(target(model), False)


def test_its_key_is_a_bearer_token() -> None:
    assert AI21.scheme(target()) == Bearer(KEY)


def test_a_stream_is_refused_by_its_name() -> None:
    with pytest.raises(InvalidParameter) as refused:
        DIALECT.request(Call(COMPLETIONS, {"prompt": msgspec.Raw(b'"a"')}, True))
    assert refused.value.parameter == "stream"
    assert not DIALECT.stream_type
    with pytest.raises(Unavailable):
        DIALECT.stream(ASKED)


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ({"reason": "length"}, "length"),
        ({"reason": "stop"}, "stop"),
        ({"reason": "new"}, "stop"),
        ({"reason": None}, "stop"),
        (None, "stop"),
    ],
)
def test_reasons_end_an_answer(reason: dict[str, str | None] | None, told: str) -> None:
    completion: dict[str, object] = {"data": {"text": "x"}}
    completion |= {"finishReason": reason} if reason is not None else {}
    found = DIALECT.reply(ASKED, [json.dumps({"completions": [completion]}).encode()])
    assert json.loads(found.body)["choices"][0] == {"index": 0, "text": "x", "logprobs": None, "finish_reason": told}
    assert json.loads(found.body)["id"] == "ours"
    assert found.usage is None


@pytest.mark.parametrize("body", [b"", b"[]", b'{"completions":[{}]}', b'{"detail":"x"}', b"\xff"])
def test_an_answer_that_cannot_be_is_an_error(body: bytes) -> None:
    with pytest.raises(Unavailable):
        DIALECT.reply(ASKED, [body])
