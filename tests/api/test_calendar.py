"""Days on which calendars are tricky: a task lives through them as on any other, on both engines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from app.core.recording import Status
from app.wiring import Service
from tests.world import HandClock, observe, register, seen_file, task_id, text

DAYS = {
    "midnight": datetime(2026, 1, 31, 23, 59, 59, 999000, tzinfo=UTC),
    "the end of February": datetime(2027, 2, 28, 23, 59, 58, tzinfo=UTC),
    "a leap day": datetime(2028, 2, 29, 12, tzinfo=UTC),
    "the year's end": datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC),
    "New York leaves summer time": datetime(2026, 11, 1, 5, 59, 59, tzinfo=UTC),
    "Berlin enters summer time": datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC),
    "2^31 seconds": datetime(2038, 1, 19, 3, 14, 7, tzinfo=UTC),
    "2^32 seconds": datetime(2106, 2, 7, 6, 28, 15, tzinfo=UTC),
    "no leap year": datetime(2100, 2, 28, 23, 59, 59, tzinfo=UTC),
}


@pytest.fixture(params=DAYS)
def clock(request: pytest.FixtureRequest) -> HandClock:
    return HandClock(DAYS[request.param])


async def test_a_task_lives_through_it(service: Service, client: httpx.AsyncClient, clock: HandClock) -> None:
    began = clock.now()
    task = await register(client, started_at=text(began - timedelta(minutes=1)))
    assert task["registered_at"] == text(began)
    assert task["query_deadline"] == text(began - timedelta(minutes=1) + timedelta(days=3))
    await observe(service, task_id(), Status.ONGOING, began_at=began)
    clock.advance(2)
    ended = clock.now()
    await observe(service, task_id(), Status.COMPLETED, seen_file(began_at=began), began_at=began, ended_at=ended)
    clock.advance(3600)
    await service.housekeeping.run_once()
    task = (await client.get(f"/v1/tasks/{task_id()}")).json()
    assert (task["tracking"], task["recording_ended_at"], task["settled_at"]) == ("settled", text(ended), text(ended))
    assert (task["files"][0]["began_at"], task["query_deadline"]) == (text(began), text(began + timedelta(days=3)))
    for name, moment, found in (
        ("registered_after", began - timedelta(seconds=1), 1),
        ("registered_after", began, 0),
        ("settled_before", ended + timedelta(seconds=1), 1),
        ("settled_before", ended, 0),
        ("deadline_before", began + timedelta(days=3, seconds=1), 1),
    ):
        listed = await client.get("/v1/tasks", params={name: text(moment)})
        assert len(listed.json()["items"]) == found, (name, moment)
    events = (await client.get("/v1/events")).json()["items"]
    assert [event["occurred_at"] for event in events] == sorted(event["occurred_at"] for event in events)
    assert (await client.get("/v1/stats")).status_code == 200


NOT_TIMES = [
    *(1769860000, 1769860000000, 2147483648, -1, 0, 1.5, "1769860000", "2147483648", True, [], {}),
    *("2026-01-31T12:00:00", "2026-01-31 12:00", "2026-01-31", "12:00:00Z", "now", ""),
    *("2026-02-30T12:00:00Z", "2026-01-31T24:30:00Z", "2026-01-31T12:00:00+99:00"),
    *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"),
]


@pytest.mark.parametrize("clock", [HandClock()], ids=["any day"])
async def test_a_start_that_is_a_number_or_has_no_offset_is_refused_with_a_hint(client: httpx.AsyncClient) -> None:
    for given in NOT_TIMES:
        response = await client.post("/v1/tasks", json={"task_id": task_id(), "started_at": given})
        assert response.status_code == 422, given
        (error,) = response.json()["errors"]
        assert error["pointer"] == "/started_at"
        assert any(word in error["detail"] for word in ("RFC 3339", "offset", "future", "no such time")), (given, error)
    assert (await client.get(f"/v1/tasks/{task_id()}")).status_code == 404
