"""tasks list, show, refresh and watch against a running service."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import signal
import struct
import termios
from datetime import timedelta
from pathlib import Path

import pytest

from app.commands.output import TASK_COLUMNS, Column, ago, fitting_table, safe
from app.core.recording import Status
from app.tracking.registration import NewTask
from app.wiring import Service
from tests.commands.conftest import KEYS, PROGRAM, Command
from tests.world import NOON, observe, seen_file, task_id, text

ESCAPE = "\x1b"


async def register(service: Service, *numbers: int, **labels: str) -> None:
    await service.registration.register_batch([NewTask(task_id=task_id(one), labels=labels) for one in numbers])


async def test_piped_a_list_is_plain_whole_and_without_colour(command: Command, served: Service) -> None:
    await register(served, 0, 1, team="support", purpose="a long label that no terminal of 80 columns has room for" * 2)
    await observe(served, task_id(0), Status.COMPLETED, seen_file("f"), room_id="room", began_at=served.clock.now())
    ran = await command("tasks", "list", env={"COLUMNS": "40", "FORCE_COLOR": "1"})
    assert (ran.code, ran.said) == (0, "")
    assert ESCAPE not in ran.out
    head, *rows = ran.out.splitlines()
    assert head.split()[:4] == ["TASK", "STATUS", "TRACKING", "OUTCOME"]
    assert rows[1].split()[:4] == [task_id(0), "completed", "settled", "uploaded"]
    assert "has room for" in rows[0]
    assert not any(row.endswith(" ") for row in rows)


async def test_filters_reach_the_service_and_json_is_a_line_for_each(command: Command, served: Service) -> None:
    await register(served, 0, 1, 2, team="support")
    await register(served, 3, team="sales")
    await observe(served, task_id(1), Status.ONGOING, began_at=served.clock.now())
    given = ("--label", "team=support", "--status", "ongoing,pending", "--registered-after", "1h")
    ran = await command("tasks", "list", *given, "--json", "--limit", "2")
    assert [json.loads(line)["task_id"] for line in ran.out.splitlines()] == [task_id(2), task_id(1)]
    assert "--limit 0" not in ran.out
    assert (await command("tasks", "list", *given, "--limit", "0")).out.count("support") == 3
    assert (await command("tasks", "list", "--registered-before", "1h")).said == "No task matches.\n"
    wrong = await command("tasks", "list", "--status", "nonsense")
    assert wrong.code == 1
    assert "status" in wrong.said
    assert "ongoing" in wrong.said


async def test_a_task_is_shown_with_its_files_and_history(command: Command, served: Service) -> None:
    await register(served, 0)
    file = seen_file("a-file", user_id=f"evil{ESCAPE}[2Juser", file_url="https://bucket.example/a-file.mp4")
    await observe(served, task_id(0), Status.COMPLETED, file, began_at=served.clock.now())
    ran = await command("tasks", "show", task_id(0))
    assert ran.code == 0
    for part in ("uploaded (told by poll)", "a-file.mp4", "task.settled", "task.registered", "evil\ufffd[2Juser"):
        assert part in ran.out
    assert ESCAPE not in ran.out
    assert json.loads((await command("tasks", "show", task_id(0), "--json")).out)["files"][0]["file_id"] == "a-file"


async def test_what_is_not_there_or_not_possible_is_said_in_one_line_with_exit_code_1(
    command: Command, served: Service
) -> None:
    await register(served, 0)
    await served.tasks.untrack(task_id(0))
    for arguments, part in [
        (("show", task_id(9)), "no task"),
        (("show", "short"), "no TaskId"),
        (("show", "../../livez"), "no TaskId"),
        (("refresh", task_id(0)), "untracked"),
        (("watch", task_id(9)), "not registered"),
    ]:
        ran = await command("tasks", *arguments)
        assert (ran.code, ran.out) == (1, ""), arguments
        assert part in ran.said
        assert len(ran.said.splitlines()) == 1


async def test_a_refresh_shows_the_task_as_the_poll_left_it(command: Command, served: Service) -> None:
    await register(served, 0)
    asked = asyncio.create_task(command("tasks", "refresh", task_id(0), "--json"))
    for _ in range(200):
        await asyncio.sleep(0.1)
        if (served.follower.waiting) or asked.done():
            break
    await asyncio.sleep(0.3)
    await observe(served, task_id(0), Status.COMPLETED, seen_file("f"), began_at=served.clock.now())
    ran = await asked
    assert ran.code == 0
    assert json.loads(ran.out)["outcome"] == "uploaded"
    assert (await command("tasks", "refresh", task_id(0), "--wait", "0")).code == 0
    ran = await command("tasks", "refresh", task_id(9), task_id(0), "--wait", "0")
    assert (ran.code, task_id(0) in ran.out, task_id(9) in ran.said) == (1, True, True)


@pytest.mark.parametrize(
    ("env", "arguments", "part"),
    [
        ({"RECORDING_STATUS_URL": "http://127.0.0.1:1"}, [], "cannot reach http://127.0.0.1:1"),
        ({"RECORDING_STATUS_URL": "", "PORT": "1", "HOST": "0.0.0.0"}, [], "cannot reach http://127.0.0.1:1"),
        ({}, ["--url", "nonsense"], "no address"),
        ({}, ["--url", "http://me:secret@127.0.0.1:1"], "password"),
        ({"RECORDING_STATUS_KEY": ""}, [], "no key was given"),
        ({"RECORDING_STATUS_KEY": "a-wrong-key-given"}, [], "not one of the service's"),
        ({}, ["--key-file", "missing"], "cannot read the key"),
        ({}, ["--updated-after", "yesterday"], "--updated-after: 'yesterday' is no time"),
        ({}, ["--key-file", "."], "cannot read the key"),
    ],
)
async def test_what_keeps_a_command_from_being_tried_has_exit_code_2(
    command: Command, env: dict[str, str], arguments: list[str], part: str
) -> None:
    ran = await command("tasks", "list", *arguments, env=env)
    assert (ran.code, ran.out) == (2, "")
    assert part in ran.said
    assert len(ran.said.splitlines()) == 1
    assert "a-wrong-key" not in ran.said


async def test_the_key_comes_from_a_file_and_a_role_too_low_is_told(
    command: Command, served: Service, tmp_path: Path
) -> None:
    await register(served, 0)
    (tmp_path / "key").write_text(f"{KEYS['read']}\n")
    assert (await command("tasks", "list", "--key-file", "key", env={"RECORDING_STATUS_KEY": ""})).code == 0
    ran = await command("tasks", "refresh", task_id(0), "--key-file", "key")
    assert (ran.code, "not allowed" in ran.said) == (2, True)
    (tmp_path / ".env").write_text(f"RECORDING_STATUS_KEY={KEYS['read']}\nZEGO_APPS=nonsense\n")
    assert (await command("tasks", "list", env={"RECORDING_STATUS_KEY": ""})).code == 0


# -- watch


async def test_piped_a_watch_tells_each_change_and_ends_when_its_tasks_are_over(
    command: Command, served: Service
) -> None:
    await register(served, 0, 1)
    process = await command.start("tasks", "watch", task_id(0))
    assert process.stdout
    async with asyncio.timeout(30):
        first = (await process.stdout.readline()).decode()
        assert first.split()[1:4] == [task_id(0), "now", "pending"]
        await observe(served, task_id(1), Status.ONGOING, began_at=served.clock.now())
        await observe(served, task_id(0), Status.ONGOING, began_at=served.clock.now())
        assert "ongoing" in (await process.stdout.readline()).decode()
        await observe(served, task_id(0), Status.COMPLETED, seen_file("f"))
        out, said = await process.communicate()
    assert (process.returncode, said) == (0, b"")
    assert "task.settled" in out.decode()
    assert task_id(1) not in out.decode()


async def test_a_watch_ends_well_by_a_signal_and_writes_events_as_json(command: Command, served: Service) -> None:
    await register(served, 0)
    process = await command.start("tasks", "watch", "--json")
    assert process.stdout
    async with asyncio.timeout(30):
        assert json.loads(await process.stdout.readline())["task"]["task_id"] == task_id(0)
        await register(served, 1)
        assert json.loads(await process.stdout.readline())["type"] == "task.registered"
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0


async def test_in_a_terminal_a_watch_is_a_table_of_its_width(command: Command, served: Service) -> None:
    await register(served, 0)
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 50, 0, 0))
    env = command.env | {"TERM": "xterm-256color"}
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "tasks", "watch", cwd=command.folder, env=env, stdin=follower, stdout=follower, stderr=follower
    )
    os.close(follower)
    os.set_blocking(leader, False)
    screen = ""

    async def until(part: str) -> None:
        nonlocal screen
        async with asyncio.timeout(20):
            while part not in screen:
                try:
                    screen += os.read(leader, 65536).decode()
                except BlockingIOError:
                    await asyncio.sleep(0.05)

    await until("pending")
    await observe(served, task_id(0), Status.COMPLETED, seen_file("f"), began_at=served.clock.now())
    await until("settled")
    assert ESCAPE in screen
    assert "LABELS" not in screen
    assert "0 active" in screen
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 0
    os.close(leader)


# -- what is shown


def test_nothing_that_is_shown_steers_a_terminal() -> None:
    assert safe("a\x1b]0;title\x07b\nc\u202ed\u2028e\x9bf") == "a\ufffd]0;title\ufffdb\ufffdc\ufffdd\ufffde\ufffdf"
    assert (safe(None), safe(0), safe("naïve 名前")) == ("", "0", "naïve 名前")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 s ago"), (119, "119 s ago"), (-600, "in 10 min"), (7200, "2 h ago"), (-3 * 86400, "in 3 d")],
)
def test_times_are_told_by_how_long_ago_they_are(seconds: int, told: str) -> None:
    assert ago(text(NOON - timedelta(seconds=seconds)), NOON) == told


@pytest.mark.parametrize("width", [20, 50, 80, 120, 400])
def test_a_table_leaves_out_columns_rather_than_cut_cells(width: int) -> None:
    columns = [Column(one.title, lambda item: item["text"]) for one in TASK_COLUMNS]
    number = len(fitting_table(columns, [{"text": "x" * 16}], width).columns)
    assert number == min(len(columns), max(2, (width + 2) // 18))
