"""Waiting for a look that sees what was just written."""

from __future__ import annotations

import asyncio

from model_serving.local.rounds import Rounds


async def test_a_round_under_way_may_have_begun_too_early() -> None:
    rounds = Rounds()
    with rounds.one():
        waiting = [asyncio.create_task(rounds.another(60)) for _ in range(2)]
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not any(each.done() for each in waiting)
    with rounds.one():
        pass
    await asyncio.gather(*waiting)


async def test_nobody_waits_longer_than_it_may_or_for_a_loop_that_has_ended() -> None:
    rounds = Rounds()
    await rounds.another(0.01)
    with rounds.one():
        pass
    waiting = asyncio.create_task(rounds.another(60))
    await asyncio.sleep(0)
    rounds.end()
    await waiting
    await rounds.another(60)
