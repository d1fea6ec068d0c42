"""The metrics, each defined once; whoever sees a thing happen counts it here.

Each process has its own. What a process counts (counters, histograms, and gauges whose help says "this process") is
summed over processes. What it read from the database (help: "the same in every process") is not: take the maximum.
Labels hold few values, all of them ours: never a TaskId, a path as it was asked for, or another's word. Those whose
first count matters are made at the start, at 0: `increase()` does not see a series that begins with 1.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE

__all__ = ["CONTENT_TYPE", "expose"]

disable_created_metrics()  # type: ignore[no-untyped-call]  # they double what is scraped, and nobody needs a counter's birthday

OURS = "recording_status"
ALIKE = "The same in every process: take the maximum, not the sum."


def _counter(name: str, documentation: str, *labels: str) -> Counter:
    return Counter(name, documentation, labels, namespace=OURS)


def _histogram(name: str, documentation: str, *labels: str, buckets: tuple[float, ...]) -> Histogram:
    return Histogram(name, documentation, labels, namespace=OURS, buckets=buckets)


def _gauge(name: str, documentation: str, *labels: str) -> Gauge:
    return Gauge(name, documentation, labels, namespace=OURS)


def expose() -> bytes:
    """All metrics in the text format of Prometheus."""
    return generate_latest()


BUILD = _gauge("build_info", "Always 1: what this process is.", "version", "process_role", "database")

# -- calls to the provider

CALLS = _counter(
    "provider_calls", "Calls to the provider by action (probe: a DescribeTasks call of one item) and result.",
    "app_id", "action", "result",
)  # fmt: skip
CALL_SECONDS = _histogram(
    "provider_call_duration_seconds", "From the first byte sent to the last received, of calls that were answered.",
    "app_id", "action", buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 8),
)  # fmt: skip
ANSWERS_REFUSED = _counter(
    "provider_answers_refused", "Answers about tasks that could not be believed or read, by the code in last_error.",
    "app_id", "code",
)  # fmt: skip
ANSWERS_IGNORED = _counter(
    "provider_values_ignored", "Values in answers that counted as absent: texts too long, impossible times.",
    "app_id", "kind",
)  # fmt: skip
POLLS = _counter(
    "polls", "Status queries sent, by what made them due: deadline, hurried, refresh, prompt, routine, batch, look.",
    "app_id", "due_by",
)  # fmt: skip
PERMITS_LIMIT = _gauge("budget_limit_permits", f"Calls the provider allows in a second. {ALIKE}", "app_id", "action")
PERMITS_ALLOWED = _gauge(
    "budget_allowed_permits", f"Permits left by throttling and by operators. {ALIKE}", "app_id", "action"
)
PERMITS_IN_USE = _gauge(
    "budget_in_use_permits", f"Permits of calls under way or answered less than a second ago. {ALIKE}",
    "app_id", "action",
)  # fmt: skip
PERMITS_IN_DOUBT = _gauge(
    "budget_in_doubt_permits", f"Permits of calls given up, which may still arrive. {ALIKE}", "app_id", "action"
)
PAUSED = _gauge(
    "app_paused", f"1: only probes are sent (provider) or nothing at all (operator); 0: all is well. {ALIKE}",
    "app_id", "action", "by",
)  # fmt: skip
CALL_RATE = _gauge(
    "budget_rate_calls_per_second", "Calls a second that the permits allow at the round trips this process saw lately.",
    "app_id",
)  # fmt: skip
SWEEP_FAILING = _gauge("sweep_failing", f"1: the provider's task list is refused or garbled. {ALIKE}", "app_id")

# -- how far behind

DUE = _gauge("polls_due", f"Polls that are due; of each class counted up to 10000. {ALIKE}", "app_id")
OLDEST_DUE = _gauge("polls_oldest_due_age_seconds", f"How long the oldest due poll has been waiting. {ALIKE}", "app_id")
DEADLINE_TASKS = _gauge(
    "deadline_tasks", f"Tasks whose window closes in the next 6 hours and that wait for a last look. {ALIKE}", "app_id"
)
DEADLINE_SLACK = _gauge(
    "deadline_slack_ratio",
    "Share of the calls until some closing window that is to spare, where that is least: 1 nothing closes, 0 every "
    f"call is needed, below 0 some windows close unseen. {ALIKE}",
    "app_id",
)  # fmt: skip
UNSERVABLE = _gauge(
    "deadline_unservable_tasks", f"At least so many windows will close before their task can be polled. {ALIKE}",
    "app_id",
)  # fmt: skip
DETECTION = _histogram(
    "detection_delay_seconds",
    "From a recording's end, or its registration if that was later, to our recording it; by what had the task polled.",
    "app_id", "found_by", buckets=(0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 900, 3600),
)  # fmt: skip
SETTLING = _histogram(
    "settling_delay_seconds",
    "From a recording's end, or its registration if that was later, to settled: its files are where they will stay.",
    "app_id", buckets=(5, 10, 30, 60, 120, 300, 600, 1800, 3600, 4 * 3600, 24 * 3600),
)  # fmt: skip

# -- tasks

ACTIVE = _gauge("active_tasks", f"Tasks being followed. {ALIKE}")
EVENTS = _counter(
    "events", "Events written, by type; so also how many tasks were registered, settled, expired.", "type"
)
OUTCOMES = _counter(
    "outcomes", "Outcomes that tasks came to; one that is reopened may count again.", "app_id", "outcome"
)

# -- callbacks, from the provider

CALLBACKS = _counter("callbacks", "Callbacks whose signature was right, by event and verdict.", "event", "verdict")
CALLBACKS_REFUSED = _counter("callbacks_refused", "Callbacks refused, or not kept, by reason.", "reason")

# -- deliveries, to subscribers

DELIVERY_ATTEMPTS = _counter(
    "delivery_attempts", "Webhooks sent to subscribers, by result: delivered or failed.", "result"
)
DELIVERY_AGE = _histogram(
    "delivery_age_seconds", "From an event to its delivery, whatever the number of attempts.",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 30, 300, 1800, 7200, 36000),
)  # fmt: skip

# -- the process

HTTP_REQUESTS = _counter(
    "http_requests", "Requests answered, by the route's template; (unknown): no route, or refused before any.",
    "method", "route", "status",
)  # fmt: skip
HTTP_SECONDS = _histogram(
    "http_request_duration_seconds", "From a request's head to the end of its answer; not of those that asked to wait.",
    "method", "route", buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)  # fmt: skip
WAITING = _gauge("waiting_requests", "Requests and streams of this process that wait for a change.")
LOOP_LAG = _histogram(
    "event_loop_lag_seconds", "How late this process's event loop came back to what was due; looked at each 0.5 s.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
)  # fmt: skip
CONNECTIONS = _gauge("database_connections_in_use", "Connections of this process's pools that are in use.", "pool")
CONNECTIONS_MOST = _gauge("database_connections_max", "Connections that this process's pools may have.", "pool")
DATABASE_UNAVAILABLE = _counter(
    "database_unavailable", "Times this process found the database locked, gone, full or out of connections."
)
HEARTBEAT = _gauge("job_heartbeat_age_seconds", "Since the job of this process last showed a sign of life.", "job_name")
STUCK = _gauge("job_stuck", "1: the job of this process ought to have shown a sign of life long ago.", "job_name")
JOB_FAILURES = _counter("job_failures", "Runs of this process's jobs that ended in an error.", "job_name")
