"""The sender against real servers on loopback: what it sends, what it makes of answers, and that nobody gets inside."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Sequence
from datetime import timedelta
from email.utils import format_datetime
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from app.clock import Clock, SystemClock
from app.core.targets import Rules
from app.outgoing.answers import EXCERPT_LIMIT, Answer
from app.outgoing.sender import ANSWER_LIMIT, Resolve, Sender
from tests.clocks import FastClock
from tests.outgoing.target import OK, Target, answering, endless, listening, reset, then_silent
from tests.world import NOON, HandClock

HEADERS = {"Content-Type": "application/json", "webhook-id": "evt_1"}
BODY = b'{"type":"task.settled"}'
NAME = "hooks.example.com"


class Zone:
    """A name server: answers each question with the next of these lists of addresses, the last again and again."""

    def __init__(self, *answers: list[str] | OSError) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, name: str) -> Sequence[str]:
        self.asked.append(name)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, OSError):
            raise answer
        return answer


HERE = ["127.0.0.1"]


def sender(
    *ports: int, networks: str = "127.0.0.0/8", resolve: Resolve | None = None, clock: Clock | None = None
) -> Sender:
    rules = Rules(True, tuple(ip_network(network) for network in networks.split()), frozenset(ports))
    return Sender(rules, clock=clock or SystemClock(), resolve=resolve or Zone(HERE))


async def sent(target: Target, clock: Clock | None = None) -> Answer:
    return await sender(target.port, clock=clock).post(target.url(NAME), HEADERS, BODY)


# -- what is sent


async def test_one_post_with_the_body_as_it_is_and_the_name_as_host() -> None:
    async with listening(OK) as target:
        answer = await sender(target.port).post(target.url("Hooks.Example.com.", "/a%20b?c=é"), HEADERS, BODY)
    ((head, body),) = target.requests
    assert body == BODY
    first, *lines = head.strip().split("\r\n")
    assert first == "POST /a%20b?c=%C3%A9 HTTP/1.1"
    headers = dict(line.lower().split(": ", 1) for line in lines)
    assert len(headers) == len(lines), "no header stands there twice"
    assert headers["host"] == f"{NAME}:{target.port}"
    assert headers["content-length"] == str(len(BODY))
    assert (headers["content-type"], headers["webhook-id"]) == ("application/json", "evt_1")
    assert (answer.status_code, answer.error, answer.excerpt, answer.retry_after) == (200, None, "ok", None)
    assert answer.is_success


@pytest.mark.parametrize("body", [b"", b"\x00\xff", b"x" * 2_000_000], ids=["empty", "binary", "large"])
async def test_every_body_arrives_whole(body: bytes) -> None:
    async with listening(OK) as target:
        answer = await sender(target.port).post(target.url(NAME), HEADERS, body)
    assert answer.is_success
    assert target.requests[0][1] == body


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/")
    async with listening(OK) as target:
        assert (await sent(target)).is_success


async def test_a_header_of_ours_that_cannot_be_is_our_own_fault_and_loud() -> None:
    with pytest.raises(Exception, match="Illegal header"):
        await sender(80).post(f"http://{NAME}/", {"webhook-id": "a\r\nb: c"}, BODY)


# -- no way inside


async def test_a_name_that_turns_to_this_machine_between_attempts_is_refused_and_never_reached() -> None:
    """127.0.0.2 stands for the world, 127.0.0.1 for the inside; both listen on the same port."""
    zone = Zone(["127.0.0.2"], ["127.0.0.1"], ["127.0.0.2"])
    async with listening(OK, "127.0.0.2") as outside, listening(OK, "127.0.0.1", port=outside.port) as inside:
        guarded = sender(outside.port, networks="127.0.0.2/32", resolve=zone)
        answers = [await guarded.post(outside.url(NAME), HEADERS, BODY) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, None, 200]
    assert answers[1].error == f"refused: {NAME} has the address 127.0.0.1, which is loopback"
    assert zone.asked == [NAME] * 3
    assert (outside.connections, inside.connections) == (2, 0)


@pytest.mark.parametrize("order", [["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"]])
async def test_one_address_that_is_not_allowed_refuses_the_attempt(order: list[str]) -> None:
    async with listening(OK, "127.0.0.2") as outside, listening(OK, "127.0.0.1", port=outside.port) as inside:
        guarded = sender(outside.port, networks="127.0.0.2/32", resolve=Zone(order))
        answer = await guarded.post(outside.url(NAME), HEADERS, BODY)
    assert answer.error == f"refused: {NAME} has the address 127.0.0.1, which is loopback"
    assert (outside.connections, inside.connections) == (0, 0)


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "169.254.169.254", "100.100.100.200", "0.0.0.0", "::", "::1", "::ffff:127.0.0.1",
     "64:ff9b::7f00:1", "2002:7f00:1::", "fe80::1%lo", "fd00::1", "255.255.255.255"],
)  # fmt: skip
async def test_every_kind_of_inside_address_is_refused(address: str) -> None:
    async with listening(OK) as target:
        guarded = sender(target.port, networks="192.168.0.0/16", resolve=Zone([address]))
        answer = await guarded.post(target.url(NAME), HEADERS, BODY)
    assert answer.status_code is None
    assert (answer.error or "").startswith(f"refused: {NAME} has the address {ip_address(address)}, which is ")
    assert target.connections == 0


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}/", "http://2130706433:{}/", "http://[::ffff:127.0.0.1]:{}/",
                                 "http://user@hooks.example.com:{}/", "http://localhost:{}/",
                                 "ftp://hooks.example.com:{}/", "", "http://hooks.example.com:1/"])  # fmt: skip
async def test_the_url_is_checked_again_at_every_attempt(url: str) -> None:
    async with listening(OK) as target:
        zone = Zone(HERE)
        guarded = sender(target.port, networks="", resolve=zone)
        answer = await guarded.post(url.format(target.port), HEADERS, BODY)
    assert (answer.error or "").startswith("refused: the URL ")
    assert (target.connections, zone.asked) == (0, [])


async def test_an_allowed_address_needs_no_name_server() -> None:
    async with listening(OK) as target:
        zone = Zone(OSError("no name server"))
        answer = await sender(target.port, resolve=zone).post(target.url("127.0.0.1"), HEADERS, BODY)
    assert answer.is_success
    assert zone.asked == []


async def test_a_redirect_is_an_answer_and_not_followed() -> None:
    async with listening(OK) as elsewhere:
        redirect = f"HTTP/1.1 307 Go\r\nLocation: {elsewhere.url('127.0.0.1')}\r\nContent-Length: 0\r\n\r\n"
        async with listening(answering(redirect.encode())) as target:
            guarded = sender(target.port, elsewhere.port)
            answer = await guarded.post(target.url(NAME), HEADERS, BODY)
    assert (answer.status_code, answer.error, answer.is_success) == (307, None, False)
    assert (target.connections, elsewhere.connections) == (1, 0)


# -- no connection


async def test_an_address_that_takes_no_connection_is_followed_by_the_next() -> None:
    async with listening(OK, "127.0.0.3") as target:
        guarded = sender(target.port, resolve=Zone(["127.0.0.2", "127.0.0.2", "127.0.0.3"]))
        assert (await guarded.post(target.url(NAME), HEADERS, BODY)).is_success


async def test_refused_connections_are_told_with_their_addresses() -> None:
    async with listening(OK) as target:
        guarded = sender(target.port, resolve=Zone(["127.0.0.2", "127.0.0.3"]))
        answer = await guarded.post(target.url(NAME), HEADERS, BODY)
    assert answer.status_code is None
    assert answer.error == "no connection to 127.0.0.2: connection refused; 127.0.0.3: connection refused"
    assert answer.excerpt is None


@pytest.mark.parametrize(
    ("found", "error"),
    [
        (socket.gaierror(-2, "Name or service not known"), f"the name {NAME} cannot be looked up: Name or service"),
        ([], f"the name {NAME} has no address"),
        (["nonsense"], f"the name {NAME} cannot be looked up: 'nonsense'"),
    ],
)
async def test_a_name_without_addresses_is_told(found: Any, error: str) -> None:
    answer = await sender(80, resolve=Zone(found)).post(f"http://{NAME}/", HEADERS, BODY)
    assert (answer.error or "").startswith(error)


async def test_connecting_takes_5_seconds_at_most() -> None:
    """An accept queue that is full lets further connections hang, as a firewall that drops does."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        first.connect(("127.0.0.1", port))
        second.setblocking(False)
        second.connect_ex(("127.0.0.1", port))
        answer = await sender(port, clock=FastClock(20)).post(f"http://{NAME}:{port}/", HEADERS, BODY)
    assert answer.status_code is None
    assert answer.error in ("no connection within 5 s", "no connection to 127.0.0.1: timed out")
    assert 4900 <= answer.duration_ms <= 8000


async def test_a_silent_name_server_counts_as_time_to_connect() -> None:
    async def silent(name: str) -> Sequence[str]:
        await asyncio.sleep(60)
        return HERE

    answer = await sender(80, resolve=silent, clock=FastClock(50)).post(f"http://{NAME}/", HEADERS, BODY)
    assert answer.error == "no connection within 5 s"


# -- answers of all kinds

FLOOD = b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (number, b"y" * 100) for number in range(1000)) + b"\r\n"

STRANGE = {
    "closed": (answering(b""), None, "the connection was closed without an answer"),
    "closed within the head": (answering(b"HTTP/1.1 200 OK\r\nX: "), None, "the connection was closed"),
    "reset": (reset, None, "the connection broke: connection reset"),
    "garbage": (answering(b"\x16\x03\x01 this is no HTTP\r\n\r\n"), None, "the answer is no HTTP/1.1: "),
    "another protocol": (answering(b"SSH-2.0-OpenSSH_9.9\r\n"), None, "the "),
    "a status of words": (answering(b"HTTP/1.1 fine OK\r\n\r\n"), None, "the answer is no HTTP/1.1: "),
    "two lengths": (
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), None, "the answer is no"),
    "an upgrade": (answering(b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), None, "the "),
    "a flood of headers": (answering(FLOOD), None, "more than 16 KiB of headers"),
    "an endless header": (endless(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 4096), None, "more than 16 KiB of headers"),
    "endless preliminary answers": (
        endless(b"", b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" * 100), None, "more than 16 KiB of headers"),
    "a body that breaks off": (
        answering(b"HTTP/1.1 500 No\r\nContent-Length: 99\r\n\r\nhalf"), 500, "the answer is no HTTP/1.1: "),
    "chunks that break off": (
        answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz"), 200, "the answer is no"),
}  # fmt: skip


@pytest.mark.parametrize(("behave", "status", "error"), STRANGE.values(), ids=STRANGE)
async def test_strange_answers_are_told_in_a_sentence(behave: Any, status: int | None, error: str) -> None:
    async with listening(behave) as target:
        answer = await sent(target)
        await target.all_left()
    assert answer.status_code == status
    assert (answer.error or "").startswith(error)
    assert "\n" not in (answer.error or "")
    assert answer.excerpt == (None if status is None else "half")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", ""),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", "until the end"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", "abc"),
        (b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 201 Made\r\nContent-Length: 1\r\n\r\nx", "x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n\xff\x00a\xc3\xa9", "\ufffdaé"),
    ],
    ids=["none", "old", "chunked", "preliminary", "not all text"],
)
async def test_every_form_of_a_good_answer_is_read(answer: bytes, text: str) -> None:
    async with listening(answering(answer)) as target:
        told = await sent(target)
    assert (told.error, told.is_success, told.excerpt) == (None, True, text)


async def test_of_an_endless_answer_only_the_beginning_is_taken() -> None:
    async with listening(endless(b"HTTP/1.1 200 OK\r\n\r\n", b"z" * 65536)) as target:
        answer = await sent(target)
        await target.all_left()
    assert (answer.status_code, answer.error) == (200, None)
    assert answer.excerpt == "z" * EXCERPT_LIMIT


async def test_a_body_in_drops_is_kept_as_far_as_it_came() -> None:
    async with listening(endless(b"HTTP/1.1 200 OK\r\n\r\n", b"z", 0.01)) as target:
        answer = await sent(target, FastClock(50))
        await target.all_left()
    assert (answer.status_code, answer.error) == (200, "no end of the answer within 15 s")
    assert answer.is_success, "what the target said first counts"
    assert set(answer.excerpt or "") == {"z"}


async def test_chunks_that_hold_next_to_nothing_are_not_read_for_ever() -> None:
    chunk = b"1;" + b"x" * 8000 + b"\r\nz\r\n"
    async with listening(endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk)) as target:
        answer = await sent(target)
        await target.all_left()
    assert answer.status_code == 200
    assert len(answer.excerpt or "") <= ANSWER_LIMIT // 8000 + 1


@pytest.mark.parametrize(
    ("behave", "status", "error", "excerpt"),
    [
        (then_silent(), None, "no answer within 15 s", None),
        (then_silent(b"HTTP/1.1 200 OK\r\nX:"), None, "no answer within 15 s", None),
        (then_silent(b"HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\nab"), 503, "no end of the answer within 15 s", "ab"),
        (then_silent(b"HTTP/1.1 200 OK\r\n\r\n"), 200, "no end of the answer within 15 s", ""),
        (endless(b"HTTP/1.1 200 OK\r\nX: ", b"y", 0.01), None, "no answer within 15 s", None),
    ],
    ids=["silent", "silent in the head", "silent in the body", "a body that never comes", "a head in drops"],
)
async def test_an_attempt_takes_15_seconds_at_most(
    behave: Any, status: int | None, error: str, excerpt: str | None
) -> None:
    async with listening(behave) as target:
        answer = await sent(target, FastClock(50))
        await target.all_left()
    assert (answer.status_code, answer.error, answer.excerpt) == (status, error, excerpt)
    assert 14_900 <= answer.duration_ms <= 30_000


async def test_an_answer_given_before_all_was_read_counts() -> None:
    async def hasty(target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async with listening(hasty) as target:
        answer = await sender(target.port).post(target.url(NAME), HEADERS, b"x" * 5_000_000)
        await target.all_left()
    assert (answer.status_code, answer.error) == (413, None)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("120", 120), ("0", 0), (format_datetime(NOON + timedelta(hours=1), usegmt=True), 3600), ("soon", None)],
)
async def test_retry_after_is_told_in_seconds(header: str, seconds: float | None) -> None:
    answer = f"HTTP/1.1 503 Later\r\nretry-AFTER: {header}\r\nContent-Length: 0\r\n\r\n"
    async with listening(answering(answer.encode())) as target:
        assert (await sent(target, HandClock())).retry_after == seconds


# -- many at once


async def test_hanging_targets_hold_up_nobody_else() -> None:
    async with listening(then_silent()) as hanging, listening(OK) as target:
        guarded = sender(hanging.port, target.port, clock=FastClock(10))
        stuck = [asyncio.create_task(guarded.post(hanging.url(NAME), HEADERS, BODY)) for _ in range(60)]
        async with asyncio.timeout(5):
            while hanging.connections < 60:  # noqa: ASYNC110 (nothing is told when a connection is made)
                await asyncio.sleep(0.005)
        assert (await guarded.post(target.url(NAME), HEADERS, BODY)).is_success
        assert not any(task.done() for task in stuck)
        answers = await asyncio.gather(*stuck)
        await hanging.all_left()
    assert {answer.error for answer in answers} == {"no answer within 15 s"}


async def test_an_attempt_that_is_cancelled_closes_its_connection() -> None:
    async with listening(then_silent()) as target:
        attempt = asyncio.create_task(sent(target))
        async with asyncio.timeout(5):
            while not target.requests:  # noqa: ASYNC110 (nothing is told when a request arrives)
                await asyncio.sleep(0.005)
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        await target.all_left()


async def test_attempts_at_once_do_not_mix_their_answers() -> None:
    async def echo(target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await target.read(reader)
        body = target.requests[-1][1]
        await asyncio.sleep(json.loads(body) % 7 / 1000)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    async with listening(echo) as target:
        guarded = sender(target.port)
        posts = [guarded.post(target.url(NAME), HEADERS, str(number).encode()) for number in range(100)]
        answers = await asyncio.gather(*posts)
    assert [answer.excerpt for answer in answers] == [str(number) for number in range(100)]
