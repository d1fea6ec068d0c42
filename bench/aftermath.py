"""What must hold when a failure drill is over."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from typing import Any

from bench import verdict
from bench.clients import Clients
from bench.drill import ROLES, Drill
from bench.verdict import Check
from bench.world import RowFailed

LIMIT = 10
"""Calls of one action that may arrive in any second."""

HEALTHY = 90.0
"""Seconds after the last disturbance until every process must be well by itself."""

CONNECTIONS = 16
"""A process's connections to the database at most: those of its pools, and the one it listens on."""


async def health_checks(this: Drill, calm: float) -> list[Check]:
    """Every process gets well by itself; none is restarted for it."""
    wrong = []
    for process in this.processes.values():
        try:
            await process.gets_ready(max(calm + HEALTHY - time.monotonic(), 1.0), well=True)
        except RowFailed as failure:
            wrong.append(str(failure))
    seconds = time.monotonic() - calm
    return [Check("Every process well after", f"{seconds:.1f} s", f"at most {HEALTHY:.0f} s", tuple(wrong))]


async def registration_check(this: Drill, clients: Clients, registering: asyncio.Task[None]) -> Check:
    """Every client gets its task registered in the end."""
    await asyncio.wait([registering], timeout=this.form.settling)
    if registering.done():
        await registering
    never = this.form.recordings - len(clients.acknowledged)
    return Check.none("Registrations never acknowledged", [f"{never} of them"] if never else [])


async def ending_checks(this: Drill, calm: float) -> list[Check]:
    """Every task ends as the provider knows it."""
    while True:
        truth = await this.provider.truth()
        wrong = await verdict.unlike_the_truth(this.postgres, truth)
        this.say(f"{len(truth) - len(wrong)} of {len(truth)} tasks are as the provider knows them")
        is_final = max(one["final_at"] for one in truth) < time.time()
        if (is_final and not wrong) or time.monotonic() > calm + this.form.settling:
            break
        await asyncio.sleep(2.0)
    took = time.monotonic() - calm
    return [
        Check.none("Tasks that ended otherwise than the provider knows", wrong, f"{len(truth)}"),
        Check.at_most("Every task at its end after", took, this.form.settling + 30, " s"),
    ]


async def kept_checks(this: Drill, clients: Clients) -> list[Check]:
    """Nothing acknowledged is missing."""
    labels = {row["task_id"]: row["labels"] for row in await this.postgres.ask("SELECT task_id, labels FROM tasks")}
    kept = {
        (row["task_id"], row["event_type"], row["sequence"])
        for row in await this.postgres.ask("SELECT DISTINCT task_id, event_type, sequence FROM callbacks")
    }
    missing = [one for one in clients.acknowledged if one not in labels]
    unlabelled = [
        f"{task_id}: {labels[task_id]}, acknowledged {given}"
        for task_id, given in clients.acknowledged.items()
        if task_id in labels and not given.items() <= as_dict(labels[task_id]).items()
    ]
    lost = [heard for heard in this.front.acknowledged if heard not in kept]
    return [
        Check.none("Acknowledged registrations missing", missing, f"{len(clients.acknowledged)}"),
        Check.none("Tasks without a label that was acknowledged", unlabelled, f"{len(clients.acknowledged)}"),
        Check.none("Acknowledged callbacks missing", lost, f"{len(this.front.acknowledged)}"),
    ]


def as_dict(labels: Any) -> dict[str, str]:
    parsed: dict[str, str] = json.loads(labels) if isinstance(labels, str) else labels
    return parsed


async def connection_checks(this: Drill) -> list[Check]:
    """The server's connections are those that the processes hold, and none is left in a transaction."""
    pids = [process.pid for process in this.processes.values() if process.pid]
    for _ in range(10):  # a process may be opening or closing one just now
        held = {port for pid in pids for port in verdict.ports_of(pid, this.postgres.port)}
        rows = await verdict.backends(this.postgres)
        served = {row["client_port"] for row in rows}
        idle = [str(dict(row)) for row in rows if row["is_left_open"]]
        if held == served and not idle:
            break
        await asyncio.sleep(1.0)
    return [
        Check.none("Connections only one side knows of", sorted(held ^ served), f"{len(served)}"),
        Check.none("Connections idle in a transaction", idle),
        Check.at_most("Most database connections at a time", this.most_connections, CONNECTIONS * len(ROLES)),
    ]


async def stopping_checks(this: Drill) -> list[Check]:
    """All stop when asked to, and leave no connection behind."""
    wrong = []
    for end in await asyncio.gather(*(one.retire() for one in this.processes.values()), return_exceptions=True):
        if isinstance(end, RowFailed):
            wrong.append(str(end))
        elif end is not None:
            raise end
    rows = await verdict.backends(this.postgres)
    return [
        Check.none("Processes that did not stop when asked to", wrong, f"{len(ROLES)}"),
        Check.none("Connections left when all had stopped", [str(dict(row)) for row in rows]),
    ]


async def busiest(this: Drill, action: str) -> Check:
    counts = await this.provider.counts(action)
    return Check.at_most(f"Busiest second of {action}", counts["busiest_second"], LIMIT)


def answer_check(this: Drill, clients: Clients) -> Check:
    odd = [
        f"{count} callbacks were answered {status}"
        for status, count in this.front.statuses.items()
        if status not in (0, 200, 503)
    ]
    return Check.none("Answers other than 2xx and 503", [*clients.refused, *odd])


def process_checks(this: Drill) -> list[Check]:
    errors: Counter[str] = Counter()
    for process in this.processes.values():
        errors += process.errors()
    surprises = [surprise for process in this.processes.values() for surprise in process.surprises]
    return [
        Check.none("Processes that ended by themselves", surprises),
        Check.none("Kinds of errors logged", [f"{count} x {error}" for error, count in errors.most_common()]),
    ]
