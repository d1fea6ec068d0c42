"""The files that containers are made and run by, read for the tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from app.settings import Settings

ROOT = Path(__file__).parents[1]


def read(path: str) -> Any:
    return YAML(typ="safe").load(ROOT / path)


def instructions(name: str) -> list[str]:
    """The arguments of each such instruction of the Dockerfile, in order."""
    whole = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    return re.findall(rf"^{name} +(.*)$", whole, re.MULTILINE)


NAMES = {name.upper() for name in Settings.model_fields}
NAMES |= {f"{name}_FILE" for name in NAMES}
"""What the environment may be called."""

COMPOSE: dict[str, Any] = read("docker-compose.yml")

OURS: dict[str, dict[str, Any]] = {
    name: service for name, service in COMPOSE["services"].items() if service["image"] == "recording-status"
}
"""The services of the compose file that run our image."""

KUBERNETES: dict[str, dict[str, Any]] = {
    f"{item['kind']}/{item['metadata']['name']}": item for item in read("deploy/kubernetes.yaml")["items"]
}

PODS: dict[str, dict[str, Any]] = {
    name: item["spec"]["template"]["spec"] for name, item in KUBERNETES.items() if "template" in item.get("spec", {})
}
"""The Kubernetes pods, by the name of what makes them."""
