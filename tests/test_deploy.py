"""What puts the containers into the world: their secrets, and the Kubernetes objects."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from app.settings import load_settings
from tests.deployed import COMPOSE, KUBERNETES, NAMES, OURS, PODS, ROOT, instructions
from tests.world import BARE

# -- secrets


def make_secrets(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(ROOT / "deploy/make-secrets.sh")],
        cwd=folder,
        env={**BARE, **env},
        input="",
        capture_output=True,
        text=True,
    )


def test_the_secrets_made_are_the_ones_compose_mounts_and_the_settings_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = make_secrets(tmp_path, ZEGO_SERVER_SECRET="server", ZEGO_CALLBACK_SECRET="callback")
    assert done.returncode == 0, done.stderr
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert made.keys() == COMPOSE["secrets"].keys()
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "secrets").iterdir()} == {0o644}
    for name, path in COMPOSE["services"]["api"]["environment"].items():
        if name.endswith("_FILE"):
            monkeypatch.setenv(name, str(tmp_path / path.removeprefix("/run/")))
    settings = load_settings(zego_app_id=1, host="0.0.0.0")
    assert [(key.name, key.role) for key in settings.api_keys] == [("admin", "admin"), ("prometheus", "read")]
    assert made["database_password"] in settings.database_url
    assert f":{made['metrics_key']}" in made["api_keys"]


def test_secrets_that_are_there_stay_and_those_of_the_provider_are_needed(tmp_path: Path) -> None:
    assert make_secrets(tmp_path).returncode != 0
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert "zego_server_secret" not in made
    assert make_secrets(tmp_path, ZEGO_SERVER_SECRET="server", ZEGO_CALLBACK_SECRET="callback").returncode == 0
    assert {name: (tmp_path / "secrets" / name).read_text() for name in made} == made


# -- Kubernetes


def test_kubernetes_runs_the_same_commands_with_the_same_rights() -> None:
    assert set(KUBERNETES["ConfigMap/recording-status"]["data"]) <= NAMES
    made_by = {"Job/recording-status-migrate": "migrate", "Deployment/recording-status-api": "api",
               "Deployment/recording-status-worker": "worker"}  # fmt: skip
    assert PODS.keys() == made_by.keys()
    for name, pod in PODS.items():
        (container,) = pod["containers"]
        assert container["args"] == OURS[made_by[name]]["command"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert str(pod["securityContext"]["runAsUser"]) == instructions("USER")[0].split(":")[0]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert not container["securityContext"]["allowPrivilegeEscalation"]
        if made_by[name] != "migrate":
            assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
            assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
            labels = KUBERNETES[name]["spec"]["template"]["metadata"]["labels"]
            assert KUBERNETES[name]["spec"]["selector"]["matchLabels"] == labels
    selector = KUBERNETES["Service/recording-status"]["spec"]["selector"]
    assert selector == {"app": "recording-status", "role": "api"}
