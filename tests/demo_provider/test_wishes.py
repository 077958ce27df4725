"""What the markers mean."""

import pytest

from model_serving.demo_provider.wishes import UnknownWishError, Wish, parse_wish, without_markers


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param(("hello",), Wish(), id="text without marker is a good answer"),
        pytest.param(("[demo:status=503]",), Wish(status=503), id="status"),
        pytest.param(
            ("[demo:status=429,retry-after=7]",), Wish(status=429, retry_after=7), id="several wishes in one marker"
        ),
        pytest.param(("[demo:delay=2] and [demo:cut=3]",), Wish(delay=2, cut=3), id="several markers in one text"),
        pytest.param(("m[demo:events=5]", "[demo:events=9]"), Wish(events=9), id="the message wins over the model"),
        pytest.param(("[demo:events=100, pace=0.05]",), Wish(events=100, pace=0.05), id="blanks are allowed"),
        pytest.param(("[demo:garbage,open-end]",), Wish(garbage=True, open_end=True), id="flags have no value"),
        pytest.param(("[demo:stall=30]",), Wish(stall=30), id="stall"),
    ],
)
def test_parse(texts: tuple[str, ...], expected: Wish) -> None:
    assert parse_wish(*texts) == expected


@pytest.mark.parametrize(
    ("marker", "named"),
    [
        ("[demo:explode]", "explode"),
        ("[demo:status=200]", "status"),
        ("[demo:delay=soon]", "delay"),
        ("[demo:delay=-1]", "delay"),
        ("[demo:events=9999999]", "events"),
        ("[demo:garbage=yes]", "garbage"),
    ],
)
def test_unknown_wishes_are_named(marker: str, named: str) -> None:
    with pytest.raises(UnknownWishError, match=named):
        parse_wish(marker)


def test_markers_are_not_echoed() -> None:
    assert without_markers("say [demo:delay=1]this") == "say this"
