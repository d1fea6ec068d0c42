"""The threat model names tests that exist, and fits one page."""

from __future__ import annotations

import re

from tests.deployed import ROOT

PAGE = (ROOT / "docs" / "threat-model.md").read_text()


def claims(row: str) -> list[tuple[str, str]]:
    """The tests a row names: (file, test). A file stands for all tests after it, until the next."""
    file, found = "", []
    for name in re.findall(r"`([a-z_/]+\.py|test_\w+)`", row):
        if name.endswith(".py"):
            file = name
        else:
            found.append((file, name))
    return found


def rows() -> list[str]:
    return [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| could")]


def missing(named: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [
        (file, test)
        for file, test in named
        if not (ROOT / "tests" / file).is_file() or f"def {test}(" not in (ROOT / "tests" / file).read_text()
    ]


def test_every_claim_names_a_test_that_exists() -> None:
    assert len(rows()) > 15
    for row in rows():
        assert claims(row), row
        assert missing(claims(row)) == []
    assert missing(claims("`test_secrets.py` `test_that_nobody_wrote`")) == [
        ("test_secrets.py", "test_that_nobody_wrote")
    ]


def test_every_part_says_what_is_not_stopped() -> None:
    parts = PAGE.split("\n## ")[1:]
    assert all("**Not stopped:**" in part for part in parts)
    assert len(PAGE.splitlines()) < 100
