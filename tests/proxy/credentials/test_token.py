"""When tokens are fetched, renewed, kept and dropped: a source over a line that answers when it is told to."""

from __future__ import annotations

from itertools import pairwise

import pytest

from model_serving.proxy.credentials.exchange import TokenAnswer, TokenRequest
from model_serving.proxy.credentials.token import (
    LONGEST_PAUSE_SECONDS,
    LONGEST_WORDS,
    REFUSED_PAUSE_SECONDS,
    Ask,
    Fetched,
    scrubbed,
)
from tests.proxy.credentials.grants import SECRET, CountingGrant, Stage


def test_the_first_look_asks_for_the_first_token() -> None:
    stage = Stage()
    stage.at(0.0)
    assert (stage.line.asked, stage.source.pending, stage.source.ready) == (1, True, False)
    assert stage.source.fault == "Test token: it is being fetched"
    stage.line.answer(b"token-1")
    assert (stage.source.value, stage.source.pending, stage.source.ready) == ("token-1", False, True)


@pytest.mark.parametrize(
    ("lot", "calm", "due"),
    [
        pytest.param(0.0, 2879.0, 2881.0, id="at the earliest after four fifths of its life"),
        pytest.param(0.5, 3059.0, 3061.0, id="in between by lot"),
        pytest.param(1.0, 3239.0, 3241.0, id="at the latest after nine tenths"),
    ],
)
def test_a_token_is_renewed_before_it_expires(lot: float, calm: float, due: float) -> None:
    stage = Stage(lot=lot)
    stage.begin()
    stage.at(calm)
    assert stage.line.asked == 1
    stage.at(due)
    assert (stage.line.asked, stage.source.value) == (2, "token-1"), "the former one serves meanwhile"
    stage.line.answer(b"token-2")
    assert stage.source.value == "token-2"


def test_while_one_fetch_is_under_way_there_is_no_other() -> None:
    stage = Stage()
    for second in range(100):
        stage.at(float(second))
        stage.source.other_than("x", float(second))
    assert stage.line.asked == 1


def test_a_failure_keeps_the_former_token_until_it_expires() -> None:
    stage = Stage()
    stage.begin()
    stage.at(3300.0)
    stage.line.answer(failure="the service cannot be reached")
    assert stage.source.value == "token-1"
    assert stage.problem == "the service cannot be reached"
    stage.at(3594.0)
    assert stage.source.value == "token-1"
    stage.at(3596.0)
    assert stage.source.value is None, "some seconds early: it must last until the provider looks at it"
    assert stage.source.ready, "an outage takes no pod away"
    assert "cannot be reached" in stage.source.fault
    stage.line.open.clear()


def test_pauses_between_attempts_double_up_to_a_minute() -> None:
    stage = Stage()
    times: list[float] = []
    for second in range(400):
        stage.at(float(second))
        if stage.line.open:
            times.append(float(second))
            stage.line.answer(failure="no")
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps[:6] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    assert set(gaps[6:]) == {LONGEST_PAUSE_SECONDS}
    stage.at(500.0)
    stage.line.answer(b"token-1")
    assert (stage.source.value, stage.problem) == ("token-1", "")


def test_pauses_are_jittered() -> None:
    def second_attempt(lot: float) -> float:
        stage = Stage(lot=lot)
        stage.at(0.0)
        stage.line.answer(failure="no")
        tenths = 0
        while stage.line.asked == 1:
            tenths += 1
            stage.at(tenths / 10)
        return tenths / 10

    assert second_attempt(0.0) < second_attempt(1.0)


def test_a_replaced_secret_is_tried_at_once() -> None:
    stage = Stage()
    stage.begin()
    stage.at(10.0)
    assert stage.line.asked == 1
    stage.grant.secret = "the next one"
    stage.at(11.0)
    assert (stage.line.asked, stage.source.value) == (2, "token-1")


def test_a_replaced_secret_ends_the_pause_after_failures() -> None:
    stage = Stage()
    for second in range(100):
        stage.at(float(second))
        if stage.line.open:
            stage.line.answer(failure="wrong secret")
    asked = stage.line.asked
    stage.grant.secret = "the right one"
    stage.at(100.0)
    assert stage.line.asked == asked + 1


def test_a_secret_replaced_while_a_fetch_is_under_way_is_used_after_it() -> None:
    stage = Stage()
    stage.at(0.0)
    stage.grant.secret = "the right one"
    stage.at(1.0)
    assert stage.line.asked == 1
    stage.line.answer(failure="wrong secret")
    stage.at(1.1)
    assert stage.line.asked == 2


def test_a_missing_file_is_told_and_asked_for_again() -> None:
    stage = Stage(CountingGrant(secret=""))
    stage.at(0.0)
    assert (stage.line.asked, stage.problem) == (0, "the key k of Secret s is missing")
    stage.grant.secret = SECRET
    stage.at(0.1)
    assert stage.line.asked == 1


def test_a_refused_token_is_fetched_anew_once_for_all_who_tried_it() -> None:
    stage = Stage()
    stage.begin()
    stage.at(100.0)
    heard: list[int] = []
    for number in range(1000):
        assert stage.source.other_than("token-1", 100.0) is None
        assert stage.source.pending
        stage.source.wait(lambda number=number: heard.append(number))  # type: ignore[misc]
    assert (stage.line.asked, heard) == (2, [])
    stage.line.answer(b"token-2")
    assert (len(heard), stage.source.value) == (1000, "token-2")
    assert stage.source.other_than("token-1", 101.0) == "token-2"
    assert stage.line.asked == 2


def test_a_provider_that_refuses_every_token_does_not_cause_a_storm() -> None:
    stage = Stage()
    stage.begin("token-0")
    for tenth in range(1000):
        stage.at(100.0 + tenth / 10)
        stage.source.other_than(stage.source.value, stage.now)
        if stage.line.open:
            stage.line.answer(b"token-%d" % stage.line.asked)
    assert stage.line.asked <= 2 + 100.0 / REFUSED_PAUSE_SECONDS


def test_who_waits_no_longer_is_not_told() -> None:
    stage = Stage()
    stage.at(0.0)
    heard: list[str] = []

    def first_hears() -> None:
        heard.append("first")
        second.cancel()

    first = stage.source.wait(first_hears)
    second = stage.source.wait(lambda: heard.append("second"))
    third = stage.source.wait(lambda: heard.append("third"))
    third.cancel()
    third.cancel()
    stage.line.answer(b"token-1")
    first.cancel()
    assert heard == ["first"]


def test_a_failed_forced_fetch_is_tried_again_although_the_token_is_young() -> None:
    stage = Stage()
    stage.begin()
    stage.at(100.0)
    stage.source.other_than("token-1", 100.0)
    stage.line.answer(failure="no")
    assert stage.source.fault == "Test token: no"
    stage.at(102.0)
    assert stage.line.asked == 3
    stage.line.answer(b"token-2")
    assert stage.problem == ""


@pytest.mark.parametrize(
    ("jump", "value", "asked"),
    [
        pytest.param(7200.0, None, 2, id="forward over its end, as after sleep: it is gone and asked for at once"),
        pytest.param(-7200.0, "token-1", 1, id="back: the provider will say when it has expired"),
    ],
)
def test_the_clock_jumps(jump: float, value: str | None, asked: int) -> None:
    stage = Stage()
    stage.begin()
    stage.at(10.0, jump=jump)
    assert (stage.source.value, stage.line.asked) == (value, asked)


def test_life_counts_from_the_question_not_from_the_answer() -> None:
    stage = Stage()
    stage.at(0.0)
    stage.at(30.0)
    stage.line.answer(b"token-1")
    assert stage.source.tokens()[0].expires_at == "2023-11-14T23:13:20+00:00"


def test_a_token_that_comes_too_late_is_a_failure() -> None:
    stage = Stage(CountingGrant(life=10.0))
    stage.at(0.0)
    stage.at(11.0)
    stage.line.answer(b"token-1")
    assert (stage.source.value, stage.source.ready) == (None, False)
    assert "clock" in stage.problem


def test_tokens_of_a_moment_are_not_asked_for_all_the_time() -> None:
    stage = Stage(CountingGrant(life=0.1))
    for hundredth in range(1000):
        stage.at(hundredth / 100)
        if stage.line.open:
            stage.line.answer(b"token")
    assert stage.line.asked <= 11


def test_several_steps_lead_to_one_token() -> None:
    stage = Stage(CountingGrant(steps=3))
    stage.at(0.0)
    for step in (1, 2, 3):
        assert stage.line.open[0].request.body == b"step %d" % step
        stage.line.answer(b"token-%d" % step)
    assert stage.source.value == "token-3"


def test_steps_without_end_are_ended() -> None:
    stage = Stage(CountingGrant(steps=1000))
    stage.at(0.0)
    while stage.line.open:
        stage.line.answer(b"on")
    assert (stage.source.pending, stage.line.asked) == (False, 4)
    assert "did not lead to a token" in stage.problem


def test_a_fault_of_the_grant_is_a_failure_that_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    stage.at(0.0)
    stage.line.answer(failure="bug")
    assert stage.problem == "a fault in this program, see the proxy's log"
    assert "KeyError" in caplog.text
    assert SECRET not in caplog.text
    assert not stage.source.pending


def test_secrets_are_known_the_former_token_included() -> None:
    stage = Stage()
    stage.begin()
    stage.at(3300.0)
    stage.line.answer(b"token-2")
    assert set(stage.source.known_values()) == {"token-1", "token-2", SECRET}


def test_words_of_the_service_are_told_without_secrets() -> None:
    stage = Stage()
    stage.begin()
    stage.at(3300.0)
    stage.line.answer(failure=f"who are you, {SECRET} with assertion-canary\r\nand token-1\0")
    assert stage.problem == "who are you, [redacted] with [redacted] and [redacted]"


def test_words_that_are_cut_amid_a_secret_tell_no_part_of_it() -> None:
    stage = Stage()
    stage.at(0.0)
    stage.line.refuse(f"who are you, {SECRET}".encode())
    assert stage.problem == "who are you, [redact"


def test_what_a_loop_may_log_of_callbacks_shows_no_secret() -> None:
    request = TokenRequest(
        "POST", f"https://tokens.example/?key={SECRET}", (("authorization", SECRET),), SECRET.encode()
    )
    fetched = Fetched(SECRET, 0.0, (SECRET,))
    shown = repr((Ask(request, print, (SECRET,)), fetched, TokenAnswer(200, SECRET.encode())))
    assert SECRET not in shown


def test_words_are_one_line_of_bounded_length() -> None:
    told = scrubbed("a\x1b[31m\n" + "b" * 5000, ())
    assert told.isprintable()
    assert len(told) == LONGEST_WORDS


def test_what_is_reported_of_a_token() -> None:
    stage = Stage()
    stage.begin()
    stage.at(3300.0)
    stage.line.answer(failure="no")
    (report,) = stage.source.tokens()
    assert report.name == "Test token"
    assert (report.fetched_at, report.expires_at) == ("2023-11-14T22:13:20+00:00", "2023-11-14T23:13:20+00:00")
    assert (report.fetches, report.failures, report.problem) == (2, 1, "no")


def test_a_life_without_measure_is_cut() -> None:
    stage = Stage(CountingGrant(life=1e18))
    stage.begin()
    assert stage.source.tokens()[0].expires_at == "2023-11-21T22:13:20+00:00"
    stage.at(7 * 86400.0)
    assert stage.source.value is None


def test_a_problem_is_logged_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    stage = Stage()
    for second in (0.0, 10.0, 100.0):
        stage.at(second)
        stage.line.answer(failure=f"no {SECRET}")
    stage.at(1000.0)
    stage.line.answer(b"token-1")
    assert [record.getMessage() for record in caplog.records] == [
        "Test token: no [redacted]",
        "Test token: it could be fetched again",
    ]
