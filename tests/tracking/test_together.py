"""What many want at the same time, done at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

import pytest

from app.errors import DatabaseUnavailable
from app.tracking import together
from app.tracking.together import Together


class Doubler:
    """Doubles numbers, when it may; not those that are ``bad``. Opens when it ``may_open``; ``closing``: what then
    goes wrong at the end."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.may_open, self.may = asyncio.Event(), asyncio.Event()
        self.may_open.set()
        self.bad: dict[int, Exception] = {}
        self.opening: Exception | None = None
        self.closing: list[Exception] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        await self.may_open.wait()
        if self.opening:
            raise self.opening
        yield 2
        if self.closing:
            raise self.closing.pop()

    async def __call__(self, factor: int, numbers: list[int]) -> list[int]:
        self.seen.append(numbers)
        await self.may.wait()
        for number in numbers:
            if number in self.bad:
                raise self.bad[number]
        return [factor * number for number in numbers]


@pytest.fixture
def doubler() -> Doubler:
    return Doubler()


@pytest.fixture
def doubles(doubler: Doubler) -> Together[int, int, int]:
    return Together(doubler.open, doubler, most=3)


async def wish(doubles: Together[int, int, int], *numbers: int) -> list[asyncio.Task[int]]:
    wished = [asyncio.create_task(doubles(number)) for number in numbers]
    await asyncio.sleep(0.01)
    return wished


async def test_what_is_wanted_while_others_are_seen_to_is_done_at_once(
    doubler: Doubler, doubles: Together[int, int, int]
) -> None:
    first = await wish(doubles, 1)
    others = await wish(doubles, 1, 2, 3, 4)
    doubler.may.set()
    assert await asyncio.gather(*first, *others) == [2, 2, 4, 6, 8]
    assert doubler.seen == [[1], [1, 2, 3], [4]]  # 1 again: what was wanted later is not answered from before


async def test_who_comes_until_it_is_open_is_seen_to_as_well(
    doubler: Doubler, doubles: Together[int, int, int]
) -> None:
    doubler.may_open.clear()
    doubler.may.set()
    first = await wish(doubles, 1)
    second = await wish(doubles, 2)
    doubler.may_open.set()
    assert await asyncio.gather(*first, *second) == [2, 4]
    assert doubler.seen == [[1, 2]]


async def test_one_that_fails_takes_no_other_with_it(doubler: Doubler, doubles: Together[int, int, int]) -> None:
    doubler.bad[2] = ValueError("no")
    first = await wish(doubles, 0)
    others = await wish(doubles, 1, 2, 3)
    doubler.may.set()
    assert await asyncio.gather(*first, *others, return_exceptions=True) == [0, 2, doubler.bad[2], 6]


async def test_nobody_is_told_before_the_end_went_well(doubler: Doubler, doubles: Together[int, int, int]) -> None:
    doubler.may.set()
    doubler.closing = [ValueError("alone"), ValueError("together")]
    came = await asyncio.gather(*await wish(doubles, 1, 2), return_exceptions=True)
    assert [repr(one) for one in came] == ["ValueError('alone')", "4"]
    assert doubler.seen == [[1, 2], [1], [2]]


async def test_while_the_database_is_away_nobody_is_tried_alone(
    doubler: Doubler, doubles: Together[int, int, int]
) -> None:
    doubler.bad[2] = DatabaseUnavailable("gone")
    first = await wish(doubles, 0)
    others = await wish(doubles, 1, 2)
    doubler.may.set()
    assert await asyncio.gather(*first, *others, return_exceptions=True) == [0, doubler.bad[2], doubler.bad[2]]
    assert doubler.seen == [[0], [1, 2]]
    doubler.bad.clear()
    assert await doubles(2) == 4


async def test_all_who_wait_are_told_that_it_did_not_open(doubler: Doubler, doubles: Together[int, int, int]) -> None:
    doubler.opening = DatabaseUnavailable("gone")
    came = await asyncio.gather(*await wish(doubles, 1, 2, 3, 4), return_exceptions=True)
    assert came == [doubler.opening] * 4
    assert doubler.seen == []


async def test_a_caller_who_gives_up_takes_nothing_back(doubler: Doubler, doubles: Together[int, int, int]) -> None:
    gone, stays = await wish(doubles, 1, 2)
    gone.cancel()
    doubler.may.set()
    assert await stays == 4
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert doubler.seen == [[1, 2]]


async def test_who_was_told_may_come_again_before_those_who_wait_are_seen_to(
    doubler: Doubler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "PATIENCE", 60)
    doubles = Together(doubler.open, doubler, most=3, patient=True)
    first = await wish(doubles, 1)
    second = await wish(doubles, 2)
    doubler.may.set()
    assert await asyncio.gather(*first) == [2]
    assert not second[0].done()
    assert await asyncio.gather(*second, *await wish(doubles, 3)) == [4, 6]
    assert doubler.seen == [[1], [2, 3]]


async def test_but_not_for_long(doubler: Doubler) -> None:
    doubles = Together(doubler.open, doubler, most=3, patient=True)
    both = await wish(doubles, 1) + await wish(doubles, 2)
    doubler.may.set()
    assert await asyncio.wait_for(asyncio.gather(*both), 5) == [2, 4]
    assert doubler.seen == [[1], [2]]


async def test_who_is_alone_is_seen_to_in_the_own_context(doubler: Doubler) -> None:
    request: ContextVar[str] = ContextVar("request", default="nobody's")
    seen: list[str] = []

    async def note(factor: int, numbers: list[int]) -> list[int]:
        seen.append(request.get())
        return await doubler(factor, numbers)

    doubles = Together(doubler.open, note, most=3)
    request.set("mine")
    first = await wish(doubles, 1)
    others = await wish(doubles, 2, 3)
    doubler.may.set()
    assert await asyncio.gather(*first, *others) == [2, 4, 6]
    assert seen == ["mine", "nobody's"]


async def test_nobody_is_left_waiting_who_comes_just_when_the_others_are_done() -> None:
    @asynccontextmanager
    async def nothing() -> AsyncIterator[None]:
        yield

    async def double(_: None, numbers: list[int]) -> list[int]:
        await asyncio.sleep(0)
        return [2 * number for number in numbers]

    for steps in range(12):  # one of them is the last step of the first wish
        doubles = Together(nothing, double, most=3)
        first = asyncio.create_task(doubles(1))
        for _ in range(steps):
            await asyncio.sleep(0)
        assert await asyncio.wait_for(doubles(2), 1) == 4
        assert await first == 2
