"""import: good files, bad lines, hostile files."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import time
from io import BytesIO
from pathlib import Path

import pytest

from app.commands import importing
from app.commands.lines import LONGEST, Entry, Lines, RefusedLine
from app.commands.service import Failed
from app.wiring import Service
from tests.commands.conftest import PROGRAM, Command
from tests.world import task_id


def read(content: bytes) -> tuple[dict[int, object], dict[int, str]]:
    """The tasks and the reasons, by line."""
    lines = list(Lines(BytesIO(content)))
    tasks: dict[int, object] = {one.line: one.task for one in lines if isinstance(one, Entry)}
    return tasks, {one.line: one.detail for one in lines if isinstance(one, RefusedLine)}


# -- reading


@pytest.mark.parametrize(
    "content",
    [
        b"a\nb\n",
        b"\xef\xbb\xbfa\r\nb",
        b"\n# a comment\na\n\nb\n".replace(b"\n\na", b"\na"),
        b'"task_id"\n"a"\n"b"\n',
        b"room;TaskID;app_id\nr;a;\nr;b;\n",
        b"task_id\troom\na\tr\nb\tr\n",
        b'{"task_id": "a", "app_id": null}\r\n{"task_id": "b", "room_id": "r"}\r\n',
    ],
)
def test_a_list_of_tasks_may_be_written_in_many_ways(content: bytes) -> None:
    tasks, refused = read(content)
    assert list(tasks.values()) == [{"task_id": "a"}, {"task_id": "b"}]
    assert refused == {}


def test_columns_and_members_say_more_of_a_task() -> None:
    csv = b'task_id,app_id,started_at,labels,label.team\na,7,2026-01-31T12:00:00Z,x=1;y=2,"s, t"\n'
    csv += b'b,x,,"{""z"": ""3""}",\n'
    tasks, _ = read(csv)
    first = {"task_id": "a", "app_id": 7, "started_at": "2026-01-31T12:00:00Z"}
    assert tasks[2] == first | {"labels": {"x": "1", "y": "2", "team": "s, t"}}
    assert tasks[3] == {"task_id": "b", "app_id": "x", "labels": {"z": "3"}}


def test_a_bad_line_is_refused_by_its_number_and_spoils_no_other() -> None:
    content = b"\n".join(
        [
            b"task_id,labels",
            b"good,",
            b"\xff\xfe,",
            b"x" * (LONGEST + 5),
            b'"open,',
            b"a,b,c",
            b",x=1",
            b"id,labels-without-equals",
            b'id,"{""a"": [1]}"',
            b"nul\x00,",
            b"good,",
        ]
    )
    tasks, refused = read(content)
    assert list(tasks) == [2, 11]
    assert list(refused) == [3, 4, 5, 6, 7, 8, 9, 10]
    for line, part in {3: "UTF-8", 4: "longer", 5: "CSV", 6: "3 columns", 7: "task_id", 8: "labels", 10: "NUL"}.items():
        assert part in refused[line]


@pytest.mark.parametrize(
    "line",
    [
        b"{", b"[]", b'"a"', b"1", b"{}", b'{"task_id": NaN}', b'{"task_id": 1e999}', b'{"task_id": ["a"]}',
        b'{"task_id": "a", "labels": {"x": 1}}', b'{"task_id": "a", "labels": [1]}', b'{"a":' * 5000, b"[" * 20000,
        b'{"task_id": "a", "app_id": 1' + b"0" * 5000 + b"}", b'{"task_id": "a", "app_id": true}',
    ],
)  # fmt: skip
def test_what_is_no_task_as_json_is_refused(line: bytes) -> None:
    tasks, refused = read(b'{"task_id": "first"}\n' + line + b'\n{"task_id": "last"}\n')
    assert (list(tasks), list(refused)) == ([1, 3], [2])


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"\xff\xfea\x00", "UTF-16"),
        (b'[{"task_id": "a"}]', "JSON list"),
        (b"room,user\nr,u\n", "task_id"),
        (b"task_id,task_id\na,b\n", "twice"),
        (b'"task_id\na\n', "first line"),
    ],
)
def test_what_is_no_list_of_tasks_at_all_is_said_at_once(content: bytes, part: str) -> None:
    with pytest.raises(Failed, match=part):
        read(content)


def test_a_line_without_end_and_100_000_bad_ones_take_bounded_time() -> None:
    began = time.monotonic()
    assert list(read(b"x" * 50_000_000)[1]) == [1]
    tasks, refused = read(b"task_id\n" + b'\xff\n"\n' * 50_000)
    assert (len(tasks), len(refused)) == (0, 100_000)
    assert time.monotonic() - began < 20


# -- registering


async def test_the_tasks_of_a_file_are_registered_once(command: Command, served: Service, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("".join(f"{task_id(number)}\n" for number in range(2300)))
    ran = await command("import", "ids.txt", "--label", "source=backfill", "--app-id", "1")
    assert (ran.code, ran.out, ran.said) == (0, "2300 registered, 0 known already, 0 refused\n", "")
    assert (await served.tasks.get(task_id(2299))).labels == {"source": "backfill"}
    ran = await command("import", "-", stdin=(tmp_path / "ids.txt").read_bytes())
    assert (ran.code, ran.out) == (0, "0 registered, 2300 known already, 0 refused\n")


async def test_lines_refused_here_or_by_the_service_are_told_by_their_numbers(
    command: Command, served: Service, tmp_path: Path
) -> None:
    lines = ["task_id,app_id,rooom", *(f"{task_id(number)},1," for number in range(1100)), "short,,", f"{task_id()},9,"]
    lines[5] = '"'
    (tmp_path / "tasks.csv").write_text("\n".join(lines))
    ran = await command("import", "tasks.csv")
    assert ran.code == 1
    assert ran.out == "1099 registered, 0 known already, 3 refused\n"
    ignored, *told = ran.said.splitlines()
    assert "rooom" in ignored
    assert [line.split()[1].rstrip(":") for line in told] == ["6", "1102", "1103"]
    assert "app" in told[2]
    refused = json.loads((await command("import", "tasks.csv", "--json")).out)["refused"]
    assert [(one["line"], one["task_id"]) for one in refused] == [(6, None), (1102, "short"), (1103, task_id())]


async def test_a_dry_run_and_an_empty_file_register_nothing(command: Command, served: Service) -> None:
    ran = await command("import", "-", "--dry-run", stdin=f"{task_id()}\n\xff".encode("latin-1"))
    assert (ran.code, "line 2" in ran.said) == (1, True)
    assert (await command("import", "-", stdin=b"")).out == "0 registered, 0 known already, 0 refused\n"
    assert (await command("tasks", "list")).said == "No task is registered yet.\n"


async def test_many_refused_lines_are_not_all_told_in_the_terminal(command: Command) -> None:
    ran = await command("import", "-", stdin=b"".join(b"%d\n" % number for number in range(60)))
    assert (ran.code, len(ran.said.splitlines())) == (1, importing.SHOWN + 1)


async def test_what_keeps_an_import_from_being_done_has_exit_code_2(command: Command, tmp_path: Path) -> None:
    assert (await command("import", "missing.csv")).code == 2
    assert (await command("import", str(tmp_path))).code == 2
    assert (await command("import", "-", "--label", "x", stdin=b"a\n")).code == 2
    ran = await command(
        "import", "-", stdin=f"{task_id()}\n".encode(), env={"RECORDING_STATUS_KEY": "a-wrong-key-given"}
    )
    assert (ran.code, "line 1 and those after it" in ran.said) == (2, True)


async def test_a_terminal_shows_how_far_it_is(command: Command, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("".join(f"{task_id(number)}\n" for number in range(1500)))
    leader, follower = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "import", "ids.txt", cwd=tmp_path, env=command.env | {"TERM": "xterm"}, stderr=follower,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    os.close(follower)
    out, _ = await process.communicate()
    assert out == b"1500 registered, 0 known already, 0 refused\n"
    assert b"registering" in os.read(leader, 65536)
    os.close(leader)
