"""Doors for people: the dashboard, the API documentation, what the problem codes mean. No other host is asked."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from hashlib import sha256
from html import escape
from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers
from starlette.staticfiles import NotModifiedResponse
from starlette.types import Scope

from app.api.keys import TheService
from app.api.problems import ADVICE, STATUS_OF, TITLES
from app.wiring import Service

WEB = Path(__file__).parents[1] / "web"
# Not by the machine's own table, which is read slowly, and is another one on each machine.
KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".txt": "text/plain",
}

# Scripts and styles come from our files only; the documentation's library draws its icons as data.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Pages hold no data: browsers keep them, and ask each time whether they are still so. app.api.edge adds the rest.
HEADERS = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}

# The dashboard is all ours: files of this service alone, no text that becomes HTML or script, no form that is sent.
DASHBOARD_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

SIMULATED = (
    '<p class="notice">Simulated: the provider is the bundled simulator, the database a demonstration. '
    "Nothing here is real.</p>"
)

router = APIRouter(include_in_schema=False)


class Assets(StaticFiles):
    """What the pages are made of, read once, at the first page: it asks for a dozen files at the same moment.

    Browsers ask each time whether it is still so: parts of two versions never mix.
    """

    def __init__(self) -> None:
        super().__init__(directory=WEB)

    @cached_property
    def _answers(self) -> dict[str, Response]:
        files = {file.relative_to(WEB).as_posix(): file.read_bytes() for file in WEB.rglob("*") if file.is_file()}
        return {path: _kept(path, content) for path, content in files.items()}

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = self._answers.get(path)
        if answer is None or scope["method"] not in ("GET", "HEAD"):
            return await super().get_response(path, scope)
        is_known = self.is_not_modified(answer.headers, Headers(scope=scope))
        return NotModifiedResponse(answer.headers) if is_known else answer


def _kept(path: str, content: bytes) -> Response:
    headers = {"Cache-Control": "no-cache", "ETag": f'"{sha256(content).hexdigest()[:32]}"'}
    return Response(content, headers=headers, media_type=KINDS.get(Path(path).suffix))


@router.get("/")
async def dashboard(service: TheService) -> HTMLResponse:
    """What people on call look at. It holds no data: its script asks the API, with a key if that takes one."""
    return _page("dashboard.html", service, HEADERS | {"Content-Security-Policy": DASHBOARD_POLICY})


@router.get("/docs")
async def documentation(service: TheService) -> HTMLResponse:
    """The API documentation."""
    return _page("docs.html", service, HEADERS)


@router.get("/docs/problems")
async def problems() -> HTMLResponse:
    """What each problem code means: the page that `type` links to."""
    entries = "".join(
        f'<h2 id="{code}"><code>{code}</code> · {STATUS_OF[code]}</h2>'
        f"<p>{escape(TITLES[code])}. {escape(ADVICE[code])}</p>"
        for code in STATUS_OF
    )
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Problem codes</title>'
    style = '<link rel="stylesheet" href="/assets/docs.css">'
    return HTMLResponse(
        f'{head}{style}<main class="page"><h1>Problem codes</h1>{entries}</main></html>', headers=HEADERS
    )


def _page(name: str, service: Service, headers: Mapping[str, str]) -> HTMLResponse:
    page = (WEB / name).read_text(encoding="utf-8")
    return HTMLResponse(page.replace("<!-- notice -->", SIMULATED if service.simulated else ""), headers=dict(headers))
