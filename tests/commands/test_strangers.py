"""What a command says of an answer that no service of ours would give, and of one that says: not now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.commands.conftest import Command
from tests.world import BARE

PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"
GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
LIMITED = (
    b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 46\r\n\r\n"
    b'{"code": "rate_limited", "detail": "too soon"}'
)
EMPTY = b'HTTP/1.1 200 OK\r\nContent-Length: 34\r\n\r\n{"items": [], "next_cursor": null}'


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[str]:
    """The address of a server that gives these answers, each on a connection of its own; the last again and again."""
    left: Iterator[bytes] = iter(answers)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(next(left, answers[-1]))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def at(folder: Path, url: str) -> Command:
    return Command(folder, {**BARE, "RECORDING_STATUS_URL": url})


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (PAGE, 2, "answered 200, not as this service does (check the address)"),
        (GATEWAY, 2, "answered 502 (something between here and the service?)"),
        (LIMITED, 2, "not now: too soon"),
        (b"", 2, "broke: Server disconnected without sending a response."),
        (b"\x00garbage", 2, "broke: "),
    ],
    ids=["another page", "a gateway's fault", "too soon", "nothing", "garbage"],
)
async def test_an_answer_of_no_use_is_told_in_one_line(tmp_path: Path, answer: bytes, code: int, said: str) -> None:
    async with answering(answer) as url:
        ran = await at(tmp_path, url)("tasks", "list")
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.said
    assert ran.said.count("\n") == 1


async def test_an_export_tries_again_when_it_was_told_to_wait(tmp_path: Path) -> None:
    async with answering(LIMITED, GATEWAY, EMPTY) as url:
        ran = await at(tmp_path, url)("export", "tasks")
    assert ran.code == 0, ran.said


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\n", "is empty"), ("schlüssel".encode(), "characters that no key has"), (b"\xff", "not text")],
)
async def test_a_file_that_holds_no_key_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "key").write_bytes(content)
    ran = await at(tmp_path, "http://127.0.0.1:9")("tasks", "list", "--key-file", "key")
    assert ran.code != 0
    assert said in ran.said


async def test_what_is_no_address_is_told(tmp_path: Path) -> None:
    ran = await at(tmp_path, "http://[::1")("tasks", "list")
    assert ran.code != 0
    assert "is no address" in ran.said
