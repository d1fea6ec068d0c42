"""What many want at the same time, done at once."""

from __future__ import annotations

import asyncio

import pytest

from app.errors import DatabaseUnavailable
from app.tracking.together import Together


class Doubler:
    """Doubles numbers, when it may; not those that are ``bad``."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.may = asyncio.Event()
        self.bad: dict[int, Exception] = {}

    async def __call__(self, numbers: list[int]) -> list[int]:
        self.seen.append(numbers)
        await self.may.wait()
        for number in numbers:
            if number in self.bad:
                raise self.bad[number]
        return [2 * number for number in numbers]


@pytest.fixture
def doubler() -> Doubler:
    return Doubler()


async def wish(doubles: Together[int, int], *numbers: int) -> list[asyncio.Task[int]]:
    wished = [asyncio.create_task(doubles(number)) for number in numbers]
    await asyncio.sleep(0.01)
    return wished


async def test_what_is_wanted_while_others_are_seen_to_is_done_at_once(doubler: Doubler) -> None:
    doubles = Together(doubler, most=3)
    first = await wish(doubles, 1)
    others = await wish(doubles, 1, 2, 3, 4)
    doubler.may.set()
    assert await asyncio.gather(*first, *others) == [2, 2, 4, 6, 8]
    assert doubler.seen == [[1], [1, 2, 3], [4]]  # 1 again: what was wanted later is not answered from before


async def test_one_that_fails_takes_no_other_with_it(doubler: Doubler) -> None:
    doubler.bad[2] = ValueError("no")
    doubles = Together(doubler, most=3)
    first = await wish(doubles, 0)
    others = await wish(doubles, 1, 2, 3)
    doubler.may.set()
    assert await asyncio.gather(*first, *others, return_exceptions=True) == [0, 2, doubler.bad[2], 6]


async def test_while_the_database_is_away_nobody_is_tried_alone(doubler: Doubler) -> None:
    doubler.bad[2] = DatabaseUnavailable("gone")
    doubles = Together(doubler, most=3)
    first = await wish(doubles, 0)
    others = await wish(doubles, 1, 2)
    doubler.may.set()
    assert await asyncio.gather(*first, *others, return_exceptions=True) == [0, doubler.bad[2], doubler.bad[2]]
    assert doubler.seen == [[0], [1, 2]]
    doubler.bad.clear()
    assert await doubles(2) == 4


async def test_a_caller_who_gives_up_takes_nothing_back(doubler: Doubler) -> None:
    doubles = Together(doubler, most=3)
    gone, stays = await wish(doubles, 1, 2)
    gone.cancel()
    doubler.may.set()
    assert await stays == 4
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert doubler.seen == [[1, 2]]


async def test_nobody_is_left_waiting_who_comes_just_when_the_others_are_done() -> None:
    async def double(numbers: list[int]) -> list[int]:
        await asyncio.sleep(0)
        return [2 * number for number in numbers]

    for steps in range(12):  # one of them is the last step of the first wish
        doubles = Together(double, most=3)
        first = asyncio.create_task(doubles(1))
        for _ in range(steps):
            await asyncio.sleep(0)
        assert await asyncio.wait_for(doubles(2), 1) == 4
        assert await first == 2
