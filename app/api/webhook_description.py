"""What webhooks look like, for the API's description: one request for each type of event."""

from __future__ import annotations

from typing import Any

from app.api.examples import EVENTS

Json = dict[str, Any]

MEANING = {
    "task.settled": "The recording is over, and every file has reached its end: judge by `outcome`. Can come again, "
    "after `task.reopened`.",
    "task.reopened": "A settled or untracked task is followed again: something of it came or changed later.",
    "task.expired": "The provider's 3-day query window closed before the task was settled.",
    "task.expiring": "The window closes in 6 hours, and the task is not settled.",
    "task.ended": "The recording is over; files may still upload.",
    "task.untracked": "A caller stopped the following of it.",
    "task.deleted": "The task was erased.",
    "task.registered": "The task is followed from now on.",
    "task.updated": "Something else of the task changed.",
    "file.updated": "A file is new or changed.",
    "file.backup_expiring": "The provider's backup copy of a file goes in 24 hours.",
    "file.backup_expired": "The provider's backup copy of a file is gone.",
    "subscription.disabled": "Nothing is sent to this subscription any more.",
    "delivery.failed": "A delivery was given up after its last attempt.",
}

HEADERS: list[Json] = [
    {
        "name": "webhook-id",
        "in": "header",
        "required": True,
        "description": "The event's `id`: the same at every attempt, so repeats can be told.",
        "schema": {"type": "string"},
        "example": "evt_0d3af4ce8f12ba35",
    },
    {
        "name": "webhook-timestamp",
        "in": "header",
        "required": True,
        "description": "When this attempt was made: seconds since 1970. Refuse what is older than 5 minutes.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
        "example": "1769863558",
    },
    {
        "name": "webhook-signature",
        "in": "header",
        "required": True,
        "description": "`v1,` and the base64 of HMAC-SHA256, by the subscription's secret, of `webhook-id`, a dot, "
        "`webhook-timestamp`, a dot, and the body as it came. Several, by spaces, while the secret is rotated.",
        "schema": {"type": "string"},
        "example": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
    },
]


def webhooks() -> Json:
    """A webhook for each type of event that is about tasks and files."""
    return {type_: {"post": _webhook(type_, EVENTS[type_])} for type_ in MEANING}


def _webhook(type_: str, event: Json) -> Json:
    word = "".join(part.capitalize() for part in type_.replace("_", ".").split("."))
    return {
        "operationId": f"on{word}",
        "summary": type_,
        "description": f"{MEANING[type_]}\n\nSent to each subscription that wants it, signed by the Standard Webhooks "
        "scheme. Delivered at least once; events of one task leave in order.",
        "tags": ["webhooks"],
        "security": [],
        "parameters": HEADERS,
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/Webhook"},
                    "example": {"type": type_, "timestamp": event["occurred_at"], "data": event},
                }
            },
        },
        "responses": {
            "2XX": {"description": "Taken, within 15 s. The body does not matter."},
            "410": {"description": "Do not come again: this disables the subscription."},
            "default": {
                "description": "All else is tried again, redirects too: after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 10 h."
            },
        },
    }
