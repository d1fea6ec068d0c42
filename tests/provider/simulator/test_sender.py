import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.provider.simulator import CallbackCounts, Faults, Simulator, callback_signature, send_callbacks, serve
from app.provider.simulator.answers import Reply
from tests.provider.simulator.caller import APP, SECRET
from tests.provider.simulator.receiver import Receiver, listening
from tests.world import BARE

CALLBACK_SECRET = "callback-secret"
PAUSE = 0.15
TASK = "A" * 16
COMMAND = str(Path(sys.executable).parent / "recording-status")


@pytest.fixture
def simulator() -> Simulator:
    return Simulator({APP: SECRET}, callback_secrets={APP: CALLBACK_SECRET})


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with listening() as one:
        yield one


@asynccontextmanager
async def sending(simulator: Simulator, receiver: Receiver, **faults: float) -> AsyncIterator[None]:
    simulator.faults = Faults(**faults)
    async with send_callbacks(simulator, receiver.url, retry_pause=PAUSE):
        yield


async def counted(simulator: Simulator, **expected: int) -> None:
    """Wait until exactly these counts, and zeros otherwise, are reported."""
    whole: dict[str, int] = {"sent": 0, "lost": 0, "repeated": 0, "answered": 0, "given_up": 0, **expected}
    async with asyncio.timeout(5):
        while (counts := reported(simulator)) != whole:  # noqa: ASYNC110 (a count sets no event)
            await asyncio.sleep(0.005)
    assert counts == whole


def reported(simulator: Simulator) -> CallbackCounts:
    return simulator.stats()["callbacks"]


async def test_a_recording_s_life_is_told_over_the_network(simulator: Simulator, receiver: Receiver) -> None:
    task_id = simulator.start("abnormal", duration=0.2, upload=0.2)
    async with sending(simulator, receiver):
        bodies: list[Any] = [json.loads(body) for body in await receiver.has(3)]
        await counted(simulator, sent=3, answered=3)
    assert {(body["task_id"], body["event_type"], body["sequence"]) for body in bodies[:2]} == {
        (task_id, 2, 0),
        (task_id, 7, 1),
    }
    assert (bodies[2]["event_type"], bodies[2]["detail"]["upload_status"]) == (1, 1)
    for body in bodies:
        assert body["signature"] == callback_signature(CALLBACK_SECRET, body["timestamp"], body["nonce"])
        assert abs(time.time() - int(body["timestamp"])) < 5


async def test_what_is_not_answered_by_2xx_is_sent_again_unchanged_after_a_pause(
    simulator: Simulator, receiver: Receiver
) -> None:
    receiver.replies = [Reply(reset=True), Reply(302), Reply(204)]
    async with sending(simulator, receiver):
        simulator.call_back(TASK, 5)
        first, *again = await receiver.has(3)
        await counted(simulator, sent=3, answered=1)
    assert again == [first, first]
    assert all(later - earlier >= PAUSE for earlier, later in pairwise(receiver.stamps))


async def test_after_three_attempts_a_callback_is_given_up(simulator: Simulator, receiver: Receiver) -> None:
    receiver.replies = [Reply(500)] * 3
    async with sending(simulator, receiver):
        simulator.call_back(TASK, 5)
        await counted(simulator, sent=3, given_up=1)
        await asyncio.sleep(2 * PAUSE)
    assert len(receiver.bodies) == 3


async def test_nobody_listening_is_no_answer(simulator: Simulator) -> None:
    async with send_callbacks(simulator, "http://127.0.0.1:9/", retry_pause=0.01):
        simulator.call_back(TASK, 5)
        await counted(simulator, sent=3, given_up=1)


async def test_a_callback_waiting_for_its_next_attempt_holds_up_no_other(
    simulator: Simulator, receiver: Receiver
) -> None:
    receiver.replies = [Reply(500)]
    async with send_callbacks(simulator, receiver.url, retry_pause=60):
        simulator.call_back(TASK, 5)
        await receiver.has(1)
        simulator.call_back(TASK, 7)
        await receiver.has(2)
        await counted(simulator, sent=2, answered=1)


async def test_a_lost_callback_is_never_sent(simulator: Simulator, receiver: Receiver) -> None:
    async with sending(simulator, receiver, callback_lost=1):
        simulator.call_back(TASK, 5)
        await counted(simulator, lost=1)
        simulator.faults = Faults()
        simulator.call_back(TASK, 7)
        (body,) = await receiver.has(1)
    assert json.loads(body)["event_type"] == 7


async def test_a_repeated_callback_is_sent_twice_with_the_same_body(simulator: Simulator, receiver: Receiver) -> None:
    async with sending(simulator, receiver, callback_repeated=1):
        simulator.call_back(TASK, 5)
        await counted(simulator, sent=2, repeated=1, answered=2)
    first, second = receiver.bodies
    assert first == second


async def test_a_delayed_callback_is_overtaken_and_dated_when_it_is_sent(
    simulator: Simulator, receiver: Receiver
) -> None:
    async with sending(simulator, receiver, callback_delay=1.1):
        simulator.call_back(TASK, 5)
        due = int(time.time())
        await asyncio.sleep(0.2)
        simulator.faults = Faults()
        simulator.call_back(TASK, 7)
        bodies = [json.loads(body) for body in await receiver.has(2)]
    assert [body["event_type"] for body in bodies] == [7, 5]
    assert int(bodies[1]["timestamp"]) > due


async def test_many_callbacks_at_once_all_arrive(simulator: Simulator, receiver: Receiver) -> None:
    for number in range(100):
        simulator.call_back(TASK, 5, sequence=number)
    async with sending(simulator, receiver):
        await counted(simulator, sent=100, answered=100)
    assert {json.loads(body)["sequence"] for body in receiver.bodies} == set(range(100))


async def test_after_the_context_nothing_is_sent_any_more(simulator: Simulator, receiver: Receiver) -> None:
    async with sending(simulator, receiver):
        pass
    simulator.call_back(TASK, 5)
    await asyncio.sleep(0.2)
    assert receiver.bodies == []


async def test_a_served_simulator_sends_what_its_control_route_is_given(
    simulator: Simulator, receiver: Receiver
) -> None:
    async with (
        serve(simulator, callback_url=receiver.url) as server,
        httpx.AsyncClient(base_url=server.url, trust_env=False) as client,
    ):
        given = {"task_id": "\ud800", "event_type": 4711, "detail": {"new": [None]}}
        answer = await client.post("/simulator/callbacks", content=json.dumps(given))
        (body,) = await receiver.has(1)
        await counted(simulator, sent=1, answered=1)
        stats = (await client.post("/simulator/stats/reset")).json()
    assert answer.status_code == 202
    assert given.items() <= json.loads(body).items()
    assert set(stats["callbacks"].values()) == {0}


@pytest.mark.parametrize(
    "url",
    ["http://example.com/", "http://0.0.0.0/", "http://10.0.0.1:80/", "ftp://127.0.0.1/", "callbacks", "http://["],
)
async def test_callbacks_are_sent_to_loopback_only(simulator: Simulator, url: str) -> None:
    with pytest.raises(ValueError, match="callbacks"):
        await serve(simulator, callback_url=url).__aenter__()


async def test_the_command_sends_callbacks_to_the_url_it_was_given(receiver: Receiver) -> None:
    options = ["--port", "0", "--start", "normal", "--speed", "100", "--callback-secret", CALLBACK_SECRET]
    process = await simulate(*options, "--callback-url", receiver.url)
    try:
        bodies = [json.loads(body) for body in await receiver.has(3, within=20)]
    finally:
        process.terminate()
        await process.communicate()
    assert {body["event_type"] for body in bodies} == {1, 5, 7}
    for body in bodies:
        assert body["signature"] == callback_signature(CALLBACK_SECRET, body["timestamp"], body["nonce"])


async def test_the_command_refuses_a_url_elsewhere() -> None:
    process = await simulate("--port", "0", "--callback-url", "http://example.com/")
    _, said = await process.communicate()
    assert (process.returncode, b"loopback" in said) == (2, True)


async def simulate(*options: str) -> asyncio.subprocess.Process:
    environment = {**BARE}
    return await asyncio.create_subprocess_exec(
        COMMAND, "simulate", *options, stdout=PIPE, stderr=PIPE, env=environment
    )
