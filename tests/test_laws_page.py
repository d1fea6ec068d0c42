"""The page of the laws names tests that exist, for each law."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.claims import claims, missing
from tests.deployed import ROOT

PAGE = (ROOT / "docs" / "laws.md").read_text()


def test_every_law_names_tests_that_exist_and_its_figure() -> None:
    laws = PAGE.split("\n## ")[1:]
    assert [law.split(".")[0] for law in laws] == [str(number) for number in range(1, 11)]
    for law in laws:
        _, held = law.split("**Held by:**")
        assert claims(held), law
        assert missing(claims(held)) == []
        assert "**Figure:**" in held, law
    assert missing([("test_laws.py", "TestNothing")]) == [("test_laws.py", "TestNothing")]


def test_the_readme_names_the_same_laws() -> None:
    readme = (ROOT / "README.md").read_text()
    titles = [line.split(". ", 1)[1] for line in PAGE.splitlines() if line.startswith("## ")]
    assert [title for title in titles if f"**{title}**" not in readme] == []


def banned(file: str) -> int:
    """How often the linters refuse a clock and a die in that file."""
    source = "import random, time\nprint(time.time(), random.random())\n"
    command = [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--stdin-filename", file, "-"]
    said = subprocess.run(command, cwd=ROOT, input=source, capture_output=True, text=True, check=False)
    return said.stdout.count("TID251")


def test_clocks_and_dice_are_banned_and_the_ban_has_no_other_exceptions() -> None:
    assert banned("app/core/schedule.py") == banned("app/tracking/poller.py") == 2
    assert banned("app/clock.py") == 0
    assert [file for file in (ROOT / "app").rglob("*.py") if "TID251" in file.read_text()] == []


def test_the_page_of_changes_names_tests_and_files_that_exist() -> None:
    page = (ROOT / "docs" / "changing.md").read_text()
    assert len(claims(page)) > 8
    assert missing([one for one in claims(page) if not one[0].startswith("app/")]) == []
    files = re.findall(r"`((?:app|docs|tests)/[\w/.-]+)`", page)
    assert [file for file in files if not (ROOT / file).exists()] == []
