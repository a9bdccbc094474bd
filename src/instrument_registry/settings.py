"""What a process must know before it can start; the only module that reads the environment."""

import difflib
import os
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from instrument_registry.errors import Invalid

PREFIX = "INSTRUMENT_REGISTRY_"
SECRETS = ("DATABASE_URL", "OWNER_DATABASE_URL", "KEY", "EVENT_BROKER_URL")
BROKER_SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel")
SECRET_FILE_LIMIT_BYTES = 64 * 1024


class InvalidSettings(Invalid):
    """The environment says something the registry does not understand."""

    title = "The settings are not valid"


def _networks(given: object) -> object:
    """Networks as they are written in the environment: divided by commas."""
    if not isinstance(given, str):
        return given
    return tuple(_network(word.strip()) for word in given.split(",") if word.strip())


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no network; write it like 10.1.2.0/24 or 10.1.2.3/32") from error


def _broker_url(given: SecretStr | None) -> SecretStr | None:
    """Nothing, or where a Redis is; what is wrong is told without the password."""
    if given is None or not given.get_secret_value():
        return None
    try:
        parts = urlsplit(given.get_secret_value())
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in BROKER_SCHEMES or not parts.netloc.rpartition("@")[2]:
        raise ValueError(
            "cannot be understood; write redis://HOST:PORT/NUMBER, rediss://… for TLS, or "
            "redis+sentinel://HOST:PORT,HOST:PORT/SERVICE"
        )
    return given


class Settings(BaseSettings):
    """One frozen answer to: which database, which folder, which address, how many workers."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: SecretStr | None = None
    owner_database_url: SecretStr | None = None
    data_dir: Path = Path(".data")
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8901
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    demo: bool = True
    url: str | None = None  # another instance, for commands that ask one
    key: SecretStr | None = None
    # Not public, and yet downloaded from: a mirror of one's own.
    fetch_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_networks)] = ()
    # Not public, and yet sent webhooks, by http too: receivers of one's own.
    webhook_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_networks)] = ()
    event_broker_url: Annotated[SecretStr | None, AfterValidator(_broker_url)] = None
    event_ordering_guarantee: Literal["none", "partition", "global"] = "partition"
    # Who is sent every new checkpoint of the audit, guarded as webhooks are; such an address may hold a secret.
    audit_witness_url: SecretStr | None = None
    log_format: Annotated[str, Field(pattern="^(auto|json|pretty)$")] = "auto"
    log_level: Annotated[str, Field(pattern="^(auto|debug|info|warning|error)$")] = "auto"

    @classmethod
    def load(cls, **given: object) -> Self:
        """Read the environment; what the caller gives wins over it.

        Raises: InvalidSettings, naming the variable and, for a misspelt one, the nearest name.
        """
        _refuse_misspelt(os.environ)
        chosen = _secrets_from_files(os.environ) | {name: value for name, value in given.items() if value is not None}
        try:
            settings = cls(**chosen)  # type: ignore[arg-type]
        except ValidationError as error:
            problem = error.errors()[0]
            name = PREFIX + str(problem["loc"][0]).upper()
            raise InvalidSettings(f"{name}: {problem['msg']}", setting=name) from error
        return settings.model_copy(update={"data_dir": settings.data_dir.expanduser().absolute()})


@cache
def known_names() -> frozenset[str]:
    """Every environment name the registry reads."""
    plain = {PREFIX + name.upper() for name in Settings.model_fields}
    return frozenset(plain | {f"{PREFIX}{name}_FILE" for name in SECRETS})


def variables() -> dict[str, str]:
    """Every variable of the environment that is ours: some are settings, some fix parameters."""
    return {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}


def child_environment(**changed: str) -> dict[str, str]:
    """The environment a child process starts with."""
    return dict(os.environ) | changed


def _refuse_misspelt(environment: "os._Environ[str]") -> None:
    for name in environment:
        if name.startswith(PREFIX) and name not in known_names():
            nearest = difflib.get_close_matches(name, sorted(known_names()), n=1, cutoff=0.85)
            if nearest:
                raise InvalidSettings(f"{name} is not a setting; did you mean {nearest[0]}?", setting=name)


def _secrets_from_files(environment: "os._Environ[str]") -> dict[str, object]:
    found: dict[str, object] = {}
    for name in SECRETS:
        path = environment.get(f"{PREFIX}{name}_FILE")
        if not path:
            continue
        if environment.get(PREFIX + name):
            raise InvalidSettings(f"{PREFIX}{name} and {PREFIX}{name}_FILE are both set; keep one", setting=name)
        try:
            with open(path, encoding="utf-8") as file:
                found[name.lower()] = file.read(SECRET_FILE_LIMIT_BYTES).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidSettings(f"{PREFIX}{name}_FILE cannot be read: {error}", setting=name) from error
    return found
