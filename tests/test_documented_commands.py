"""The commands that README and docs show exist, with the options, paths and names they are shown with."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from app.start import root
from tests.deployed import COMPOSE, KUBERNETES, ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
PATHS: dict[str, Any] = json.loads((ROOT / "docs/openapi.json").read_text())["paths"]
MAKEFILE = (ROOT / "Makefile").read_text()
HOSTS = r"(?:https?://)?(?:localhost:8000|\$URL|\$\(docker compose port api 8000\))"


def shown(text: str) -> Iterator[str]:
    """What stands there to be typed: lines of shell blocks, indented lines and code within sentences."""
    text = text.replace("\\\n", " ")
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if language in ("console", "sh"):
            yield from (line.removeprefix("$ ") for line in block.splitlines() if language == "sh" or line[:2] == "$ ")
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from (line.strip() for line in text.splitlines() if re.match(r"    [a-z./]", line))
    yield from re.findall(r"`((?:recording-status|make|python|curl|docker|kubectl|sh) [^`]+)`", text)


def commands(text: str, program: str) -> Iterator[list[str]]:
    """The words after each call of this program, up to a comment, a pipe or a redirection."""
    for line in shown(text):
        found = re.match(rf"(?:until )?(?:\.venv/bin/)?{program} (.*)", line)
        if found:
            words = shlex.shlex(found[1], posix=True, punctuation_chars=True)
            words.whitespace_split = True
            yield [word.strip("[]") for word in itertools.takewhile(lambda one: one[0] not in "|>;&", words)]


def make(words: list[str]) -> str | None:
    """What is wrong with a call of make; None: nothing."""
    recipe = re.search(rf"^{words[0]}:.*\n((?:\t.*\n?)*)", MAKEFILE, re.MULTILINE)
    if not recipe:
        return f"no target {words[0]}"
    given = [word.removeprefix("ARGS=") for word in words if word.startswith("ARGS=")]
    program = re.search(r"python (?:-W ignore )?(-m \S+|\S+\.py) ", recipe[1])
    return python([*program[1].split(), *shlex.split(given[0])]) if given and program else None


def python(words: list[str]) -> str | None:
    module = words[1].replace(".", "/") if words[0] == "-m" else words[0].removesuffix(".py")
    if module == "pytest":
        return None
    file = next((one for one in (ROOT / f"{module}.py", ROOT / module / "__main__.py") if one.is_file()), None)
    if not file:
        return f"no program {module}"
    source = file.read_text()
    if "command_line(" in source:  # with the options that benchmarks of rows share
        source += (ROOT / "bench" / "report.py").read_text()
    options = [word.partition("=")[0] for word in words[1:] if word.startswith("--")]
    unknown = [one for one in options if f'"{one}"' not in source and "parse_known_args" not in source]
    return f"no option {unknown}" if unknown else None


def recording_status(words: list[str]) -> str | None:
    command: Any = get_command(root)
    rest = list(words)
    while rest and hasattr(command, "get_command") and not rest[0].startswith("-"):
        command = command.get_command(None, rest.pop(0))
        if command is None:
            return f"no command {words}"
    options = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}
    unknown = [word for word in rest if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in options]
    return f"no option {unknown}" if unknown else None


def curl(words: list[str]) -> str | None:
    """Only calls of our own API are looked at."""
    address = next((found for word in words if (found := re.match(rf"{HOSTS}(/[^?]*)(?:\?(.*))?$", word))), None)
    if not address:
        return None
    method = words[words.index("-X") + 1] if "-X" in words else "POST" if "-d" in words else "GET"
    path = re.sub(r"\$\w+", "x", address[1])
    for template, operations in PATHS.items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path) and method.lower() in operations:
            known = {one["name"] for one in operations[method.lower()].get("parameters", []) if one["in"] == "query"}
            unknown = [name for name in re.findall(r"(?:^|&)(\w+)=", address[2] or "") if name not in known]
            return f"no parameter {unknown}" if unknown else None
    return None if path in ("/metrics",) else f"no operation {method} {path}"


def docker(words: list[str]) -> str | None:
    if words[0] != "compose":
        return None
    profiles = {one for service in COMPOSE["services"].values() for one in service.get("profiles", [])}
    scaled = [words[n + 1].split("=")[0] for n, word in enumerate(words) if word == "--scale"]
    named = [word for n, word in enumerate(words) if "up" in words[:n] and re.match(r"[a-z]+$", word)]
    asked = [words[n + 1] for n, word in enumerate(words) if word == "--profile"]
    unknown = [one for one in scaled + named if one not in COMPOSE["services"]]
    unknown += [one for one in asked if one not in profiles]
    return f"no {unknown}" if unknown else None


def kubectl(words: list[str]) -> str | None:
    objects = {name.lower() for name in KUBERNETES}
    named = [word for word in words if word.startswith(("job/", "deployment/"))]
    unknown = [one for one in named if not any(name.startswith(one) for name in objects)]
    return f"no {unknown}" if unknown else None


CHECKS: dict[str, Callable[[list[str]], str | None]] = {
    "make": make,
    "python": python,
    "recording-status": recording_status,
    "curl": curl,
    "docker": docker,
    "kubectl": kubectl,
}


def faults(text: str) -> list[str]:
    found = []
    for program, check in CHECKS.items():
        for words in commands(text, program):
            wrong = check(words)
            gone = [word for word in words if re.match(r"(deploy|bench|tests)/[\w./-]+$", word) and not _is_there(word)]
            found += [f"{program} {' '.join(words)}: {wrong or gone}"] if wrong or gone else []
    return found


def _is_there(path: str) -> bool:
    return (ROOT / path).exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_a_page_shows_exists(page: Path) -> None:
    assert faults(page.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "make nothing",
        'make chaos ARGS="--slow"',
        "python -m bench.nothing",
        "python -m bench.light --nothing 1",
        "recording-status nothing",
        "recording-status serve [--host H] [--rule all|api]",
        "recording-status tasks list --nothing x | jq .",
        "curl -s localhost:8000/v1/nothing",
        "curl -s '$URL/v1/tasks?nothing=1'",
        "curl -s -X PUT $URL/v1/tasks",
        "docker compose up -d --scale nothing=2",
        "docker compose up nothing",
        "kubectl rollout status deployment/nothing",
        "python bench/budget.py tests/nothing.py",
    ],
)
def test_what_does_not_exist_is_noticed(line: str) -> None:
    assert len(faults(f"So:\n\n    {line}\n")) == 1
    assert len(faults(f"```sh\n{line}\n```\n")) == 1


def test_many_commands_are_found() -> None:
    everything = "\n".join(page.read_text() for page in PAGES)
    found = {program: len(list(commands(everything, program))) for program in CHECKS}
    least = {"make": 20, "python": 10, "recording-status": 15, "curl": 10, "docker": 4, "kubectl": 5}
    assert {program: number for program, number in least.items() if found[program] < number} == {}


def anchors(page: Path) -> set[str]:
    """The places a link can lead to, as GitHub names them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not re.match(r"[a-z]+:", link):
            path, _, anchor = link.partition("#")
            target = (page.parent / path) if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link
