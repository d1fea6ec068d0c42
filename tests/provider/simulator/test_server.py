import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from app.provider.simulator import Faults, Server, Simulator, serve
from tests.provider.simulator.caller import APP, SECRET, Caller, Clock

PROGRAM = f"""
from app.provider.simulator import Simulator, run
run(Simulator({{{APP}: {SECRET!r}}}), report=lambda line: print(line, flush=True))
"""


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serve(Simulator({APP: SECRET})) as listening:
        yield listening


@pytest.fixture
def caller(server: Server) -> Caller:
    return Caller(server.simulator, Clock(time.time()))


@pytest.fixture
async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=5) as open_client:
        yield open_client


async def post(client: httpx.AsyncClient, caller: Caller, task_id: str = "A" * 16) -> httpx.Response:
    """Ask for one task over the network."""
    return await client.post("/", params=caller.query(), json={"TaskId": task_id})


async def speak(server: Server, sent: bytes) -> bytes:
    """Send bytes as they are and return all that comes back until the server closes."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(sent)
    answer = await asyncio.wait_for(reader.read(), 2)
    writer.close()
    return answer


async def test_a_task_is_described_over_the_network(client: httpx.AsyncClient, caller: Caller) -> None:
    answer = await post(client, caller, caller.simulator.start())
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["Data"]["Status"] == 1


async def test_connections_are_kept_alive(server: Server, caller: Caller) -> None:
    request = b"GET /simulator/faults HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /simulator/faults HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert (await speak(server, request * 2 + last)).count(b"HTTP/1.1 200 ") == 3


async def test_a_reset_reaches_the_client_as_a_reset(server: Server, caller: Caller) -> None:
    server.simulator.faults = Faults(reset=1)
    with pytest.raises(ConnectionResetError):
        await speak(server, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")


async def test_a_hanging_call_is_never_answered_but_counted(client: httpx.AsyncClient, caller: Caller) -> None:
    caller.simulator.faults = Faults(hang=1)
    with pytest.raises(httpx.ReadTimeout):
        await client.post("/", params=caller.query(), json={}, timeout=0.1)
    assert len(caller.simulator.arrivals(APP)) == 1
    caller.simulator.faults = Faults()
    assert (await post(client, caller)).json()["Code"] == 300001000


async def test_closing_breaks_hanging_calls_off(client: httpx.AsyncClient, caller: Caller, server: Server) -> None:
    caller.simulator.faults = Faults(hang=1)
    hanging = asyncio.create_task(post(client, caller))
    while not caller.simulator.arrivals(APP):  # noqa: ASYNC110 (an arrival sets no event)
        await asyncio.sleep(0.005)
    await asyncio.wait_for(server.close(), 2)
    with pytest.raises(httpx.TransportError):
        await hanging


async def test_the_round_trip_lies_half_before_the_arrival_and_half_after(
    client: httpx.AsyncClient, caller: Caller
) -> None:
    await post(client, caller)
    caller.simulator.faults = Faults(rtt=0.16)
    sent = time.monotonic()
    await post(client, caller)
    received, arrived = time.monotonic(), caller.simulator.arrivals(APP)[-1]
    assert arrived - sent >= 0.079
    assert received - arrived >= 0.079


async def test_a_call_whose_client_gave_up_still_arrives(client: httpx.AsyncClient, caller: Caller) -> None:
    caller.simulator.faults = Faults(rtt=0.4)
    with pytest.raises(httpx.ReadTimeout):
        await client.post("/", params=caller.query(), json={}, timeout=0.03)
    assert not caller.simulator.arrivals(APP)
    await asyncio.sleep(0.2)
    assert len(caller.simulator.arrivals(APP)) == 1


async def test_clients_that_hang_up_halfway_do_no_harm(server: Server, client: httpx.AsyncClient) -> None:
    for sent in (b"", b"POST / HT", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"):
        _, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(sent)
        writer.close()
    assert (await client.get("/simulator")).status_code == 200


async def test_what_is_not_http_gets_400(server: Server) -> None:
    assert (await speak(server, b"\x16\x03\x01 hello\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


async def test_a_body_over_one_mebibyte_gets_413(client: httpx.AsyncClient) -> None:
    answer = await client.post("/", content=b"x" * (3 << 20))
    assert answer.status_code == 413
    assert (await client.post("/", content=b"x" * (1 << 20))).status_code == 200


async def test_a_client_that_waits_for_100_continue_is_told_to_go_on(server: Server) -> None:
    head = b"POST /simulator/stats/reset HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(head + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 100 ")
    writer.write(b"{}")
    assert b"HTTP/1.1 200 " in await reader.read()
    writer.close()


async def test_a_head_request_gets_no_body(client: httpx.AsyncClient) -> None:
    answer = await client.head("/simulator")
    assert (answer.status_code, answer.content) == (405, b"")


async def test_many_calls_at_once_are_served(client: httpx.AsyncClient, caller: Caller) -> None:
    answers = await asyncio.gather(*(post(client, caller) for _ in range(100)))
    codes = [answer.json()["Code"] for answer in answers]
    assert codes.count(300001000) >= 10
    assert set(codes) <= {300001000, 300000003}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])
async def test_it_refuses_to_listen_on_anything_but_loopback(host: str) -> None:
    with pytest.raises(ValueError, match="loopback"):
        Server(Simulator({APP: SECRET}), host)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_every_loopback_address_will_do(host: str) -> None:
    assert Server(Simulator({APP: SECRET}), host).url.startswith("http://")


async def test_a_taken_port_is_an_error(server: Server) -> None:
    with pytest.raises(OSError, match="in use"):
        await Server(server.simulator, server.host).open(server.port)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_running_ends_cleanly_on_a_signal(number: signal.Signals) -> None:
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, env=environment
    ) as program:
        assert program.stdout is not None
        url = httpx.URL(program.stdout.readline().split()[5])
        with socket.create_connection((url.host, url.port or 0)):
            program.send_signal(number)
            assert program.wait(5) == 0
        assert "stopped" in program.stdout.read()
