"""The image and the compose file: what they are made of, and what runs inside."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from asyncio.subprocess import create_subprocess_exec
from pathlib import Path

from tests.deployed import COMPOSE, KUBERNETES, NAMES, OURS, PODS, ROOT, instructions, read
from tests.test_operation import environment, program, run
from tests.world import BARE

TOOLS = Path(sys.executable).parent


def tool(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(TOOLS / command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True)


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


# -- the image


def test_the_dockerfile_passes_hadolint(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python:latest\n")
    assert "DL3007" in tool("hadolint", str(tmp_path / "Dockerfile")).stdout
    assert tool("hadolint", "Dockerfile").stdout == ""


def test_the_base_is_pinned_to_a_release() -> None:
    bases = [line.split()[0] for line in instructions("FROM")]
    pinned = set(bases) - {"base", "build", "scratch"}
    assert len(pinned) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", pinned.pop())


def test_the_image_installs_wheels_with_the_hashes_of_the_lock_and_nothing_else() -> None:
    installs = re.findall(r"pip (?:--python \S+ )?install ([^&]*)", " && ".join(instructions("RUN")))
    locked = ["requirements-build.txt", "requirements.txt", "requirements-audit.txt"]
    assert [one.split()[-1] for one in installs] == [*locked[:2], "dist/*.whl", locked[2]]
    for one in (one for one in installs if one.split()[-1] in locked):
        assert "--require-hashes" in one
        assert "--only-binary :all:" in one
    assert "--no-deps" in installs[2]


def test_the_lock_is_what_is_installed_here() -> None:
    """So what the tests ran with is what the image gets."""
    lock = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    assert lock
    for name, version in lock.items():
        try:
            assert importlib.metadata.version(name) == version, name
        except importlib.metadata.PackageNotFoundError:
            assert re.search(rf"^{name}==\S+ ;", (ROOT / "requirements.txt").read_text(), re.MULTILINE), name


def test_the_image_runs_as_a_numbered_user_and_carries_no_secret() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", instructions("USER")[-1])
    given = " ".join(instructions("ENV") + instructions("ARG"))
    assert not re.search("secret|key|password|token|database", given, re.IGNORECASE)


def test_the_build_sees_only_what_the_image_is_made_of() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {source for line in instructions("COPY") if not line.startswith("--from") for source in line.split()[:-1]}
    assert let_in == copied


def test_every_name_in_the_images_environment_is_a_setting() -> None:
    names = set(re.findall(r"\b([A-Z_]+)=", instructions("ENV")[-1]))
    assert "HOST" in names
    assert names - {"PATH"} <= NAMES


# -- what runs inside


async def health(port: str) -> int:
    process = await create_subprocess_exec(
        sys.executable, "-IS", str(ROOT / "deploy/alive.py"), env={"PORT": port}, cwd=ROOT
    )
    return await process.wait()


async def test_the_health_check_tells_a_process_that_answers_from_one_that_is_gone(tmp_path: Path) -> None:
    async with program(tmp_path, "serve", "--port", "0", env=environment(tmp_path)) as process:
        await process.until_ready()
        port = process.url.rpartition(":")[2]
        assert await health(port) == 0
        await process.end()
        assert await health(port) == 1


async def test_migrating_needs_no_keys_where_serving_would(tmp_path: Path) -> None:
    """The migration's container gets the database's address and no other secret."""
    env = {**BARE, "HOST": "0.0.0.0", "DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/one.db"}
    assert await run(tmp_path, "migrate", env=env) == (0, "The schema is up to date.\n")
    code, said = await run(tmp_path, "serve", env=env)
    assert code == 2
    assert "API_KEYS" in said


async def test_the_demonstration_runs_where_all_addresses_are_listened_on(tmp_path: Path) -> None:
    """As in a container: the simulator sends its callbacks to loopback all the same."""
    env = {**BARE, "HOST": "0.0.0.0", "API_KEYS": "demo:admin:demonstration-key"}
    async with program(tmp_path, "run", "--port", "0", env=env) as process:
        await process.until_ready()
        assert await process.end() == 0, process.said


# -- compose


def test_the_compose_file_follows_the_compose_schema(tmp_path: Path) -> None:
    validate = ("check-jsonschema", "--builtin-schema", "vendor.compose-spec")
    done = tool(*validate, "docker-compose.yml")
    assert done.returncode == 0, done.stdout
    (tmp_path / "wrong.yml").write_text("services: {api: {image: one, readonly: true}}")
    assert "readonly" in tool(*validate, str(tmp_path / "wrong.yml")).stdout


def test_every_container_is_read_only_and_without_privileges() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "/tmp" in service["tmpfs"], name
        assert service.get("user") != "root", name


def test_every_container_that_stays_is_watched() -> None:
    assert instructions("HEALTHCHECK")
    for name, service in COMPOSE["services"].items():
        if name in OURS:
            assert ("healthcheck" in service) == (name == "migrate"), f"{name} has the image's own"
        else:
            assert service["healthcheck"]["test"], name


def test_every_name_in_our_containers_environment_is_a_setting() -> None:
    assert OURS.keys() == {"api", "worker", "migrate", "demo"}
    for name, service in OURS.items():
        assert set(service["environment"]) <= NAMES, name


def test_secrets_come_as_files_that_their_service_is_given() -> None:
    for name, service in COMPOSE["services"].items():
        named = {path.removeprefix("/run/secrets/") for path in map(str, service.get("environment", {}).values())
                 if path.startswith("/run/secrets/")}  # fmt: skip
        given = set(service.get("secrets", []))
        assert named <= given, name
        assert given <= set(COMPOSE["secrets"]), name
    assert {"API_KEYS", "DATABASE_URL", "ZEGO_SERVER_SECRET", "ZEGO_CALLBACK_SECRET"}.isdisjoint(
        COMPOSE["services"]["api"]["environment"]
    )


def test_stopping_is_given_more_time_than_the_service_takes() -> None:
    for name in ("api", "worker"):
        allowed = seconds(OURS[name]["stop_grace_period"])
        assert allowed > float(OURS[name]["environment"]["SHUTDOWN_TIMEOUT"]) + 5, name
    for name, pod in PODS.items():
        if name.startswith("Deployment"):
            took = float(KUBERNETES["ConfigMap/recording-status"]["data"]["SHUTDOWN_TIMEOUT"])
            took += pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
            assert pod["terminationGracePeriodSeconds"] > took + 5, name


def test_serving_waits_for_the_migration_and_the_migration_for_the_database() -> None:
    for name in ("api", "worker"):
        assert OURS[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
        assert OURS[name]["command"] == ["serve", "--role", name]
    assert OURS["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert OURS["demo"]["depends_on"] == {}


def test_the_files_compose_mounts_are_there() -> None:
    mounted = [
        volume.split(":")[0] for service in COMPOSE["services"].values() for volume in service.get("volumes", [])
    ]
    files = [path for path in mounted if path.startswith("./")]
    assert len(files) == 4
    for path in files:
        assert (ROOT / path).exists(), path
    assert {path for path in mounted if not path.startswith("./")} == set(COMPOSE["volumes"])


def test_prometheus_asks_the_services_that_serve() -> None:
    (job,) = read("deploy/prometheus.yml")["scrape_configs"]
    assert job["dns_sd_configs"][0]["names"] == ["api", "worker"]
    assert job["dns_sd_configs"][0]["port"] == int(instructions("EXPOSE")[0])
    assert job["authorization"]["credentials_file"] == "/run/secrets/metrics_key"
    assert COMPOSE["services"]["prometheus"]["secrets"] == ["metrics_key"]
