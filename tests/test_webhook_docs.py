"""The code of docs/webhooks.md is run as it stands there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.core.signing import new_webhook_secret, parse_webhook_secret, webhook_headers

PAGE = Path(__file__).parent.parent / "docs" / "webhooks.md"
BODY = '{"type":"task.settled","data":{"user_name":"Jörg"}}'.encode()
SECRET, OLD, OTHER = (new_webhook_secret(bytes([number]) * 32) for number in (1, 2, 3))

Case = tuple[bytes, dict[str, str], str]
Verify = Callable[[list[Case]], list[bool]]


def code(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return str(found)


def python() -> Verify:
    names: dict[str, Any] = {}
    exec(compile(code("python"), PAGE, "exec"), names)
    return lambda cases: [names["verify"](*case) for case in cases]


def node() -> Verify:
    program = shutil.which("node")
    if not program:
        pytest.skip("NODE IS MISSING: the JavaScript of docs/webhooks.md was NOT run")

    def verify(cases: list[Case]) -> list[bool]:
        calls = [
            f"verify(Buffer.from('{body.hex()}', 'hex'), {json.dumps(headers)}, '{secret}')"
            for body, headers, secret in cases
        ]
        script = f"{code('js')}\nconsole.log(JSON.stringify([{', '.join(calls)}]));"
        ran = subprocess.run([program, "-"], input=script, capture_output=True, text=True, check=True, timeout=30)
        verdicts: list[bool] = json.loads(ran.stdout)
        return verdicts

    return verify


def headers(*secrets: str, age: float = 0) -> dict[str, str]:
    at = datetime.now(UTC) - timedelta(seconds=age)
    return webhook_headers("evt_1", at, BODY, [parse_webhook_secret(secret) for secret in secrets])


@pytest.mark.parametrize("language", [python, node])
def test_the_documented_ten_lines_accept_ours_and_nothing_else(language: Callable[[], Verify]) -> None:
    verify = language()
    good = headers(SECRET)
    bare = good["webhook-signature"].removeprefix("v1,")
    accepted = [
        (BODY, good, SECRET),
        (BODY, headers(OTHER, SECRET), SECRET),  # while a secret is rotated, the new one stands first
        (BODY, headers(SECRET, OLD), OLD),
    ]
    refused = [
        (BODY, good, OTHER),
        (BODY + b" ", good, SECRET),
        (BODY, good | {"webhook-id": "evt_2"}, SECRET),
        (BODY, good | {"webhook-signature": "v1,"}, SECRET),
        (BODY, good | {"webhook-signature": bare}, SECRET),
        (BODY, good | {"webhook-signature": "é"}, SECRET),
        (BODY, headers(SECRET, age=301), SECRET),
        (BODY, headers(SECRET, age=-302), SECRET),
    ]
    assert verify(accepted) == [True] * len(accepted)
    assert verify(refused) == [False] * len(refused)


@pytest.mark.parametrize("language", ["python", "js"])
def test_they_are_ten_lines(language: str) -> None:
    assert len([line for line in code(language).splitlines() if line.strip()]) <= 10
