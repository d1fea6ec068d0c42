"""Whether answers are as the API's description says."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

import httpx

from app.main import description

ANYWHERE = "method_not_allowed"
"""Told of addresses, not of operations."""


@cache
def document() -> dict[str, Any]:
    """The description of this code."""
    return description()


@cache
def _operations() -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    paths = sorted(document()["paths"].items(), key=lambda item: "{" in item[0])
    return [(re.compile(re.sub(r"{\w+}", "[^/]+", path)), methods) for path, methods in paths]


def operation_of(request: httpx.Request) -> dict[str, Any] | None:
    """The operation that a request asks for, if there is one."""
    for pattern, methods in _operations():
        if pattern.fullmatch(request.url.path):
            found: dict[str, Any] | None = methods.get(request.method.lower())
            return found
    return None


def described() -> dict[str, list[Callable[[httpx.Response], Awaitable[None]]]]:
    """Event hooks of a client that fails at an answer which is not described."""

    async def check(response: httpx.Response) -> None:
        operation = operation_of(response.request)
        if operation is None:
            return
        name, status = operation["operationId"], response.status_code
        if response.headers.get("Content-Type") == "application/problem+json":
            code = (await response.aread()) and response.json()["code"]
            assert code in {*operation["x-problem-codes"], ANYWHERE}, f"{name} does not tell of {code}"
        else:
            assert str(status) in operation["responses"], f"{name} does not tell of {status}"

    return {"response": [check]}
