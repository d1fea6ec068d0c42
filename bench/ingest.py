"""Callbacks at full load measured: the real service takes them in while its poller is saturated.

For every row the simulator and the service are programs of their own; this one sends the callbacks. When each is to be
sent is fixed in advance, and how long it took counts from then, so that a slow answer cannot hide those behind it.
Exit code 1 if the 99th percentile is above 50 ms, if anything was answered by other than 200, if a callback that was
answered is not listed afterwards or with another verdict than it should be, if more than 10 calls arrived at the
provider in any second, or if the poller was not saturated, so that the row tells nothing.
"""

from __future__ import annotations

import asyncio
import random
import re
import secrets
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import httpx

from app.provider.simulator import DESCRIBE, LIST, Callback, Event
from bench import world
from bench.report import command_line, machine, quantile, run
from bench.world import APP_ID, DATABASES, Latency, Postgres, Provider, Result, Service, Stage

MOST_MS = 50.0
"""The 99th percentile of the time from when a callback was to be sent until it was answered."""

LIMIT = 10
"""Calls of one action that may arrive in any second."""

SATURATED = 9.0
"""Calls/s at the provider; with this round trip 9.5 are possible."""

LATENCY = Latency(0.05)
TASKS = 1000
WARM_UP = 3.0
CALLBACK_SECRET = "callback-secret-of-the-benchmark"


# -- what is sent

KINDS = (
    (Event.COMPLETED, None),
    (Event.STOPPED, None),
    (Event.ROOM_EMPTY, None),
    (Event.UPLOAD_FINISHED, "mp4"),
    (Event.UPLOAD_FINISHED, "jpg"),
)
KNOWN, REPEATED = 0.8, 0.01
"""The shares of callbacks about registered tasks, and of those that were sent before."""


@dataclass(frozen=True, slots=True)
class Load:
    """So many callbacks a second, for so many seconds."""

    rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Receipt:
    """What must be listed of a callback; ``sequence`` tells it from all others but its repeats."""

    sequence: int
    task_id: str
    event_type: int
    known: bool
    verdict: str


@dataclass(frozen=True, slots=True)
class Letter:
    """A callback to be sent, and what must be kept of it."""

    body: bytes
    receipt: Receipt


def letters(task_ids: Sequence[str], load: Load) -> list[Letter]:
    """Mixed callbacks, each signed for the second in which it is to be sent, from now on."""
    dice, now = random.Random(1), time.time()
    made: list[Letter] = []
    for number in range(round(load.rate * load.seconds)):
        if made and dice.random() < REPEATED:
            earlier = dice.choice(made)
            made.append(replace(earlier, receipt=replace(earlier.receipt, verdict="repeat")))
            continue
        known = dice.random() < KNOWN
        task_id = dice.choice(task_ids) if known else secrets.token_urlsafe(12)
        made.append(_letter(number, task_id, *dice.choice(KINDS), sent_at=now + number / load.rate, known=known))
    return made


def _letter(number: int, task_id: str, event: Event, file: str | None, *, sent_at: float, known: bool) -> Letter:
    detail: dict[str, object] = {"upload_status": 1, "file_info": [_file(task_id, number, file)]} if file else {}
    told = Callback(APP_ID, task_id, "room_1", sent_at, event, number, detail)
    body = told.body(CALLBACK_SECRET, str(100_000 + number), str(int(sent_at)))
    return Letter(body, Receipt(number, task_id, int(event), known, "accepted"))


def _file(task_id: str, number: int, file_format: str) -> dict[str, object]:
    file_id = f"{task_id}_room_1_user_1_stream_1_{number}.{file_format}"
    return {
        "user_id": "user_1",
        "user_name": "User 1",
        "stream_id": "stream_1",
        "file_id": file_id,
        "video_id": "",
        "file_url": f"https://bucket.example/record/{file_id}",
        "output_file_format": file_format,
        "file_size": 1_000_000,
        "duration": 60_000,
        "resolution_width": 1280,
        "resolution_height": 720,
        "media_track_type": 2,
        "begin_timestamp": 1_700_000_000_000 + number,
        "status": 3,
    }


# -- sending

CONNECTIONS = 32
PATIENCE = 10.0
"""Seconds to wait for an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a callback was answered, and the seconds from when it was to be sent and from when it was; status 0: not."""

    letter: Letter
    status: int
    since_due: float
    since_sent: float


class Connection:
    """HTTP/1.1 by hand, kept alive: the client must not take the service's processor time."""

    def __init__(self, url: httpx.URL) -> None:
        self._host, self._port = url.host, url.port
        self._head = f"POST /v1/callbacks/zego HTTP/1.1\r\nHost: {url.host}:{url.port}\r\nContent-Length: ".encode()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes) -> int:
        """The status of the answer; 0 if there was none."""
        try:
            async with asyncio.timeout(PATIENCE):
                if self._streams is None or self._streams[0].at_eof():
                    self.close()
                    self._streams = await asyncio.open_connection(self._host, self._port)
                reader, writer = self._streams
                writer.write(b"%s%d\r\n\r\n%s" % (self._head, len(body), body))
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: *(\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
        except (OSError, EOFError, TimeoutError):
            self.close()
            return 0
        return int(head.split(maxsplit=2)[1])

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def send(all_letters: Sequence[Letter], url: httpx.URL, rate: float) -> list[Answer]:
    """Send each in its time, whatever became of those before, as long as one of the connections is free."""
    loop, answers = asyncio.get_running_loop(), list[Answer]()
    begin, numbered = loop.time(), enumerate(all_letters)

    async def sender() -> None:
        connection = Connection(url)
        for number, letter in numbered:  # shared by all: each takes the next one as soon as it is free
            due = begin + number / rate
            await asyncio.sleep(due - loop.time())
            sent = loop.time()
            status = await connection.post(letter.body)
            answers.append(Answer(letter, status, loop.time() - due, loop.time() - sent))
        connection.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(sender())
    return answers


# -- a row


@dataclass(frozen=True, slots=True)
class Observed:
    """What there was to see in a row; calls at the provider and processor time while the callbacks were sent."""

    answers: list[Answer]
    kept: list[Receipt]
    calls_per_second: float
    busiest: int
    processor: float

    @property
    def others(self) -> Counter[int]:
        """Statuses other than 200."""
        return Counter(answer.status for answer in self.answers if answer.status != 200)

    @property
    def lost(self) -> int:
        """Callbacks answered with 200 that are not listed."""
        missing = Counter(one.sequence for one in self._owed) - Counter(one.sequence for one in self.kept)
        return missing.total()

    @property
    def misjudged(self) -> int:
        """Callbacks that are listed, but otherwise than they should be."""
        return (Counter(self._owed) - Counter(self.kept)).total() - self.lost

    @property
    def _owed(self) -> list[Receipt]:
        return [answer.letter.receipt for answer in self.answers if answer.status == 200]


@dataclass(frozen=True, slots=True)
class Row:
    """The service in one process on this database, with the sweep over the provider's list or without."""

    database: str
    swept: bool

    @property
    def name(self) -> str:
        return f"{self.database}{'-swept' if self.swept else ''}"

    @property
    def about(self) -> list[str]:
        return [self.database, "every 15 s" if self.swept else "off"]

    async def measure(self, stage: Stage, load: Load) -> Result:
        url = await stage.database_url(self.database, self.name)
        settings = {"ZEGO_CALLBACK_SECRET": CALLBACK_SECRET, "LOG_LEVEL": "info"}
        settings |= {} if self.swept else {"SWEEP_INTERVAL": "0"}
        async with (
            world.provider(LATENCY, stage.folder) as provider,
            world.service(1, url, provider.url, stage.folder, settings=settings) as service,
        ):
            task_ids = await provider.start_recordings(stage.tasks)
            await service.register(task_ids)
            await asyncio.sleep(WARM_UP)
            return result(await observe(provider, service, task_ids, load))


async def observe(provider: Provider, service: Service, task_ids: Sequence[str], load: Load) -> Observed:
    """Send callbacks, see what is listed of them afterwards, and stop both programs."""
    to_send = letters(task_ids, load)
    began, processor, calls = time.monotonic(), service.cpu_seconds(), (await provider.counts(DESCRIBE))["calls"]
    answers = await send(to_send, service.url, load.rate)
    calls, seconds = (await provider.counts(DESCRIBE))["calls"] - calls, time.monotonic() - began
    processor = service.cpu_seconds() - processor
    kept = [
        Receipt(one["sequence"], one["task_id"], one["event_type"], one["known"], one["verdict"])
        for one in await service.callbacks()
    ]
    await service.stop()
    busiest = max([(await provider.counts(action))["busiest_second"] for action in (DESCRIBE, LIST)])
    await provider.program.stop()
    return Observed(answers, kept, calls / seconds, busiest, processor / seconds)


# -- what it came to

HEAD: tuple[str, ...] = (
    "Database",
    "Sweep",
    "Callbacks",
    "Answered after: p50 / p95 / p99 / max",
    "Since the sending: p99",
)
HEAD += ("Not 200", "Lost", "Misjudged", "Calls/s", "Busiest second", "Processor")


def result(seen: Observed) -> Result:
    due = [answer.since_due * 1000 for answer in seen.answers]
    sent = [answer.since_sent * 1000 for answer in seen.answers]
    others = ", ".join(f"{number} of {status or 'none'}" for status, number in sorted(seen.others.items()))
    cells = [f"{len(due):,}", " / ".join(f"{quantile(due, part):.0f}" for part in (0.5, 0.95, 0.99, 1.0)) + " ms"]
    cells += [f"{quantile(sent, 0.99):.0f} ms", others or "0", str(seen.lost), str(seen.misjudged)]
    cells += [f"{seen.calls_per_second:.2f}", str(seen.busiest), f"{seen.processor:.0%}"]
    return Result(cells, faults(seen, p99=quantile(due, 0.99)))


def faults(seen: Observed, *, p99: float) -> list[str]:
    checks = {
        f"p99 {p99:.1f} ms": p99 <= MOST_MS,
        "answers other than 200": not seen.others,
        f"{seen.lost} lost": not seen.lost,
        f"{seen.misjudged} misjudged": not seen.misjudged,
        f"{seen.busiest} calls in a second": seen.busiest <= LIMIT,
        "the poller was not saturated": seen.calls_per_second >= SATURATED,
    }
    return [fault for fault, holds in checks.items() if not holds]


# -- all rows

ROWS = [Row(database, swept) for database in DATABASES for swept in (False, True)]


def markdown(load: Load, rows: Sequence[Row], results: dict[str, Result], postgres: Postgres | None) -> str:
    """The table; a result with a fault is in bold."""
    lines = [HEAD, ("---", "---", *["---:"] * (len(HEAD) - 2))]
    for row in rows:
        came = results.get(row.name, Result(["not measured"], ["not measured"]))
        cells = [f"**{cell}**" for cell in came.cells] if came.faults else came.cells
        lines.append((*row.about, *cells, *[""] * (len(HEAD) - 2 - len(cells))))
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", conditions(load, postgres)]) + "\n"


def conditions(load: Load, postgres: Postgres | None) -> str:
    """On what this was measured."""
    return (
        f"{load.rate:g} callbacks a second for {load.seconds:g} s; {TASKS} tasks due at once, round trip {LATENCY}; "
        f"{machine(postgres)}"
    )


# -- the command line


async def main() -> int:
    """The exit code."""
    parser = command_line(__doc__)
    parser.add_argument("--rate", type=float, default=100.0, help="callbacks a second (default 100)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long they are sent in each row (default 60)")
    options = parser.parse_args()
    load = Load(options.rate, options.seconds)
    return await run(options, ROWS, load, tasks=TASKS, markdown=partial(markdown, load))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
