import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from app.errors import Misconfigured
from app.settings import ApiKey, Settings, load_settings

SECRET = "a-secret-nobody-may-see"
LONG_KEY = "another-secret-of-a-key"
APP = {"ZEGO_APP_ID": "1", "ZEGO_SERVER_SECRET": SECRET}


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of ours is set, and there is no ``.env``."""
    ours = {name.upper() for name in Settings.model_fields}
    for name in list(os.environ):
        if name.upper() in ours or name.upper().removesuffix("_FILE") in ours:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Load the settings with these variables in the environment."""

    def loaded(environment: dict[str, str] | None = None, /, **overrides: Any) -> Settings:
        for name, value in (environment or {}).items():
            monkeypatch.setenv(name, value)
        return load_settings(**overrides)

    return loaded


@pytest.fixture
def faults(load: Any) -> Any:
    """The lines with which the settings are refused."""

    def refused(environment: dict[str, str], /, **overrides: Any) -> list[str]:
        with pytest.raises(Misconfigured) as caught:
            load(environment, **overrides)
        lines = caught.value.faults
        assert str(caught.value) == "\n".join(lines)
        assert not any("\n" in line for line in lines)
        return lines

    return refused


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


# -- defaults and sources


def test_everything_has_a_default_but_the_app(load: Any) -> None:
    settings = load()
    assert settings.database_url == "sqlite+aiosqlite:///./data/recordings.db"
    assert settings.zego_api_url == "https://cloudrecord-api.zego.im"
    assert (settings.host, settings.port, settings.public_url) == ("127.0.0.1", 8000, None)
    assert (settings.log_level, settings.log_format) == ("info", "text")
    assert (settings.poll_budget, settings.shutdown_timeout) == (10, 10)
    assert (settings.zego_is_test, settings.apps, settings.api_keys) == (None, {}, ())


def test_the_environment_wins_over_files_and_files_over_dotenv(load: Any, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=1\nLOG_LEVEL=debug\nHOST=localhost\n")
    (tmp_path / "port").write_text("2\n")
    (tmp_path / "level").write_text("  error \n")
    told = {"PORT": "3", "PORT_FILE": str(tmp_path / "port"), "LOG_LEVEL_FILE": str(tmp_path / "level")}
    settings = load(told)
    assert (settings.port, settings.log_level, settings.host) == (3, "error", "localhost")


def test_the_command_line_wins_over_all(load: Any) -> None:
    settings = load({"HOST": "localhost", "PORT": "1"}, host=None, port=2)
    assert (settings.host, settings.port) == ("localhost", 2)


@pytest.mark.parametrize("name", ["PORT", "ZEGO_APP_ID", "ZEGO_IS_TEST", "ZEGO_APPS", "API_KEYS", "LOG_LEVEL"])
def test_an_empty_variable_is_as_good_as_none(load: Any, name: str) -> None:
    assert load({name: ""}) == load_settings()


def test_other_programs_variables_do_not_matter(load: Any, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SOMETHING_ELSE=1\n")
    assert load({"ANOTHER": "x"}) == Settings()


def test_secrets_may_come_from_files(load: Any, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    (tmp_path / "keys").write_text(f"ci:read:{LONG_KEY}\nops:admin:{LONG_KEY}2\n\n")
    told = {"ZEGO_APP_ID": "1", "ZEGO_SERVER_SECRET_FILE": str(tmp_path / "secret")}
    settings = load(told | {"API_KEYS_FILE": str(tmp_path / "keys")})
    assert settings.apps[1].server_secret.get_secret_value() == SECRET
    assert [(key.name, key.role) for key in settings.api_keys] == [("ci", "read"), ("ops", "admin")]


def test_a_file_that_cannot_be_read_is_named_with_its_variable(faults: Any, tmp_path: Path) -> None:
    (line,) = faults({"API_KEYS_FILE": str(tmp_path / "missing")})
    assert line.startswith("API_KEYS_FILE: cannot read ")


def test_settings_do_not_change(load: Any) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().port = 1


# -- faults


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://somewhere/x"),
        ("DATABASE_URL", "sqlite:///x.db"),
        ("DATABASE_URL", "sqlite+aiosqlite:///"),
        ("DATABASE_URL", "recordings.db"),
        ("DATABASE_URL", "postgresql://host:port/name"),
        ("ZEGO_API_URL", "cloudrecord-api.zego.im"),
        ("ZEGO_API_URL", "https://cloudrecord-api.zego.im/?Action=x"),
        ("ZEGO_API_URL", "https://user:word@cloudrecord-api.zego.im"),
        ("ZEGO_API_URL", "ftp://cloudrecord-api.zego.im"),
        ("ZEGO_IS_TEST", "perhaps"),
        ("ZEGO_APP_ID", "0"),
        ("ZEGO_APP_ID", "4294967296"),
        ("ZEGO_APP_ID", "one"),
        ("ZEGO_APPS", "not json"),
        ("ZEGO_APPS", "{}"),
        ("ZEGO_APPS", '"x"'),
        ("ZEGO_APPS", "[1]"),
        ("ZEGO_APPS", '[{"app_id": 1}]'),
        ("ZEGO_APPS", '[{"server_secret": "x"}]'),
        ("ZEGO_APPS", '[{"app_id": 1, "server_secret": ""}]'),
        ("ZEGO_APPS", '[{"app_id": 1, "server_secret": "x", "poll_limit": 0}]'),
        ("ZEGO_APPS", '[{"app_id": 1, "server_secret": "x", "sever_secret": "x"}]'),
        ("API_KEYS", "nothing"),
        ("API_KEYS", f"name:{LONG_KEY}"),
        ("API_KEYS", f"Name:read:{LONG_KEY}"),
        ("API_KEYS", f":read:{LONG_KEY}"),
        ("API_KEYS", f"name:owner:{LONG_KEY}"),
        ("API_KEYS", "name:read:"),
        ("API_KEYS", "name:read:fifteen-letters"),
        ("API_KEYS", "name:read:sha256=abc"),
        ("API_KEYS", "name:read:sha256=" + "g" * 64),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PORT", "http"),
        ("PUBLIC_URL", "example.org"),
        ("API_CONTACT", "night shift"),
        ("API_CONTACT", "javascript:alert(1)"),
        ("API_CONTACT", "https://user:word@example.org"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("POLL_BUDGET", "0"),
        ("SHUTDOWN_TIMEOUT", "0"),
        ("SHUTDOWN_TIMEOUT", "nan"),
    ],
)
def test_a_fault_is_one_line_that_names_its_variable(faults: Any, name: str, value: str) -> None:
    (line,) = faults({name: value})
    assert line.startswith((f"{name}: ", f"{name}."))


def test_several_faults_are_several_lines(faults: Any) -> None:
    lines = faults({"PORT": "http", "LOG_LEVEL": "loud", "DATABASE_URL": "x", "API_KEYS": "x"})
    assert [line.split(":")[0] for line in lines] == ["DATABASE_URL", "API_KEYS", "PORT", "LOG_LEVEL"]


def test_a_fault_within_a_list_names_its_place(faults: Any) -> None:
    apps = [{"app_id": 1, "server_secret": "x"}, {"app_id": "one", "server_secret": "x", "poll_limit": 0}]
    first, second = faults({"ZEGO_APPS": json.dumps(apps)})
    assert first.startswith("ZEGO_APPS.1.app_id: ")
    assert second.startswith("ZEGO_APPS.1.poll_limit: ")


def test_a_fault_among_keys_names_its_place(faults: Any) -> None:
    (line,) = faults({"API_KEYS": f"ci:read:{LONG_KEY},ops:admin:short"})
    assert line == "API_KEYS: entry 2 (ops): the secret is shorter than 16 characters"


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({"ZEGO_APP_ID": "1"}, "ZEGO_SERVER_SECRET"),
        ({"ZEGO_SERVER_SECRET": SECRET}, "ZEGO_APP_ID"),
        ({"ZEGO_CALLBACK_SECRET": SECRET}, "ZEGO_APP_ID"),
        ({"ZEGO_APP_ID": "1", "ZEGO_CALLBACK_SECRET": SECRET}, "ZEGO_SERVER_SECRET"),
        ({"ZEGO_SERVER_SECRET": SECRET, "ZEGO_CALLBACK_SECRET": SECRET}, "ZEGO_APP_ID"),
    ],
)
def test_partial_credentials_are_refused(faults: Any, told: dict[str, str], named: str) -> None:
    (line,) = faults(told)
    assert line.startswith(f"{named}: is missing")


# -- apps


def test_one_app_is_configured_by_itself(load: Any) -> None:
    apps = load(APP | {"ZEGO_CALLBACK_SECRET": "back"}).apps
    assert apps.keys() == {1}
    assert apps[1].server_secret.get_secret_value() == SECRET
    assert apps[1].callback_secret.get_secret_value() == "back"
    assert apps[1].poll_limit == 10


def test_several_apps_are_configured_as_a_list(load: Any) -> None:
    first = {"app_id": 1, "server_secret": "s1"}
    second = {"app_id": 4294967295, "server_secret": "s2", "callback_secret": "c2", "poll_limit": 50}
    apps = load({"ZEGO_APPS": json.dumps([first, second])}).apps
    assert list(apps) == [1, 4294967295]
    assert (apps[1].callback_secret, apps[1].poll_limit) == (None, 10)
    assert (apps[4294967295].callback_secret.get_secret_value(), apps[4294967295].poll_limit) == ("c2", 50)


def test_an_empty_list_of_apps_is_none(load: Any) -> None:
    assert load({"ZEGO_APPS": "[]"}).apps == {}


@pytest.mark.parametrize(
    "told",
    [
        APP | {"ZEGO_APPS": '[{"app_id": 2, "server_secret": "x"}]'},
        {"ZEGO_APPS": '[{"app_id": 2, "server_secret": "x"}, {"app_id": 2, "server_secret": "y"}]'},
    ],
    ids=["beside a single app", "the same app twice"],
)
def test_apps_are_configured_in_one_way_and_once(faults: Any, told: dict[str, str]) -> None:
    (line,) = faults(told)
    assert line.startswith("ZEGO_APPS: ")


# -- keys


@pytest.mark.parametrize(
    "text",
    [
        f"ci:read:{LONG_KEY},ops:admin:{SECRET}",
        f" ci:read:{LONG_KEY} , ops:admin:{SECRET} ,",
        f"ci:read:{LONG_KEY}\nops:admin:{SECRET}\n",
        f"ci:read:{LONG_KEY}\r\n\r\nops:admin:{SECRET}\r\n",
        f"ci:read:sha256={digest(LONG_KEY).hex()},ops:admin:sha256={digest(SECRET).hex().upper()}",
    ],
    ids=["commas", "spaces", "lines", "CR LF", "digests"],
)
def test_keys_are_read_from_a_list(load: Any, text: str) -> None:
    told = load({"API_KEYS": text}).api_keys
    assert told == (ApiKey("ci", "read", digest(LONG_KEY)), ApiKey("ops", "admin", digest(SECRET)))


def test_a_name_may_occur_twice_while_its_key_is_rotated(load: Any) -> None:
    told = load({"API_KEYS": f"ci:read:{LONG_KEY},ci:write:{SECRET}"}).api_keys
    assert [(key.name, key.role) for key in told] == [("ci", "read"), ("ci", "write")]


@pytest.mark.parametrize("secret", ["x" * 16, "with:colons:in-it", "sixteen-über-all"])
def test_a_secret_is_any_text_of_sixteen_characters(load: Any, secret: str) -> None:
    (key,) = load({"API_KEYS": f"ci:read:{secret}"}).api_keys
    assert key.sha256 == digest(secret)


# -- listening


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_without_keys_the_service_listens_on_loopback(load: Any, host: str) -> None:
    assert load({"HOST": host}).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_without_keys_another_host_is_refused(faults: Any, host: str) -> None:
    (line,) = faults({"HOST": host})
    assert line.startswith(f"HOST: {host} ")
    (line,) = faults({"HOST": "127.0.0.1"}, host=host)
    assert line.startswith(f"HOST: {host} ")


def test_with_a_key_the_service_listens_anywhere(load: Any) -> None:
    assert load({"HOST": "0.0.0.0", "API_KEYS": f"ci:read:{LONG_KEY}"}).host == "0.0.0.0"


# -- addresses


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgres://u:p@h/n", "postgresql+asyncpg://u:p@h/n"),
        ("postgresql://u:p@h:5433/n?ssl=require", "postgresql+asyncpg://u:p@h:5433/n?ssl=require"),
        ("postgresql+asyncpg://h/n", "postgresql+asyncpg://h/n"),
        ("sqlite+aiosqlite:///./a.db", "sqlite+aiosqlite:///./a.db"),
        ("sqlite+aiosqlite:////var/lib/a.db", "sqlite+aiosqlite:////var/lib/a.db"),
    ],
)
def test_a_database_is_named_in_any_usual_form(load: Any, given: str, used: str) -> None:
    assert load({"DATABASE_URL": given}).database_url == used


@pytest.mark.parametrize("name", ["ZEGO_API_URL", "PUBLIC_URL"])
@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://example.org", "https://example.org"),
        ("https://example.org/", "https://example.org"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("http://[::1]:9000/", "http://[::1]:9000"),
    ],
)
def test_an_origin_is_scheme_host_and_port(load: Any, name: str, given: str, used: str) -> None:
    assert getattr(load({name: given}), name.lower()) == used


# -- secrets


@pytest.mark.parametrize(
    "told",
    [
        APP | {"ZEGO_CALLBACK_SECRET": SECRET},
        {"ZEGO_APPS": json.dumps([{"app_id": 1, "server_secret": SECRET, "callback_secret": SECRET}])},
        {"API_KEYS": f"ci:read:{SECRET}"},
    ],
    ids=lambda told: "+".join(told),
)
def test_secrets_are_not_shown_with_the_settings(load: Any, told: dict[str, str]) -> None:
    settings = load(told)
    assert SECRET not in f"{settings!r} {settings} {settings.apps!r} {settings.model_dump()}"


@pytest.mark.parametrize(
    "told",
    [
        {"API_KEYS": LONG_KEY},
        {"API_KEYS": f"name:owner:{LONG_KEY}"},
        {"API_KEYS": f"Name:read:{LONG_KEY}"},
        {"API_KEYS": f"ci:read:{LONG_KEY},{SECRET}"},
        {"API_KEYS": f"ci:read:sha256={LONG_KEY}"},
        {"ZEGO_SERVER_SECRET": SECRET, "ZEGO_CALLBACK_SECRET": LONG_KEY},
        {"ZEGO_APP_ID": "one", "ZEGO_SERVER_SECRET": SECRET},
        {"ZEGO_APPS": f'[{{"app_id": 1, "server_secret": "{SECRET}"'},
        {"ZEGO_APPS": f'[{{"app_id": "x", "server_secret": "{SECRET}", "callback_secret": "{LONG_KEY}"}}]'},
        {"ZEGO_APPS": f'[{{"app_id": 1, "server_secret": ["{SECRET}"]}}]'},
        {"ZEGO_APPS": f'["{SECRET}"]'},
        {"DATABASE_URL": f"mysql://user:{SECRET}@host/name"},
        {"DATABASE_URL": f"postgresql://user:{SECRET}/name"},
        {"DATABASE_URL": f"postgresql://user@host:{SECRET}/name"},
        {"ZEGO_API_URL": f"https://user:{SECRET}@host"},
        {"HOST": "0.0.0.0", "ZEGO_APP_ID": "1", "ZEGO_SERVER_SECRET": SECRET},
    ],
    ids=lambda told: "+".join(told),
)
def test_secrets_are_not_shown_with_a_fault(load: Any, told: dict[str, str]) -> None:
    with pytest.raises(Misconfigured) as caught:
        load(told)
    shown = f"{caught.value} {caught.value!r} {caught.value.faults}"
    assert SECRET not in shown
    assert LONG_KEY not in shown


@pytest.mark.parametrize("url", ["sqlite+aiosqlite:///:memory:", "sqlite+aiosqlite:///?mode=memory"])
def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured, match="DATABASE_URL"):
        load_settings(database_url=url)


def test_the_databases_password_is_not_in_the_repr() -> None:
    assert "TOPSECRET" not in repr(load_settings(database_url="postgresql://u:TOPSECRET@h/n"))


def test_contradictions_are_all_told() -> None:
    with pytest.raises(Misconfigured) as told:
        load_settings(host="0.0.0.0", zego_app_id=1)
    assert len(told.value.faults) == 2


@pytest.mark.parametrize("days", [0, 1, 2.5, 36500])
def test_what_is_kept_is_kept_for_ever_or_at_least_a_day(days: float) -> None:
    assert load_settings(retention_days=days).retention_days == days
    with pytest.raises(Misconfigured, match="RETENTION_DAYS"):
        load_settings(retention_days=0.9)
