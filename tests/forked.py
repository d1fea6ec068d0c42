"""The command line as a process of its own, without its start: forked from one that has imported everything."""

from __future__ import annotations

import asyncio
import atexit
import functools
import gc
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_MESSAGE = 1 << 20


@dataclass
class Ran:
    """What a command came to: its exit code, and what it wrote where."""

    code: int
    out: str
    said: str


async def run(*arguments: str, folder: Path, env: Mapping[str, str], stdin: bytes = b"") -> Ran:
    """Run ``recording-status`` to its end, in this folder and with this environment alone."""
    wish = json.dumps({"arguments": arguments, "folder": str(folder), "env": dict(env)}).encode()
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as said:
        given.write(stdin)
        given.seek(0)
        async with asyncio.timeout(40):
            code = await asyncio.to_thread(_template().run, wish, [given.fileno(), out.fileno(), said.fileno()])
        out.seek(0)
        said.seek(0)
        return Ran(code, out.read().decode(), said.read().decode())


class _Template:
    """The process from which all are forked, one at a time."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._turn = threading.Lock()
        self._line.settimeout(40)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                env=env,
                pass_fds=[theirs.fileno()],
            )

    def run(self, wish: bytes, files: list[int]) -> int:
        with self._turn:
            socket.send_fds(self._line, [wish], files)
            return int(self._line.recv(_MESSAGE))

    def end(self) -> None:
        self._line.close()
        self._process.wait()


@functools.cache
def _template() -> _Template:
    from tests.world import BARE  # the template itself imports nothing of the tests

    template = _Template(BARE)
    atexit.register(template.end)
    return template


def _serve(line: socket.socket) -> list[str]:
    """Fork for each wish; returns in the child, with its arguments."""
    while True:
        wish, files, _, _ = socket.recv_fds(line, _MESSAGE, 3)
        if not wish:
            sys.exit()
        child = os.fork()
        if not child:
            line.close()
            break
        for file in files:
            os.close(file)
        line.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    asked = json.loads(wish)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["env"])
    return [*asked["arguments"]]


if __name__ == "__main__":
    import app.checks
    import app.cli
    import app.commands.cli
    import app.serving  # noqa: F401
    from app.start import main

    gc.freeze()
    sys.argv = ["recording-status", *_serve(socket.socket(fileno=int(sys.argv[1])))]
    try:
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # to take down all that was imported would take longer than most commands
