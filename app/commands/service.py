"""A running service as its clients see it: HTTP, a key, JSON, and errors in plain words."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import httpx
import typer

from app.errors import Misconfigured
from app.settings import load_client_settings

Json = dict[str, Any]
P = ParamSpec("P")
R = TypeVar("R")

PAGE = 500
ATTEMPTS = 6
"""Tries of what a patient caller sends; nothing it sends does harm when it comes twice."""

Url = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="Address of the service. Else RECORDING_STATUS_URL, else HOST and PORT."),
]
KeyFile = Annotated[
    Path | None,
    typer.Option("--key-file", metavar="FILE", help="A file that holds the key. Else RECORDING_STATUS_KEY."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON: one object a line.")]


class Failed(Exception):
    """A command cannot do what it should: what is wrong, and what to do about it."""

    def __init__(self, what: str, advice: str = "", *, exit_code: int = 2) -> None:
        super().__init__(what)
        self.what, self.advice, self.exit_code = what, advice, exit_code


class Refused(Failed):
    """The service answered, and said no."""

    def __init__(self, what: str, advice: str = "", *, code: str = "", exit_code: int = 1) -> None:
        super().__init__(what, advice, exit_code=exit_code)
        self.code = code


class Away(Failed):
    """The service cannot be reached or is not available for now; ``after``: the seconds it asks to wait."""

    def __init__(self, what: str, advice: str = "", *, after: float | None = None) -> None:
        super().__init__(what, advice)
        self.after = after


def plainly(command: Callable[P, R]) -> Callable[P, R]:
    """Let a command say what failed in one line, with the exit code: 1 it was refused, 2 it could not be tried."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except Misconfigured as error:
            faults, code = error.faults, 2
        except Failed as error:
            faults, code = [f"{error.what}{f' ({error.advice})' if error.advice else ''}"], error.exit_code
        for fault in faults:
            typer.echo(f"recording-status: {fault}", err=True)
        raise typer.Exit(code)

    return run


class Service:
    """A running service. Every method raises Failed."""

    def __init__(self, url: str | None = None, key_file: Path | None = None) -> None:
        settings = load_client_settings()
        self.url = (url or settings.url).rstrip("/")
        key = settings.recording_status_key.get_secret_value() if settings.recording_status_key else ""
        self.key = _key(key_file, key)
        self._client = httpx.Client(
            base_url=_checked(self.url),
            headers={"Authorization": f"Bearer {self.key}"} if self.key else {},
            timeout=httpx.Timeout(30.0, connect=5.0),
            trust_env=not _is_here(self.url),  # no proxy leads to this machine
        )

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def get(self, path: str, params: Json | None = None, *, patient: bool = False, wait: float = 0.0) -> Json:
        """What stands at a path. ``wait``: seconds the service may take on purpose."""
        return self._send("GET", path, params=params, patient=patient, wait=wait)

    def post(
        self, path: str, content: bytes, *, params: Json | None = None, patient: bool = False, wait: float = 0.0
    ) -> Json:
        """What the answer to a POST of JSON says."""
        return self._send("POST", path, content=content, params=params, patient=patient, wait=wait)

    def items(self, path: str, params: Json, *, limit: int | None = None, patient: bool = False) -> Iterator[Json]:
        """The items of a list, page by page; at most ``limit``."""
        size, cursor = int(params.get("limit", PAGE)), None
        while limit is None or limit > 0:
            size = min(size, limit or size)
            asked = {"limit": size, "cursor": cursor} if cursor else params | {"limit": size}
            page = self.get(path, asked, patient=patient)
            yield from page["items"][:limit]
            limit = limit and limit - len(page["items"])
            cursor = page.get("next_cursor")
            if cursor is None or limit == 0:
                return

    def _send(self, method: str, path: str, *, patient: bool, **request: Any) -> Json:
        for attempt in range(ATTEMPTS):
            try:
                return self._once(method, path, **request)
            except Away as error:
                if not patient or attempt == ATTEMPTS - 1:
                    raise
                time.sleep(min(error.after or 0.5 * 2**attempt, 15.0))
        raise AssertionError

    def _once(
        self, method: str, path: str, *, params: Json | None = None, content: bytes | None = None, wait: float = 0.0
    ) -> Json:
        timeout = httpx.Timeout(30.0 + wait, connect=5.0)
        headers = {"Content-Type": "application/json"} if content is not None else {}
        try:
            response = self._client.request(
                method, path, params=params, content=content, headers=headers, timeout=timeout
            )
        except httpx.ConnectError as error:
            advice = "does it run there? --url or RECORDING_STATUS_URL names another address"
            raise Away(f"cannot reach {self.url}: {error or 'no connection'}", advice) from error
        except httpx.TimeoutException as error:
            raise Away(f"{self.url} did not answer in time", "/readyz tells how it is") from error
        except httpx.HTTPError as error:
            raise Away(f"the connection to {self.url} broke: {error}") from error
        return self._read(response)

    def _read(self, response: httpx.Response) -> Json:
        try:
            body = response.json()
        except (ValueError, RecursionError):
            body = None
        if response.is_success and isinstance(body, dict):
            return body
        if not isinstance(body, dict) or "code" not in body:
            if response.status_code >= 500:
                raise Away(f"{self.url} answered {response.status_code}", "something between here and the service?")
            raise Failed(f"{self.url} answered {response.status_code}, not as this service does", "check the address")
        if response.status_code in (429, 503):
            after = response.headers.get("Retry-After", "")
            raise Away(f"not now: {body['detail']}", after=float(after) if after.isdigit() else None)
        raise self._refusal(response.status_code, body)

    def _refusal(self, status: int, problem: Json) -> Failed:
        detail, code = str(problem.get("detail")), str(problem["code"])
        if status == 401:
            known = "this key is not one of the service's" if self.key else "no key was given"
            return Failed(
                f"{self.url} wants a key: {known}", "RECORDING_STATUS_KEY holds it, or --key-file names its file"
            )
        if status == 403:
            return Failed(f"not allowed: {detail}", "a key with a higher role may")
        others = [f"{fault['pointer']}: {fault['detail']}" for fault in problem.get("errors", [])[1:]]
        advice = f"request {problem.get('request_id')}" if status >= 500 else ""
        return Refused("; ".join([detail, *others]), advice, code=code)


def _key(file: Path | None, key: str) -> str:
    if file is not None:
        try:
            key = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Failed(
                f"cannot read the key from {file}: {getattr(error, 'strerror', None) or 'not text'}"
            ) from error
        if not key.strip():
            raise Failed(f"{file} is empty", "it should hold the key")
    key = key.strip()
    if not key.isascii() or not key.isprintable():
        raise Failed("the key holds characters that no key has", "the file should hold the key alone")
    return key


def _checked(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise Failed(f"{url!r} is no address: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise Failed(f"{url!r} is no address", "for instance http://127.0.0.1:8000")
    if parsed.userinfo:
        raise Failed("an address with a password in it is not taken", "RECORDING_STATUS_KEY holds the key")
    return parsed


def _is_here(url: str) -> bool:
    return httpx.URL(url).host in ("localhost", "::1") or httpx.URL(url).host.startswith("127.")


def to_json(value: Any) -> str:
    """On one line; invisible and misleading characters escaped, for it may be read in a terminal."""
    return json.dumps(value)
