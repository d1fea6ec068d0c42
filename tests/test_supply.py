"""What the service is made of: no more than it needs, each part with its reason, and a list that names every one."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.deployed import ROOT, instructions

TOOLS = ROOT / ".venv" / "audit" / "bin"
PACKAGE = r"(?m)^([a-z0-9][a-z0-9.-]*)==(\S+)((?: .*)?(?:\n .*)*)"

needs_tools = pytest.mark.skipif(not TOOLS.exists(), reason="NO AUDIT TOOLS: run `make .venv/audit`")


def locked() -> dict[tuple[str, str], set[str]]:
    """The packages of the image by name and version, with the hashes any of which they must have."""
    lock = (ROOT / "requirements.txt").read_text()
    found = re.findall(PACKAGE, lock)
    return {(name, version): set(re.findall(r"sha256:([0-9a-f]{64})", rest)) for name, version, rest in found}


def command() -> list[str]:
    """How the image's build makes the list; the file it writes comes last."""
    (run,) = (one for one in instructions("RUN") if "cyclonedx_py" in one)
    return shlex.split(run.partition(" -m cyclonedx_py")[2])


def listed(document: dict[str, Any]) -> dict[tuple[str, str], set[str]]:
    """The same, as the list tells it."""
    return {
        (one["name"], one["version"]): {
            digest["content"] for place in one["externalReferences"] for digest in place["hashes"]
        }
        for one in document["components"]
    }


@needs_tools
def test_the_list_names_every_package_of_the_image_with_its_version_and_hashes(tmp_path: Path) -> None:
    written = tmp_path / "list.json"
    asked = [
        str(TOOLS / "python"),
        "-W",
        "ignore",
        "-m",
        "cyclonedx_py",
        *command()[:-1],
        str(written),
        "--no-validate",
    ]
    subprocess.run(asked, cwd=ROOT, check=True, capture_output=True)
    document = json.loads(written.read_text())
    assert (document["bomFormat"], document["metadata"]["component"]["name"]) == ("CycloneDX", "recording-status")
    assert listed(document) == locked()
    assert all(locked().values())
    assert {"fastapi", "sqlalchemy", "cryptography"} <= {name for name, _ in locked()}
    document["components"].pop()
    assert listed(document) != locked()


def test_make_writes_the_same_list_as_the_image() -> None:
    (told,) = re.findall(r"^SBOM = .* -m cyclonedx_py (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert shlex.split(told) == command()[:-2]


def test_every_package_we_ask_for_has_its_reason_and_is_used() -> None:
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())
    names = {re.split(r"[\[<>=]", one)[0] for one in asked["project"]["dependencies"]}
    reasons = (ROOT / "docs" / "decisions.md").read_text().partition("## Dependencies")[2]
    told = {name.strip() for row in re.findall(r"(?m)^\| ([a-z][a-z0-9, -]*) \|", reasons) for name in row.split(",")}
    groups = {re.split(r"[\[<>=]", one)[0] for group in asked["dependency-groups"].values() for one in group}
    assert (names | groups) - told == set()
    assert told - names - groups == {"package"}  # the head of the table
    assert names <= {name for name, _ in locked()}
    sources = "".join(path.read_text() for path in ROOT.glob("app/**/*.py")) + (ROOT / "migrations/env.py").read_text()
    unused = {name for name in names if not re.search(rf"(?:import|from|[\"'+]) ?{name.replace('-', '_')}\b", sources)}
    assert unused <= {"httptools"}  # uvicorn's, found by itself
