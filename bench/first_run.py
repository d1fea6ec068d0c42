"""The first run of a new user: from `git clone` to a recording that is seen to settle, by what the README says.

    make first-run

Clones this repository's last commit, says `make run` there with nothing but PATH and HOME in the environment, and asks
the service until one of the demonstration's recordings has settled. Packages come from wherever pip gets them.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
READY = re.compile(r"is ready on (http://[^\s,]+)")
LONGEST = 600.0
"""Seconds after which it has failed."""


def main() -> int:
    began = time.monotonic()

    def passed(what: str) -> None:
        print(f"| {what} | {time.monotonic() - began:.1f} |", flush=True)

    print("| from the beginning to | seconds |\n| --- | ---: |")
    with tempfile.TemporaryDirectory(prefix="first-run-") as folder:
        clone = Path(folder, "recording-status")
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        passed("cloned")
        env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "PORT": "0"}
        output = Path(folder, "output")
        with output.open("wb") as sink:
            made = subprocess.Popen(
                ["make", "run"], cwd=clone, env=env, stdout=sink, stderr=sink, start_new_session=True
            )
        try:
            while not (clone / ".venv" / "service").exists():
                wait(began, made, output)
            passed("installed")
            while not (ready := READY.search(output.read_text())):
                wait(began, made, output)
            passed("ready")
            while not (found := settled(ready[1])):
                wait(began, made, output)
            passed(f"a recording seen to settle ({found})")
        finally:
            os.killpg(made.pid, signal.SIGTERM)
            made.wait(30)
    return 0


def wait(began: float, made: subprocess.Popen[bytes], output: Path) -> None:
    if made.poll() is not None or time.monotonic() - began > LONGEST:
        sys.exit(f"it came to nothing:\n{output.read_text()[-3000:]}")
    time.sleep(0.1)


def settled(url: str) -> str | None:
    """The outcome of a recording that has settled."""
    with urllib.request.urlopen(f"{url}/v1/tasks?tracking=settled&limit=1", timeout=10) as answer:
        tasks = json.load(answer)["items"]
    return tasks[0]["outcome"] if tasks else None


if __name__ == "__main__":
    sys.exit(main())
