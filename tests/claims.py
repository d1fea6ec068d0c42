"""Pages that say which test holds what they claim: docs/threat-model.md, docs/laws.md."""

from __future__ import annotations

import re

from tests.deployed import ROOT


def claims(text: str) -> list[tuple[str, str]]:
    """The tests a text names: (file, test). A file stands for all tests after it, until the next."""
    file, found = "", []
    for name in re.findall(r"`([a-z_/]+\.py|test_\w+|Test\w+)`", text):
        if name.endswith(".py"):
            file = name
        else:
            found.append((file, name))
    return found


def missing(named: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of the named tests that nobody wrote."""
    return [(file, test) for file, test in named if not _is_written(file, test)]


def _is_written(file: str, test: str) -> bool:
    path = ROOT / "tests" / file
    return path.is_file() and re.search(rf"(def {test}\(|^{test} = )", path.read_text(), re.MULTILINE) is not None
