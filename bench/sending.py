"""Attempts a second that one process's sender alone makes, to a sink on loopback in another process.

    .venv/bin/python -m bench.sending [--tls] [--attempts 5000] [--at-once 40]

CPU a call is the sender's process alone; the sink has a core of its own where there are two.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import multiprocessing
import ssl
import statistics
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import trustme
import uvloop

from app.clock import SystemClock
from app.core.targets import Rules
from app.outgoing.sender import Sender

BODY = b'{"type":"task.settled","data":"' + b"x" * 3000 + b'"}'
HEADERS = {"Content-Type": "application/json", "webhook-id": "evt_0123456789abcdef", "webhook-signature": "v1," * 2}


class Sink(asyncio.Protocol):
    """Answers 204 as soon as a whole request is there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._received = cast("asyncio.Transport", transport), 0

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > len(BODY) and data.endswith(b'"}'):
            self._transport.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            self._transport.close()


def serve(told: Connection, certificate: bytes | None) -> None:
    tls = _context_of(certificate) if certificate else None

    async def listen() -> None:
        server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0, ssl=tls, backlog=1000)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(listen())


def _context_of(certificate: bytes) -> ssl.SSLContext:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(certificate)
        tls.load_cert_chain(file.name)
    return tls


async def measure(port: int, tls: ssl.SSLContext | None, attempts: int, at_once: int) -> None:
    rules = Rules(True, (ipaddress.ip_network("127.0.0.0/8"),), frozenset({port}))

    async def resolve(name: str) -> Sequence[str]:
        return ["127.0.0.1"]

    sender = Sender(rules, clock=SystemClock(), resolve=resolve, tls=tls)
    url = f"{'https' if tls else 'http'}://sink.example:{port}/hook"
    took: list[float] = []
    numbers = iter(range(attempts))

    async def work() -> None:
        for _ in numbers:
            began = time.perf_counter()
            answer = await sender.post(url, HEADERS, BODY)
            took.append(time.perf_counter() - began)
            assert answer.is_success, answer

    began, cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    quantiles = statistics.quantiles(took, n=100)
    print(
        f"{'https' if tls else 'http':5}  {attempts / seconds:6.0f}/s  {cpu / attempts * 1000:.2f} ms CPU an attempt"
        f" ({attempts / cpu:.0f}/s a core)  p50 {quantiles[49] * 1000:.1f} ms, p99 {quantiles[98] * 1000:.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--attempts", type=int, default=5000)
    parser.add_argument("--at-once", type=int, default=40)
    told = parser.parse_args()
    certificate, tls = None, None
    if told.tls:
        authority = trustme.CA()
        certificate = authority.issue_cert("sink.example").private_key_and_cert_chain_pem.bytes()
        tls = ssl.create_default_context()
        authority.configure_trust(tls)
    here, there = multiprocessing.Pipe()
    sink = multiprocessing.get_context("spawn").Process(target=serve, args=(there, certificate), daemon=True)
    sink.start()
    try:
        uvloop.run(measure(here.recv(), tls, told.attempts, told.at_once))
    finally:
        sink.terminate()


if __name__ == "__main__":
    main()
