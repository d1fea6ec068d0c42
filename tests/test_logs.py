"""The log: one line for each thing that happened, found by the ids that belong to it; silence while nothing happens."""

from __future__ import annotations

import asyncio
import json

from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from app.core.signing import callback_signature
from app.provider.simulator import Server
from app.wiring import Service, open_service, running
from tests.world import APP, HandClock, MakeSettings, open_client, register, task_id

CALLBACK_SECRET = "callback-secret-of-app-1"


def callback(service: Service, number: int, *, nonce: str = "") -> bytes:
    timestamp, nonce = str(int(service.clock.now().timestamp())), nonce or service.clock.token()
    signature = callback_signature(CALLBACK_SECRET, timestamp, nonce)
    told = {"app_id": APP, "task_id": task_id(number), "event_type": 5, "timestamp": timestamp, "nonce": nonce}
    return json.dumps(told | {"signature": signature, "sequence": number, "detail": {}}).encode()


async def test_callbacks_that_are_committed_together_are_each_told_under_their_own_request(
    settings: MakeSettings, clock: HandClock
) -> None:
    async with (
        open_service(settings(zego_callback_secret=CALLBACK_SECRET), clock=clock) as service,
        open_client(service) as client,
    ):
        for number in range(5):
            await register(client, number)
        with capture_logs(processors=[merge_contextvars]) as log:
            await asyncio.gather(
                *(
                    client.post(
                        "/v1/callbacks/zego",
                        content=callback(service, number),
                        headers={"X-Request-Id": f"of-{number}"},
                    )
                    for number in range(5)
                )
            )
            again = callback(service, 0, nonce="again"), callback(service, 1, nonce="again")
            for content in again:
                await client.post("/v1/callbacks/zego", content=content)
    told = [line for line in log if line["event"] == "callback"]
    assert {(line["task_id"], line["request_id"]) for line in told[:5]} == {
        (task_id(number), f"of-{number}") for number in range(5)
    }
    assert [(line["callback"], line["verdict"], line["log_level"]) for line in told[4:]] == [
        ("ended", "accepted", "info"),
        ("ended", "accepted", "info"),
        ("ended", "suspicious", "warning"),
    ]
    assert [line for line in log if line["event"] != "callback" and "request_id" in line] == []


async def test_what_a_poll_changes_is_told_with_the_providers_request_id(
    polling_service: Service, provider: Server
) -> None:
    task = provider.simulator.start("normal", duration=1, upload=1)
    async with open_client(polling_service) as client:
        await client.post("/v1/tasks", json={"task_id": task})
    await asyncio.sleep(0.1)
    with capture_logs(processors=[merge_contextvars]) as log:
        await polling_service.poller.run_once()
    changes = [line for line in log if line["event"].startswith(("task.", "file."))]
    assert changes
    answers = {line["provider_request_id"] for line in log if line["event"] == "polled"}
    assert {line["provider_request_id"] for line in changes} <= answers


async def test_an_idle_service_is_silent(settings: MakeSettings, provider: Server) -> None:
    async with open_service(settings(zego_api_url=provider.url)) as service, open_client(service) as client:
        await register(client)
        with capture_logs() as log:
            async with running(service):
                async with asyncio.timeout(10):
                    while not log:  # noqa: ASYNC110 - the task's only poll for now
                        await asyncio.sleep(0.05)
                heard = len(log)
                for path in ("/livez", "/readyz", "/metrics", "/v1/tasks"):
                    await client.get(path)
                await asyncio.sleep(1.5)
                assert [
                    line for line in log[heard:] if line["log_level"] != "debug" and line.get("task_id") is None
                ] == []
