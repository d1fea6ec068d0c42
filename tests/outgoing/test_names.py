"""Looking names up: the machine's own resolver, and a dead name server that holds up nobody else."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from app.outgoing.names import AT_ONCE, Names


class DeadZone:
    """Names below .dead take for ever: what a name server that drops questions does to getaddrinfo."""

    def __init__(self) -> None:
        self.end = threading.Event()
        self.asked: list[str] = []


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch) -> Iterator[DeadZone]:
    zone, real = DeadZone(), socket.getaddrinfo

    def getaddrinfo(name: str, *args: Any, **options: Any) -> Any:
        zone.asked.append(name)
        if not name.endswith(".dead"):
            return real(name, *args, **options)
        zone.end.wait(20)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield zone
    zone.end.set()


async def test_names_are_looked_up_as_the_machine_does() -> None:
    assert "127.0.0.1" in await Names()("localhost")
    with pytest.raises(OSError, match="not known"):
        await Names()("no-such-name.invalid")
    with pytest.raises((OSError, UnicodeError)):
        await Names()("a" * 64 + ".example")


async def test_a_dead_name_holds_up_no_other_however_often_it_is_asked(dead: DeadZone) -> None:
    names = Names()
    waiting = [asyncio.create_task(names(f"{number % 4}.dead")) for number in range(4 * AT_ONCE)]
    async with asyncio.timeout(5):
        assert await names("localhost")
    assert not any(task.done() for task in waiting)
    assert len(dead.asked) == 4 + 1, "one name is asked for once at a time"
    dead.end.set()
    for error in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(error, socket.gaierror)


async def test_whoever_stops_waiting_leaves_the_others_theirs(dead: DeadZone) -> None:
    names = Names()
    first, second = asyncio.create_task(names("1.dead")), asyncio.create_task(names("1.dead"))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    assert first.cancelled()
    assert not second.done()
    dead.end.set()
    with pytest.raises(socket.gaierror):
        await second


async def test_each_question_is_asked_anew(dead: DeadZone) -> None:
    names = Names()
    for _ in range(3):
        await names("localhost")
    assert dead.asked == ["localhost"] * 3


def test_the_process_ends_without_waiting_for_a_name_server(dead: DeadZone) -> None:
    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await Names()("1.dead")

    asyncio.run(give_up())  # which waits for the threads of the loop's own pool
    left = [thread for thread in threading.enumerate() if thread.name == "look up 1.dead"]
    assert [thread.daemon for thread in left] == [True]
