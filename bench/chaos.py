"""The failure drill: everything around the service and inside it fails, again and again, and nothing may be lost.

Two api and two worker processes on PostgreSQL follow recordings that live accelerated lives, while processes are
killed and frozen, the database is stopped hard, connections are terminated, and the provider refuses, freezes, crawls
and throttles, by a schedule drawn from a seed. Afterwards the provider's memory and the database are asked what must
hold. Exit code 1 if any of it does not.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx

from app.provider.simulator import DESCRIBE, LIST
from bench import aftermath, verdict
from bench.clients import Clients
from bench.disturbances import FULL, SHORT, Disturbances, plan
from bench.drill import ROLES, Drill, drill
from bench.verdict import Check
from bench.world import APP_ID, RowFailed

LONGEST = 900.0
"""Seconds after which a drill is broken off."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done, and what must hold afterwards."""

    done: dict[str, int | str]
    checks: list[Check]


async def carry_out(this: Drill) -> Outcome:
    """Disturb, wait until all is well again, and see what became of everything."""
    steps = plan(this.form, list(ROLES), this.seed)
    this.say(f"seed {this.seed}; the schedule:")
    for step in steps:
        print(f"{'':10}{step.at:6.1f} s  {step}", file=sys.stderr)
    disturbances = Disturbances(this.processes, this.postgres, this.provider, this.gate, this.say)
    clients = Clients(this.form, this.ups, this.provider, this.seed)
    watching, registering = asyncio.create_task(this.watch()), asyncio.create_task(clients.run())
    try:
        await disturbances.run(steps)
        calm = time.monotonic()
        this.say("the last disturbance is over")
        checks = await aftermath.health_checks(this, calm)
        this.say("all processes are well" if not checks[0].wrong else "NOT all processes are well")
        checks.append(await aftermath.registration_check(this, clients, registering))
        checks += await aftermath.ending_checks(this, calm)
    finally:
        watching.cancel()
        registering.cancel()
        await asyncio.gather(watching, registering, return_exceptions=True)
    checks += await aftermath.kept_checks(this, clients)
    checks += await verdict.event_checks(this.postgres)
    checks += [
        Check.none("Tasks claimed beyond their lease", this.overlong),
        Check.none("Claims that ran out unheeded", await verdict.abandoned_claims(this.postgres)),
    ]
    checks += await aftermath.connection_checks(this)
    checks += await aftermath.stopping_checks(this)
    checks += [await aftermath.busiest(this, DESCRIBE), await aftermath.busiest(this, LIST)]
    checks.append(Check.none("Processes that did not get ready, or stop, in their turn", disturbances.failures))
    checks.append(aftermath.answer_check(this, clients))
    checks += aftermath.process_checks(this)
    return Outcome(await counted(this, disturbances, clients), checks)


async def counted(this: Drill, disturbances: Disturbances, clients: Clients) -> dict[str, int | str]:
    stats = await this.provider.stats()
    calls, callbacks = stats["apps"][str(APP_ID)], stats["callbacks"]
    done: dict[str, int | str] = dict(disturbances.done)
    done["Starts of processes in all"] = sum(process.starts for process in this.processes.values())
    done["… in vain, the database being away"] = sum(process.vain_starts for process in this.processes.values())
    done["Recordings registered"] = len(clients.acknowledged)
    answers = clients.statuses
    done["Requests of clients"] = f"{answers.total()}, of which {answers[503]} answered 503, {answers[0]} not at all"
    done["Callbacks"] = "{sent} sent, {lost} lost, {repeated} repeated, {answered} answered".format_map(callbacks)
    done["Polls that arrived"] = calls[DESCRIBE]["calls"]
    done["… with a fault"] = sum(calls[DESCRIBE]["faults"].values())
    done["… refused as too many"] = calls[DESCRIBE]["refused_throttled"]
    return done


# -- the table


def markdown(outcome: Outcome, conditions: str) -> str:
    """Both tables; what does not hold is in bold, and told below."""
    lines = ["| Done | Times |", "| --- | ---: |"]
    lines += [f"| {what} | {times:,} |" if isinstance(times, int) else f"| {what} | {times} |"
              for what, times in outcome.done.items()]  # fmt: skip
    lines += ["", "| What must hold | Counted | Must be |", "| --- | ---: | ---: |"]
    for check in outcome.checks:
        counted = f"**{check.counted}**" if check.wrong else check.counted
        lines.append(f"| {check.what} | {counted} | {check.must_be} |")
    return "\n".join([*lines, "", conditions]) + "\n"


def faults(outcome: Outcome) -> list[str]:
    """What does not hold, the first few of each kind."""
    told = []
    for check in outcome.checks:
        told += [f"{check.what}: {wrong}" for wrong in check.wrong[:TOLD]]
        if len(check.wrong) > TOLD:
            told.append(f"{check.what}: {len(check.wrong) - TOLD} more")
    return told


TOLD = 10


# -- the command line


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="the form of a minute, for CI")
    parser.add_argument("--seed", type=int, default=1, help="of the schedule (default 1)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables here too")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="a new folder for logs and database, not removed")
    return parser.parse_args()


async def main(options: argparse.Namespace) -> int:
    """The exit code."""
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None
    loop.add_signal_handler(signal.SIGTERM, this.cancel)
    form, began = SHORT if options.short else FULL, time.monotonic()
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(exist_ok=True)
        try:
            async with asyncio.timeout(LONGEST), drill(form, options.seed, folder.resolve()) as a_drill:
                outcome = await carry_out(a_drill)
        except (RowFailed, TimeoutError, httpx.HTTPError, OSError) as failure:
            print(f"the drill could not be carried out: {failure!r}", file=sys.stderr)
            return 1
    conditions = (
        f"Seed {options.seed}, {time.monotonic() - began:.0f} s in all; {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} processors, Python {platform.python_version()}."
    )
    text = markdown(outcome, conditions)
    print(text)
    for fault in faults(outcome):
        print(fault, file=sys.stderr)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    return int(any(check.wrong for check in outcome.checks))


if __name__ == "__main__":
    sys.exit(asyncio.run(main(arguments())))
