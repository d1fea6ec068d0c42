"""Bodies as they really come and go, by operation, for the API's description."""

from __future__ import annotations

from typing import Any

from app.api.examples import (
    CALLBACK,
    CALLBACK_EVENT,
    EVENTS,
    FILE,
    ONGOING,
    PENDING,
    SETTLED,
    SUBSCRIBER,
    TASK_ID,
    UNTRACKED,
    Json,
    whole,
)
from app.api.problems import STATUS_OF, TITLES

OTHER_ID = "awXfC6xMCcKCBufj"
REQUEST_ID = "5f49efa3c174cfb0"
CURSOR = "W3t9LFsiMjAyNi0wMS0zMVQxMjowMDowMC4wMDBaIiwiYXdYZkM4MEhMTmktYjU5aSJdXQ=="
_BUDGET = {
    "limit": 10, "allowed": 10, "in_use": 2, "in_doubt": 0, "paused": None, "blocked_until": None, "refused_at": None,
}  # fmt: skip
_CALLS = {
    "deadline": 4, "hurried": 96, "refresh": 3, "prompt": 110, "routine": 312, "batch": 0, "look": 8,
}  # fmt: skip
STATS: Json = {
    "at": "2026-01-31T12:46:00.000Z",
    "simulated": False,
    "tasks": {
        "tracking": {"active": 412, "settled": 88},
        "status": {"ongoing": 410, "completed": 90},
        "outcome": {"uploaded": 88},
    },
    "apps": [
        {
            "app_id": 1,
            "budget": _BUDGET,
            "calls_in_last_minute": 533,
            "calls": {
                "last_minute": _CALLS,
                "last_hour": {word: count * 58 for word, count in _CALLS.items()},
            },
            "detection": {
                "ended": 143,
                "median_seconds": 1.142,
                "p95_seconds": 9.871,
                "lost_callbacks": {"ended": 2, "upload_finished": 1},
            },
            "rate": 9.13,
            "round_seconds": 45.3,
            "backlog": {
                "due": 3,
                "due_by_class": {"hurried": 1, "refresh": 0, "prompt": 0, "routine": 2, "batch": 0, "look": 0},
                "oldest_due_seconds": 0.4,
            },
            "deadlines": {"tasks": 0, "horizon_seconds": 600.0, "unservable": 0, "short_in_seconds": None},
            "sweep": {
                "state": "working",
                "completed_at": "2026-01-31T12:45:47.305Z",
                "calls": 9,
                "listed": 410,
                "error": None,
                "budget": _BUDGET,
            },
        }
    ],
    "callbacks": {"accepted": 2201, "repeat": 14, "suspicious": 0, "refused": {"bad_signature": 2}},
    "deliveries": {"pending": 1, "oldest_pending_seconds": 0.2, "failed": 0},
}
_SWITCHES = {"app_id": 1, "polling": "on", "poll_budget": 10, "poll_limit": 10, "sweeping": "on"}
READY: Json = {
    "status": "ok",
    "checks": {"database": "ok", "schema": "ok", "jobs": "ok", "provider.1": "ok"},
    "jobs": {"poll": 0.2, "sweep": 8.1},
    "simulated": False,
}

SUBSCRIPTION: Json = {
    **SUBSCRIBER,
    "url": "https://archive.example/hooks/recordings",
    "types": ["task.settled", "task.expired"],
    "app_id": None,
    "labels": {"team": "support"},
    "max_in_flight": 10,
    "description": None,
    "enabled": True,
    "disabled_at": None,
    "disabled_reason": None,
    "failing_since": None,
    "created_at": "2026-01-31T09:00:00.000Z",
    "updated_at": "2026-01-31T09:00:00.000Z",
}
_SECRET = "whsec_bm90IGEgc2VjcmV0LCBidXQgaG93IG9uZSBsb29rcw=="  # noqa: S105 - an example
_ATTEMPT = {
    "at": "2026-01-31T12:45:58.311Z", "status_code": 204, "duration_ms": 41, "error": None, "response_excerpt": "",
}  # fmt: skip
DELIVERY: Json = {
    "delivery_id": "dlv_42",
    "subscription_id": SUBSCRIBER["subscription_id"],
    "event_id": "evt_0d3af4ce8f12ba35",
    "type": "task.settled",
    "task_id": TASK_ID,
    "status": "delivered",
    "created_at": "2026-01-31T12:45:58.204Z",
    "next_attempt_at": None,
    "attempts": [_ATTEMPT],
}

METRICS = """# HELP recording_status_build_info Always 1: what this process is.
# TYPE recording_status_build_info gauge
recording_status_build_info{process_role="all",version="0.1.0"} 1.0
"""

REQUESTS: dict[str, Json] = {
    "registerTask": {"task_id": TASK_ID, "labels": {"team": "support"}},
    "registerTasks": {"tasks": [{"task_id": TASK_ID}, {"task_id": OTHER_ID, "app_id": 7}]},
    "patchTask": {"labels": {"team": "sales", "draft": None}},
    "receiveCallback": CALLBACK,
    "switchApp": {"polling": "paused"},
    "createSubscription": {name: SUBSCRIPTION[name] for name in ("name", "url", "types", "labels")},
    "changeSubscription": {"enabled": False},
    "rotateSecret": {},
    "replay": {"since": "2026-01-31T00:00:00Z", "dry_run": True},
}
"""What is sent, by operationId."""

ANSWERS: dict[str, dict[str, Any]] = {
    "registerTask": {"201": whole(PENDING), "200": whole(ONGOING)},
    "registerTasks": {
        "200": {
            "results": [
                {"task_id": TASK_ID, "result": "created", "error": None},
                {
                    "task_id": OTHER_ID,
                    "result": "invalid",
                    "error": {
                        "code": "invalid_request",
                        "detail": "no app 7 is configured",
                        "pointer": "/tasks/1/app_id",
                    },
                },
            ],
            "created": 1,
            "existing": 0,
            "conflict": 0,
            "invalid": 1,
        }
    },
    "listTasks": {"200": {"items": [SETTLED], "next_cursor": CURSOR, "events_after": "1000004"}},
    "getTask": {"200": whole(SETTLED)},
    "patchTask": {"200": whole({**SETTLED, "labels": {"team": "sales"}, "version": 6})},
    "refreshTask": {"202": whole(ONGOING), "200": whole(SETTLED)},
    "untrackTask": {"200": whole(UNTRACKED)},
    "trackTask": {"200": whole({**ONGOING, "version": 4})},
    "getAnswer": {
        "200": {
            "task_id": TASK_ID,
            "asked_at": "2026-01-31T12:45:58.120Z",
            "answer": {"Code": 0, "Message": "success", "RequestId": "8825223157230377926", "Data": {"Status": 3}},
        }
    },
    "listTaskEvents": {"200": {"items": [EVENTS["task.registered"], CALLBACK_EVENT], "next_cursor": None}},
    "listTaskFiles": {"200": {"items": [FILE], "next_cursor": None}},
    "listFiles": {"200": {"items": [FILE], "next_cursor": None, "events_after": "1000004"}},
    "listEvents": {"200": {"items": [EVENTS["task.settled"]], "next_after": "1000004"}},
    "receiveCallback": {"200": {}},
    "listCallbacks": {
        "200": {
            "items": [
                {
                    "id": "cb_17",
                    "received_at": "2026-01-31T12:45:58.120Z",
                    "app_id": 1,
                    "task_id": TASK_ID,
                    "event_type": 1,
                    "event": "upload_finished",
                    "sequence": 3,
                    "verdict": "accepted",
                    "known": True,
                    "body": CALLBACK,
                }
            ],
            "next_cursor": None,
        }
    },
    "getStats": {"200": STATS},
    "getOutcomes": {
        "200": {
            "step_seconds": 3600,
            "steps": [
                {
                    "at": "2026-01-31T12:00:00.000Z",
                    "outcomes": {
                        "uploaded": 41,
                        "uploaded_to_backup": 1,
                        "partially_lost": 0,
                        "lost": 0,
                        "no_files": 2,
                        "unresolved": 0,
                    },
                }
            ],
        }
    },
    "listAudit": {
        "200": {
            "items": [
                {
                    "id": "aud_42",
                    "at": "2026-01-31T12:45:58.120Z",
                    "key": "admin",
                    "action": "app.switch",
                    "subject": "1",
                    "details": {"polling": "paused"},
                    "request_id": REQUEST_ID,
                }
            ],
            "next_cursor": None,
        }
    },
    "listApps": {"200": {"items": [_SWITCHES]}},
    "switchApp": {"200": {**_SWITCHES, "polling": "paused"}},
    "createSubscription": {"201": {**SUBSCRIPTION, "secret": _SECRET}, "200": SUBSCRIPTION},
    "listSubscriptions": {"200": {"items": [SUBSCRIPTION], "next_cursor": None}},
    "getSubscription": {"200": SUBSCRIPTION},
    "changeSubscription": {
        "200": {
            **SUBSCRIPTION,
            "enabled": False,
            "disabled_at": "2026-02-01T09:00:00.000Z",
            "disabled_reason": "caller",
            "updated_at": "2026-02-01T09:00:00.000Z",
        }
    },
    "rotateSecret": {"200": {**SUBSCRIPTION, "secret": _SECRET}},
    "pingSubscription": {"200": _ATTEMPT},
    "listSubscriptionDeliveries": {"200": {"items": [DELIVERY], "next_cursor": None}},
    "listDeliveries": {"200": {"items": [DELIVERY], "next_cursor": None}},
    "redeliver": {"202": {**DELIVERY, "status": "pending", "next_attempt_at": "2026-01-31T13:00:00.000Z"}},
    "replay": {"202": {"count": 3}},
    "livez": {"200": {"status": "ok"}},
    "readyz": {"200": READY, "503": {**READY, "status": "down", "checks": {**READY["checks"], "database": "away"}}},
}
"""What is answered, by operationId and status."""

_DETAILS = {
    "invalid_request": "task_id: String should match pattern '^[A-Za-z0-9_-]{16}$'",
    "unreadable_body": "the body is neither JSON nor an older form of a callback",
    "unauthenticated": "send a key as `Authorization: Bearer SECRET`",
    "forbidden": "the key dashboard has the role read; this needs write",
    "not_found": f"no task {TASK_ID} is registered",
    "app_conflict": "the task is registered under app 2",
    "not_pollable": "the task is untracked; POST …/track resumes it",
    "feed_position_lost": "the feed cannot go on from this position; copy what you follow again",
    "name_conflict": "a subscription named archive exists with other settings",
    "precondition_failed": "the task's version is 6 by now",
    "too_large": "a body may have 1048576 bytes here",
    "unsupported_media_type": "send Content-Type: application/json",
    "rate_limited": "the key dashboard asked more than 200 times a second; wait a second, then ask less often: "
    "batches, lists and waiting (`wait`) need fewer requests",
    "unavailable": "the database is not available; nothing was changed, try again",
    "internal": "the request failed; the log has more under this request_id",
}


def problem_example(code: str) -> Json:
    """The body of a problem."""
    detail = _DETAILS.get(code, TITLES[code])
    body: Json = {
        "type": f"/docs/problems#{code}",
        "title": TITLES[code],
        "status": STATUS_OF[code],
        "detail": detail,
        "code": code,
        "request_id": REQUEST_ID,
    }
    if code == "invalid_request":
        body["errors"] = [{"pointer": "task_id", "detail": detail.removeprefix("task_id: ")}]
    if code == "feed_position_lost":
        body |= {"oldest": "990000", "latest": "1000004"}
    return body
