"""The threat model names tests that exist, and fits one page."""

from __future__ import annotations

from tests.claims import claims, missing
from tests.deployed import ROOT

PAGE = (ROOT / "docs" / "threat-model.md").read_text()


def rows() -> list[str]:
    return [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| could")]


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
