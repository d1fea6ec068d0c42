"""A task's version as an ETag, and back."""

from __future__ import annotations

import re
from typing import Any

from fastapi import Header

from app.errors import InvalidRequest

SHOWN: dict[str, Any] = {
    "headers": {"ETag": {"description": "Of the task's version, for If-None-Match and If-Match.", "required": True,
                         "schema": {"type": "string"}, "example": 'W/"5"'}}
}  # fmt: skip
"""For the description of an answer that carries the task's ETag."""

FORM = r'^(\*|(W/)?"[!#-~]*"([ \t]*,[ \t]*(W/)?"[!#-~]*")*)$'
"""Of If-Match, as RFC 9110 has it."""

IF_MATCH: Any = Header(description="Only if this is still its ETag.", json_schema_extra={"pattern": FORM})
"""The header of a change; `expected` reads it."""


def tag(version: int) -> str:
    """The weak ETag of a task's version."""
    return f'W/"{version}"'


def matches(if_none_match: str | None, version: int) -> bool:
    """Whether the caller has this version already."""
    if if_none_match is None or if_none_match == tag(version):
        return if_none_match is not None
    return if_none_match.strip() == "*" or version in versions(if_none_match)


def versions(header: str) -> set[int]:
    """The versions named in If-Match or If-None-Match; weak and strong tags alike."""
    return {int(number) for number in re.findall(r'(?:W/)?"(\d{1,18})"', header)}


def expected(if_match: str | None) -> set[int] | None:
    """The versions If-Match allows, none of ours for others' tags; None: any. Raises InvalidRequest."""
    if if_match is None or if_match.strip() == "*":
        return None
    if not re.fullmatch(FORM, if_match.strip()):
        raise InvalidRequest.at("If-Match", 'takes an ETag as it was given, like W/"3"')
    return versions(if_match)
