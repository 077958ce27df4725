"""Metrics and minutes: what is counted, that Prometheus can read it, and that callers cannot make it grow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from model_serving.proxy.admin import UsagePage
from model_serving.proxy.auth import Principal
from model_serving.proxy.course import Course
from model_serving.proxy.exposition import Family, histogram, samples
from model_serving.proxy.http.exchange import Request
from model_serving.proxy.metrics import FAMILIES, Metrics
from model_serving.proxy.minutes import KEPT, SECONDS, Minutes, Tally
from model_serving.proxy.usage import MOST_TOKENS, Usage, read_usage
from model_serving.proxy.workers_admin import merged_usage
from model_serving.proxy_config import Limit
from tests.fakes.upstream import FakeUpstream, silence
from tests.proxy.harness import Files, Running, call, chat, proxy, request_bytes, talk, until

PATH = "/serving-endpoints/ep/invocations"
Samples = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(page: str) -> Samples:
    """Every sample by name and labels, as Prometheus' own parser reads the page."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    """The sum of the samples of a name with these labels."""
    return sum(number for (n, pairs), number in found.items() if n == name and set(labels.items()) <= set(pairs))


async def page_of(running: Running) -> Samples:
    answer = await call(running.admin_port, "/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parsed(answer.body.decode())


def course(status: int = 200, began: float = 100.0, **facts: object) -> Course:
    made = Course(Request(b"POST", b"/", {}, b"", "1.1"), began, b"1")
    made.status = status
    for name, fact in facts.items():
        setattr(made, name, fact)
    return made


# Tallies


def test_a_call_is_counted_by_outcome_duration_and_tokens() -> None:
    tally = Tally()
    tally.count(course(usage=Usage(7, 4, 2, 1)), 100.3)
    tally.count(course(404, error_code="ENDPOINT_NOT_FOUND"), 100.0)
    tally.count(course(499), 1000.0)
    assert (tally.calls, tally.ok, tally.errors) == (3, 1, 2)
    assert tally.failed == {(404, "ENDPOINT_NOT_FOUND"): 1, (499, "CANCELLED"): 1}
    assert (tally.input, tally.output, tally.cached, tally.reasoning) == (7, 4, 2, 1)
    assert tally.durations[SECONDS.index(0.5)] == 1 and tally.durations[0] == 1 and tally.durations[-1] == 1


@pytest.mark.parametrize(
    ("facts", "gap"),
    [
        pytest.param({"pieces": 3, "usage": Usage(1, 11)}, 0.2, id="by the tokens after the first one"),
        pytest.param({"pieces": 5, "usage": None}, 0.5, id="by pieces where the provider counts no tokens"),
        pytest.param({"pieces": 5, "usage": Usage(1, 0)}, 0.5, id="or says that there were none"),
        pytest.param({"pieces": 5, "usage": None, "last_byte": 102.0}, 0.25, id="to the last byte, not to the end"),
        pytest.param({"pieces": 1, "usage": None}, None, id="one piece has no gaps"),
        pytest.param({"pieces": 1, "usage": Usage(1, 1)}, None, id="one token has none"),
        pytest.param({"pieces": 0, "usage": Usage(1, 11)}, None, id="no stream, no gaps"),
    ],
)
def test_the_time_between_tokens(facts: dict[str, object], gap: float | None) -> None:
    tally = Tally()
    tally.count(course(first_byte=101.0, **facts), 103.0)
    assert sum(tally.gaps) == (gap is not None)
    assert tally.gap_seconds == pytest.approx(gap or 0.0)


def test_sums_hold_everything_that_was_added() -> None:
    total, one = Tally(), Tally()
    one.count(course(first_byte=100.1, pieces=4, usage=Usage(7, 4, 2, 1)), 101.0)
    one.count(course(500, error_code="INTERNAL_ERROR"), 101.0)
    for _ in range(2):
        total.add(one)
    for name in ("ok", "calls", "errors", "input", "cached", "seconds", "gap_seconds", "first_seconds"):
        assert getattr(total, name) == pytest.approx(2 * getattr(one, name)), name
    assert total.durations == [2 * number for number in one.durations]


# Minutes


def count(minutes: Minutes, entity: str = "gpt") -> None:
    (minutes.current.get(entity) or minutes.begin(entity)).count(course(), 100.0)


def test_minutes_turn_with_the_clock_and_totals_keep_growing() -> None:
    minutes = Minutes()
    for second in (0, 59, 60, 200):
        minutes.turn(600.0 + second)
        count(minutes)
    assert [(m.start, m.calls) for m in minutes.shown()] == [(600, 2), (660, 1), (780, 1)]
    assert minutes.totals()["gpt"].calls == 4


def test_sixty_minutes_are_kept_and_idle_ones_take_no_room() -> None:
    minutes = Minutes()
    for minute in range(3 * KEPT):
        minutes.turn(minute * 60.0)
        count(minutes)
    assert [m.start // 60 for m in minutes.shown()] == list(range(2 * KEPT, 3 * KEPT))
    minutes.turn((3 * KEPT + 58) * 60.0)
    assert [m.start // 60 for m in minutes.shown()] == [3 * KEPT - 1]
    minutes.turn(10 * KEPT * 60.0)
    assert list(minutes.shown()) == []
    assert minutes.totals()["gpt"].calls == 3 * KEPT


def test_a_clock_that_is_set_back_loses_no_call() -> None:
    minutes = Minutes()
    for wall in (6000.0, 60.0, 6000.0):
        minutes.turn(wall)
        count(minutes)
    assert minutes.totals()["gpt"].calls == 3


# Prometheus' format


def test_labels_are_escaped() -> None:
    nasty = 'a"b\\c\nd'
    page = samples(Family("x_total", "counter", "X.", ("name",)), [((nasty,), 3)])
    assert parsed(page) == {("x_total", (("name", nasty),)): 3.0}


def test_numbers_keep_their_digits() -> None:
    page = samples(Family("x", "gauge", "X."), [((), 123456789012), ((), 0.1), ((), 1e-9)])
    assert page.splitlines()[2:] == ["x 123456789012", "x 0.1", "x 1e-09"]


def test_histograms_are_cumulative() -> None:
    page = histogram(Family("x", "histogram", "X.", ("a",)), [(("b",), (0.5, 1.0), [1, 2, 3], 9.5)])
    found = parsed(page)
    buckets = [found["x_bucket", (("a", "b"), ("le", bound))] for bound in ("0.5", "1.0", "+Inf")]
    assert (buckets, found["x_count", (("a", "b"),)], found["x_sum", (("a", "b"),)]) == ([1, 3, 6], 6, 9.5)


def test_what_never_happened_is_not_there() -> None:
    assert samples(FAMILIES[0], []) == "" and histogram(FAMILIES[1], []) == ""
    assert b"model_serving_calls_total" not in Metrics().render()


# A proxy's page


async def test_a_page_after_calls_of_all_kinds(files: Files, upstream: FakeUpstream) -> None:
    files.usual(upstream.base, limits=[Limit("user", 3)])
    async with proxy(files) as running:
        await chat(running.port)
        await chat(running.port, stream=True)
        await chat(running.port, headers={"authorization": "Bearer nobody"})
        await talk(running.port, b"nonsense\r\n\r\n")
        upstream.scripts.append(silence())
        _, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(request_bytes("POST", PATH, b'{"messages": [{"role": "user", "content": "x"}]}'))
        await until(lambda: len(running.service.pipeline.in_flight) == 1)
        await chat(running.port)
        found = await page_of(running)
        writer.close()
    assert value(found, "model_serving_calls_total", status="200", served_entity="gpt") == 2
    assert value(found, "model_serving_calls_total", status="401", error_code="UNAUTHENTICATED", served_entity="") == 1
    assert value(found, "model_serving_calls_total", status="429") == 1
    assert value(found, "model_serving_limited_total", key="user") == 1
    assert value(found, "model_serving_refused_requests_total", status="400") == 1
    assert value(found, "model_serving_in_flight") == 1
    assert value(found, "model_serving_connections", port="data") >= 1
    assert value(found, "model_serving_connections", port="admin") == 1
    assert value(found, "model_serving_time_to_first_token_seconds_count") == 1
    assert value(found, "model_serving_time_per_output_token_seconds_count") == 1
    assert value(found, "model_serving_ready") == 1
    labels = {"endpoint": "ep", "revision": "rev-1", "config_version": "3", "policy_version": "p1"}
    assert value(found, "model_serving_config_info", **labels) == 1
    assert value(found, "process_resident_memory_bytes") > 1e6
    assert value(found, "process_open_fds") > 3


async def test_every_metric_of_a_page_is_declared(running: Running) -> None:
    await chat(running.port, stream=True)
    page = (await call(running.admin_port, "/metrics")).body.decode()
    declared = {family.name: family.kind for family in FAMILIES}
    shown = dict(line.split()[2:] for line in page.splitlines() if line.startswith("# TYPE"))
    assert shown.items() <= declared.items()


async def test_callers_cannot_make_the_page_grow(running: Running) -> None:
    async def strange(number: int) -> None:
        odd = f"odd-{number}"
        await chat(running.port, headers={"authorization": f"Bearer {odd}", "user-agent": odd, "x-request-id": odd})
        await call(running.port, f"/serving-endpoints/{odd}/invocations", {"messages": []})
        await call(running.port, f"/serving-endpoints/ep/served-models/{odd}/invocations", {"messages": []})
        await call(running.port, f"/{odd}", method=f"ODD{number}")

    await strange(0)
    before = set(await page_of(running))
    for number in range(1, 10):
        await strange(number)
    assert set(await page_of(running)) == before


async def test_the_usage_page_has_the_minutes(running: Running) -> None:
    await chat(running.port)
    await chat(running.port, stream=True)
    await call(running.port, PATH, b"{")
    page = json.loads((await call(running.admin_port, "/usage")).body)
    assert page["bounds"] == list(SECONDS)
    by_entity = {minute["entity"]: minute for minute in page["minutes"]}
    gpt = by_entity["gpt"]
    assert (gpt["calls"], gpt["errors"], gpt["input_tokens"], gpt["output_tokens"]) == (2, 0, 14, 8)
    assert (gpt["streams"], sum(gpt["durations"]), gpt["start"] % 60) == (1, 2, 0)
    assert (by_entity[""]["calls"], by_entity[""]["errors"]) == (1, 1)


def test_the_minutes_of_several_workers_stand_together() -> None:
    pages = []
    for starts in ((600, 720), (660,)):
        minutes = Minutes()
        for start in starts:
            minutes.turn(float(start))
            count(minutes)
        pages.append(msgspec.json.encode(UsagePage(SECONDS, list(minutes.shown()))))
    merged = merged_usage([*pages, b""])  # the last one does not answer
    assert [(minute.start, minute.calls) for minute in merged.minutes] == [(600, 1), (660, 1), (720, 1)]


# Usage in answers


@pytest.mark.parametrize(
    ("usage", "found"),
    [
        pytest.param('{"prompt_tokens":7,"completion_tokens":4}', Usage(7, 4), id="sums alone"),
        pytest.param('{"prompt_tokens":7,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":3},'
                     '"completion_tokens_details":{"reasoning_tokens":2,"x":null}}', Usage(7, 4, 3, 2),
                     id="OpenAI's details"),
        pytest.param('{"prompt_tokens":7,"completion_tokens":4,"cache_read_input_tokens":3}', Usage(7, 4, 3),
                     id="Databricks' word for cached tokens"),
        pytest.param('{"prompt_tokens":7,"prompt_tokens_details":null,"completion_tokens_details":null}', Usage(7),
                     id="details that are null"),
        pytest.param('{"prompt_tokens":7,"completion_tokens":4,"prompt_tokens_details":"odd"}', Usage(7, 4),
                     id="odd details do not hide the sums"),
        pytest.param('{"prompt_tokens":-7,"completion_tokens":4}', Usage(0, 4), id="nothing is given back"),
        pytest.param('{"prompt_tokens":7,"completion_tokens":1%s}' % ("0" * 4000), Usage(7, MOST_TOKENS),
                     id="more digits than can be added up and written"),
        pytest.param('{"prompt_tokens":"odd"}', None, id="odd sums are none"),
        pytest.param("null", None, id="none"),
    ],
)  # fmt: skip
def test_usage_is_read_with_its_details(usage: str, found: Usage | None) -> None:
    assert read_usage(b'{"choices":[{}],"usage":%b}' % usage.encode()) == (found, False)


def test_a_principal_is_in_no_metric() -> None:
    metrics = Metrics()
    metrics.minutes.begin("gpt").count(course(principal=Principal("ada@example.com")), 101.0)
    assert b"ada" not in metrics.render()
