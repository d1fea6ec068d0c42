"""Doors for people: the API documentation and what the problem codes mean. Nothing is loaded from another host."""

from __future__ import annotations

from html import escape
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse

from app.api.keys import TheService
from app.api.problems import ADVICE, STATUS_OF, TITLES

WEB = Path(__file__).parents[1] / "web"

# Scripts and styles come from our files only; the documentation's library draws its icons as data.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}

SIMULATED = (
    '<p class="notice">Simulated: the provider is the bundled simulator, the database a demonstration. '
    "Nothing here is real.</p>"
)

router = APIRouter(include_in_schema=False)


@router.get("/")
async def index() -> RedirectResponse:
    return RedirectResponse("/docs")


@router.get("/docs")
async def documentation(service: TheService) -> HTMLResponse:
    """The API documentation."""
    page = (WEB / "docs.html").read_text(encoding="utf-8")
    return HTMLResponse(page.replace("<!-- notice -->", SIMULATED if service.simulated else ""), headers=HEADERS)


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
