"""A deliverer in a process of its own that kills itself before what it would do next to the database or the network.

Python starts once: `python -m tests.dying` reads orders from its standard input and forks a child for each, which is
warm at once. Nothing of the app is replaced in it. What dies is what the app stands on: each statement and commit of
SQLite, and each connect, send and receive of a socket, to PostgreSQL and to subscribers alike.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from ipaddress import ip_network
from itertools import count
from pathlib import Path
from typing import Any

from app.core.targets import Rules
from app.outgoing.sender import Sender, trusting_context
from app.secret_box import SecretBox
from app.store.engine import Database
from app.tracking.posting import Post
from app.tracking.webhooks import Webhooks
from tests.world import HandClock


@dataclass(frozen=True, slots=True)
class Order:
    """Deliver what is due to this port, and die before the step of this number; the first is 0."""

    database_url: str
    port: int
    now: datetime
    step: int


class Deliverers:
    """Processes that deliver, one after the other."""

    def __init__(self, forking: subprocess.Popen[bytes]) -> None:
        self._forking = forking

    async def deliver(self, order: Order) -> bool:
        """Whether it was killed; False: it got through."""
        return await asyncio.to_thread(self._deliver, order)

    def _deliver(self, order: Order) -> bool:
        orders, ends = self._forking.stdin, self._forking.stdout
        assert orders
        assert ends
        pickle.dump(order, orders)
        orders.flush()
        end = int(ends.readline())
        assert end in (0, -signal.SIGKILL), f"it ended by itself: {end}"
        return end != 0


@contextmanager
def open_deliverers() -> Iterator[Deliverers]:
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "tests.dying"]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as forking:
        yield Deliverers(forking)


# -- in the processes that die


class Steps:
    """Counts what a process does to the world, from when it is told to, and kills it before the step of a number."""

    def __init__(self) -> None:
        self._numbers = count()
        self._last: int | None = None

    def die_before(self, number: int) -> None:
        self._last = number

    def take(self) -> None:
        if self._last is not None and next(self._numbers) == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


STEPS = Steps()


class DyingSocket(socket.socket):
    """``outside``: it leads out of this process; an event loop has sockets to wake itself, too."""

    outside = False

    def connect(self, *given: Any) -> None:
        self.outside = True
        STEPS.take()
        super().connect(*given)

    def send(self, *given: Any) -> int:
        if self.outside:
            STEPS.take()
        return super().send(*given)

    def recv(self, *given: Any) -> bytes:
        if self.outside:
            STEPS.take()
        return super().recv(*given)


class DyingConnection(sqlite3.Connection):
    def execute(self, *given: Any) -> sqlite3.Cursor:
        STEPS.take()
        return super().execute(*given)

    def executemany(self, *given: Any) -> sqlite3.Cursor:
        STEPS.take()
        return super().executemany(*given)

    def commit(self) -> None:
        STEPS.take()
        super().commit()


class OwnClock(HandClock):
    """Its tokens are no other process's."""

    def token(self) -> str:
        return secrets.token_hex(8)


TLS = trusting_context()
"""Made once: it takes longer than all the rest."""


async def _deliver(order: Order) -> None:
    clock, rules = OwnClock(order.now), Rules(True, (ip_network("127.0.0.0/8"),), frozenset({order.port}))
    database = Database(order.database_url, clock)
    post = Post(Sender(rules, clock=clock, tls=TLS), SecretBox.of(None, on_loopback=True), clock)
    STEPS.die_before(order.step)
    await Webhooks(database, clock, post).run_once()
    await database.close()


def _orders() -> Iterator[Order]:
    with suppress(EOFError):
        while True:
            yield pickle.load(sys.stdin.buffer)


def _live(order: Order) -> None:
    signal.alarm(30)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    socket.socket = DyingSocket  # type: ignore[misc]
    sqlite3.connect = partial(sqlite3.connect, factory=DyingConnection)  # type: ignore[assignment]
    asyncio.run(_deliver(order))


def main() -> None:
    """Carry out orders until there are none, and say how each process ended."""
    for order in _orders():
        child = os.fork()
        if not child:
            _live(order)
            break
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
