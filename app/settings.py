"""Everything configurable, and the only reader of the environment.

Each setting NAME may also come as NAME_FILE (a path whose content is the value: container secrets) or from ``.env``.
The environment wins over files, files over ``.env``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, Field, IPvAnyNetwork, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from app.errors import Misconfigured

Role = Literal["read", "write", "admin"]
Port = Annotated[int, Field(ge=1, le=65535)]
S = TypeVar("S", bound="FromEnvironment")


class ApiKey(NamedTuple):
    """One key: who uses it, what it may do, and the SHA-256 of its secret (the secret itself is not kept)."""

    name: str
    role: Role
    sha256: bytes


class ProviderApp(BaseModel, frozen=True, extra="forbid"):
    """One ZEGOCLOUD project. ``poll_limit``: calls a second the provider granted it per action (default 10)."""

    app_id: int = Field(ge=1, le=2**32 - 1)
    server_secret: SecretStr = Field(min_length=1)
    callback_secret: SecretStr | None = None
    poll_limit: int = Field(10, ge=1, le=1000)


class NameFiles(PydanticBaseSettingsSource):
    """Reads NAME_FILE: the setting NAME from the file it points to, without surrounding white space."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        path = os.environ.get(f"{field_name.upper()}_FILE")
        if not path or os.environ.get(field_name.upper()):
            return None, field_name, False
        try:
            return Path(path).read_text(encoding="utf-8").strip(), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            raise Misconfigured([f"{field_name.upper()}_FILE: cannot read {path}: {error}"]) from error

    def __call__(self) -> dict[str, Any]:
        found = ((name, self.get_field_value(None, name)[0]) for name in self.settings_cls.model_fields)
        return {name: value for name, value in found if value is not None}


class FromEnvironment(BaseSettings):
    """Settings from the environment, from the files it names, and from `.env`."""

    model_config = SettingsConfigDict(env_file=".env", frozen=True, extra="ignore", env_ignore_empty=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, NameFiles(settings_cls), dotenv_settings


class Settings(FromEnvironment):
    """The settings, validated and frozen. Names, meanings and defaults are part of the public contract."""

    database_url: str = Field("sqlite+aiosqlite:///./data/recordings.db", repr=False)
    zego_app_id: int | None = Field(None, ge=1, le=2**32 - 1)
    zego_server_secret: SecretStr | None = None
    zego_callback_secret: SecretStr | None = None
    zego_apps: Annotated[tuple[ProviderApp, ...], NoDecode] = ()
    zego_api_url: str = "https://cloudrecord-api.zego.im"
    zego_is_test: bool | None = None
    api_keys: Annotated[tuple[ApiKey, ...], NoDecode] = Field((), repr=False)
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    public_url: str | None = None
    api_contact: str | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"
    poll_budget: int = Field(10, ge=1, le=1000)
    shutdown_timeout: float = Field(10, ge=1, le=300)
    sweep_interval: float = Field(15, ge=0, le=86400)
    discover: bool = False
    secret_key: SecretStr | None = None
    webhook_allow_http: bool = False
    webhook_allowed_networks: Annotated[tuple[IPvAnyNetwork, ...], NoDecode] = ()
    webhook_allowed_ports: Annotated[tuple[Port, ...], NoDecode] = (443, 80)
    database_listen_url: str | None = Field(None, repr=False)
    rate_limit: str = Field("200/s", pattern=r"^[1-9]\d{0,6}/s$")
    retention_days: float = Field(90, ge=0, le=36500)

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("webhook_allowed_networks", "webhook_allowed_ports", mode="before")
    @classmethod
    def _by_commas(cls, value: Any) -> Any:
        return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value

    @field_validator("database_url", "database_listen_url")
    @classmethod
    def _known_database(cls, value: str | None) -> str | None:
        if value is None:
            return None
        url = re.sub(r"^(postgresql|postgres)://", "postgresql+asyncpg://", value)
        if not url.startswith(("postgresql+asyncpg://", "sqlite+aiosqlite:///")):
            raise ValueError("takes sqlite+aiosqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME")
        if url.startswith("postgresql") and not re.search(_PORT, url):
            raise ValueError("has a port that is no number; is there an @ between password and host?")
        file = url.removeprefix("sqlite+aiosqlite:///")
        if url.startswith("sqlite") and (file.strip() in ("", ":memory:") or "mode=memory" in file):
            raise ValueError("names no file: several connections share it, so it cannot live in memory")
        return url

    @field_validator("retention_days")
    @classmethod
    def _for_ever_or_a_day(cls, value: float) -> float:
        # What is purged within the 10 minutes in which a callback's signature holds could come a second time.
        if 0 < value < 1:
            raise ValueError("takes 1 or more, or 0 to keep everything for ever")
        return value

    @field_validator("api_contact")
    @classmethod
    def _mail_or_page(cls, value: str | None) -> str | None:
        if value and not re.fullmatch(r"https://[^\s/@]+(/\S*)?|[^\s@/:]+@[^\s@/:]+", value):
            raise ValueError("takes a mail address, or the address of a page: https://…")
        return value

    @field_validator("zego_api_url", "public_url")
    @classmethod
    def _origin(cls, value: str | None) -> str | None:
        if value is None:
            return None
        found = re.fullmatch(r"https?://([A-Za-z0-9.\-]+|\[[0-9a-fA-F:]+\])(?::(\d{1,5}))?/?", value)
        if not found or int(found[2] or 443) > 65535:
            raise ValueError("takes scheme, host and port only, for instance https://cloudrecord-api-fra.zego.im")
        return value.rstrip("/")

    @field_validator("zego_apps", mode="before")
    @classmethod
    def _apps_from_json(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            apps = json.loads(value)
        except ValueError as error:
            raise ValueError(f"is not JSON: {error}") from None
        if not isinstance(apps, list):
            raise ValueError('takes a JSON list: [{"app_id": 1, "server_secret": "..."}]')
        return apps

    @field_validator("api_keys", mode="before")
    @classmethod
    def _keys_from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        entries = (entry.strip() for entry in re.split(r"[,\n]", value))
        return tuple(_api_key(number, entry) for number, entry in enumerate(filter(None, entries), 1))

    @model_validator(mode="after")
    def _whole(self) -> Settings:
        faults = list(self._contradictions())
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def _contradictions(self) -> Iterator[str]:
        """What is right by itself but not together."""
        single = (self.zego_app_id, self.zego_server_secret)
        if any(single) and not all(single):
            missing = "ZEGO_SERVER_SECRET" if self.zego_app_id else "ZEGO_APP_ID"
            yield f"{missing}: is missing, ZEGO_APP_ID and ZEGO_SERVER_SECRET belong together"
        elif self.zego_callback_secret and not self.zego_app_id:
            yield "ZEGO_APP_ID: is missing beside ZEGO_CALLBACK_SECRET"
        if self.zego_app_id and self.zego_apps:
            yield "ZEGO_APPS: stands beside ZEGO_APP_ID; use one of the two"
        ids = [app.app_id for app in self.zego_apps]
        if len(set(ids)) < len(ids):
            yield "ZEGO_APPS: names an app_id twice"
        if not self.api_keys and self.host not in LOOPBACK:
            yield (
                f"HOST: {self.host} would open the service to the network without any key; "
                "set API_KEYS, or listen on 127.0.0.1"
            )

    @property
    def requests_per_second(self) -> int | None:
        """How often each key may ask; None: as often as it likes.

        Without keys nobody can be told from anybody: what holds by default for each would lock out all for the sake of
        one. Where it is set, it is meant.
        """
        is_meant = self.api_keys or "rate_limit" in self.model_fields_set
        return int(self.rate_limit.removesuffix("/s")) if is_meant else None

    @cached_property
    def apps(self) -> Mapping[int, ProviderApp]:
        """The configured apps by id, however they were configured."""
        apps = list(self.zego_apps)
        if self.zego_app_id and self.zego_server_secret:
            apps.append(
                ProviderApp(
                    app_id=self.zego_app_id,
                    server_secret=self.zego_server_secret,
                    callback_secret=self.zego_callback_secret,
                )
            )
        return {app.app_id: app for app in apps}


class ClientSettings(FromEnvironment):
    """What the commands that talk to a running service need: where it is, and a key. Nothing else need be right."""

    host: str = "127.0.0.1"
    port: int = 8000
    recording_status_url: str | None = None
    recording_status_key: SecretStr | None = None

    @property
    def url(self) -> str:
        """Where the service is reached from this machine."""
        if self.recording_status_url:
            return self.recording_status_url
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - to ask, not to listen
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


_PORT = r"://(?:[^:/]*(?::[^@]*)?@)?(?:\[[^/?]+\]|[^/:?]*)(?::\d{1,5})?(?:[/?]|$)"
"""A database's address up to its port, read as SQLAlchemy does, which would show a password it takes for one."""

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def _api_key(number: int, entry: str) -> ApiKey:
    # The entry itself must not stand in a message: it holds the secret.
    name, _, rest = entry.partition(":")
    role, _, secret = rest.partition(":")
    if not re.fullmatch(r"[a-z0-9-]+", name) or role not in ("read", "write", "admin"):
        raise ValueError(f"entry {number} is not name:role:SECRET (name of a-z 0-9 -, role read, write or admin)")
    if secret.startswith("sha256="):
        if not re.fullmatch(r"sha256=[0-9a-fA-F]{64}", secret):
            raise ValueError(f"entry {number} ({name}): sha256= takes 64 hex digits")
        return ApiKey(name, role, bytes.fromhex(secret.removeprefix("sha256=")))  # type: ignore[arg-type]
    if len(secret) < 16:
        raise ValueError(f"entry {number} ({name}): the secret is shorter than 16 characters")
    return ApiKey(name, role, hashlib.sha256(secret.encode()).digest())  # type: ignore[arg-type]


def load_settings(**overrides: Any) -> Settings:
    """Read and check the settings; ``overrides`` (from the command line) win. Raises Misconfigured."""
    return _load(Settings, overrides)


def load_client_settings() -> ClientSettings:
    """Read what a client needs. Raises Misconfigured."""
    return _load(ClientSettings, {})


def _load(kind: type[S], overrides: dict[str, Any]) -> S:
    try:
        return kind(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)
        raise Misconfigured([line for fault in faults for line in _lines(fault)]) from None


def _lines(fault: Any) -> list[str]:
    place = [str(part) for part in fault["loc"]]
    messages = str(fault["msg"]).removeprefix("Value error, ").splitlines()
    return [f"{'.'.join([place[0].upper(), *place[1:]])}: {one}" if place else one for one in messages]
