"""What the API's description says of the whole."""

from __future__ import annotations

TITLE = "recording-status"
VERSION = "1"
SUMMARY = "Is the recording over, and where are its files?"
LICENCE = {"name": "All rights reserved: the owner has not chosen a licence"}

TEXT = """
Register a ZEGOCLOUD Cloud Recording `TaskId` once; from then on its state is queryable here, pushed and kept,
within the provider's limits.

* **Register** with `POST /v1/tasks` (or `/v1/tasks/batch`); repeating is harmless.
* **Wait** with `GET /v1/tasks/{task_id}?wait=50`: it answers when the task is no longer `active`, or after 50 s; loop
  until `tracking` is `settled` or `expired`. Then judge by `outcome`, not by `status`: `ended_abnormally` is not loss.
* **Follow many** with `GET /v1/events?wait=50`, passing back `next_after`, or as a stream: nothing is missed. To start
  from a copy, read all pages of `GET /v1/tasks` and follow from the first page's `events_after`.
* **Errors** are RFC 9457 problem details. Decide by `code`; `errors` names each fault of a 422 by JSON pointer; tell
  `request_id` to the operators. 429 and 503 carry `Retry-After`: nothing was changed, try again. `RateLimit` tells how
  many requests your key may send at once.
* **Repeating** a write is safe, but for `ping`, `redeliver`, `rotate-secret` and `replay`.
* **Compatibility**: within v1 fields, words, event types and problem codes are only added: ignore new ones.
* **Times** are RFC 3339, shown in UTC with milliseconds. Ids and cursors are opaque; `TaskId`s are case-sensitive.
* **Texts** hold no NUL and no half of a surrogate pair: 422.
"""

TAGS = [
    {"name": "tasks", "description": "Register recording tasks, ask about them, wait for them, steer them."},
    {"name": "files", "description": "The recordings' files, and where they are."},
    {"name": "events", "description": "Every change in one order, as pages or as a stream."},
    {"name": "webhooks", "description": "What is sent to subscribers; the same events as in the feed."},
    {"name": "subscriptions", "description": "Who is told what by webhooks, and what became of each delivery."},
    {"name": "callbacks", "description": "From the provider to here."},
    {"name": "operations", "description": "For those who run the service."},
]
"""In reading order."""


def contact(address: str | None) -> dict[str, str]:
    """Whom to ask: the operators, at this mail address or web page of theirs (API_CONTACT)."""
    operators = {"name": "The operators of this service"}
    if address is None:
        return operators
    return operators | {"url" if address.startswith("https://") else "email": address}
