"""What a process must know before it can start; the only module that reads the environment."""

import difflib
import os
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from instrument_registry.errors import Invalid

PREFIX = "INSTRUMENT_REGISTRY_"
SECRETS = ("DATABASE_URL", "OWNER_DATABASE_URL", "KEY", "EVENT_BROKER_URL", "LIMITS_REDIS_URL", "CONFIG_SERVICE_KEY")
BROKER_SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel")
NO_SETTINGS = ("LOG_LEVELS", "CONFIG_SERVICE_REFRESH")  # parameters that look like a misspelt setting
TRACES_PROTOCOL = "http/protobuf"
PATHS = ("data_dir", "master_keys_file", "tls_certificate", "tls_key", "tls_ca")
SECRET_FILE_LIMIT_BYTES = 64 * 1024
# Parameters that are read at the start, and are settings too.
_OPEN_TO_OTHERS = {"event_broker_url", "event_ordering_guarantee"}
ENVIRONMENT_DEFAULT = "production"
ENVIRONMENT_FORM = "^[a-z][a-z0-9_-]{0,39}$"


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


def _service_url(given: str | None) -> str | None:
    """Nothing, or where a service is; what is wrong is told without what may be a password."""
    if not given:
        return None
    try:
        parts = urlsplit(given)
    except ValueError:
        parts = urlsplit("")
    more = parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in ("http", "https") or not parts.hostname or more:
        raise ValueError("cannot be understood; write https://HOST:PORT, and the key in a setting of its own")
    return given.rstrip("/")


def _names(given: object) -> object:
    """Names of parameters as they are written in the environment: divided by commas."""
    if not isinstance(given, str):
        return given
    return tuple(word.strip().upper().removeprefix(PREFIX) for word in given.split(",") if word.strip())


def _origins(given: object) -> object:
    """Origins of pages as they are written in the environment: divided by commas."""
    if not isinstance(given, str):
        return given
    return tuple(_origin(word.strip()) for word in given.split(",") if word.strip())


def _origin(text: str) -> str:
    """An origin as browsers write it: no path, small letters, no port that goes without saying."""
    try:
        parts = urlsplit(text.lower().rstrip("/"))
        host, port, usual = parts.hostname, parts.port, {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        host = usual = port = None
    if text == "*":
        raise ValueError("* would let every page of the web call: list the origins that may")
    more = parts.path or parts.query or parts.fragment or "@" in parts.netloc
    if not host or not usual or not text.isascii() or more:
        raise ValueError(f"{text[:100]!r} is no origin; write it like https://desk.example or http://localhost:3000")
    name = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{name}" + ("" if port in (None, usual) else f":{port}")


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
    # Several instances share the limits of callers through it; without an answer from it each enforces its share.
    limits_redis_url: Annotated[SecretStr | None, AfterValidator(_broker_url)] = None
    limits_instances: Annotated[int, Field(ge=1, le=1000)] = 1
    # Who is sent every new checkpoint of the audit, guarded as webhooks are; such an address may hold a secret.
    audit_witness_url: SecretStr | None = None
    # Where parameters are asked for that are set neither here nor live; these must not fall back to their defaults.
    config_service_url: Annotated[str | None, AfterValidator(_service_url)] = None
    config_service_key: SecretStr | None = None
    config_service_required: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)] = ()
    # Whose secrets this instance uses when nobody says another one.
    environment: Annotated[str, Field(pattern=ENVIRONMENT_FORM)] = ENVIRONMENT_DEFAULT
    # What wraps secrets; neither: the file master.key of the data folder. The file is read again when a key was added.
    master_keys: SecretStr | None = None
    master_keys_file: Path | None = None
    # Between being told to stop and taking no more connections: not ready, so that a balancer sends them elsewhere.
    stop_delay_seconds: Annotated[float, Field(ge=0, le=300)] = 0.0
    # Pages of these origins may call from browsers; they send the key in a header, so cookies play no part.
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_origins)] = ()
    # TLS of our own: a certificate with its chain and its key, both PEM; without them a proxy in front does it.
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None  # whom commands trust instead of the web's authorities, PEM
    log_format: Annotated[str, Field(pattern="^(auto|json|pretty)$")] = "auto"
    log_level: Annotated[str, Field(pattern="^(auto|debug|info|warning|error)$")] = "auto"

    def with_external(self, external: Mapping[str, str]) -> Self:
        """With what an external service says of settings that the environment leaves open; Raises: InvalidSettings."""
        fields = {name.lower(): text for name, text in external.items()}
        taken = {name: text for name, text in fields.items() if name in _OPEN_TO_OTHERS - self.model_fields_set}
        if not taken:
            return self
        try:
            return type(self).model_validate(dict(self) | taken)
        except ValidationError as error:
            name = PREFIX + str(error.errors()[0]["loc"][0]).upper()
            raise InvalidSettings(f"{name} as the configuration service says it: {error.errors()[0]['msg']}") from error

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
            raise InvalidSettings(f"{name}: {problem['msg'].removeprefix('Value error, ')}", setting=name) from error
        if settings.master_keys is not None and settings.master_keys_file is not None:
            name = f"{PREFIX}MASTER_KEYS"
            raise InvalidSettings(f"{name} and {name}_FILE are both set; keep one", setting=name)
        if (settings.tls_certificate is None) != (settings.tls_key is None):
            name = f"{PREFIX}TLS_{'CERTIFICATE' if settings.tls_certificate is None else 'KEY'}"
            raise InvalidSettings(f"{name} is missing: TLS needs a certificate and its key", setting=name)
        given_paths = {name: getattr(settings, name) for name in PATHS}
        paths = {name: path.expanduser().absolute() for name, path in given_paths.items() if path is not None}
        return settings.model_copy(update=paths)


@cache
def known_names() -> frozenset[str]:
    """Every environment name the registry reads."""
    plain = {PREFIX + name.upper() for name in Settings.model_fields}
    return frozenset(plain | {f"{PREFIX}{name}_FILE" for name in SECRETS})


def variables() -> dict[str, str]:
    """Every variable of the environment that is ours: some are settings, some fix parameters."""
    return {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}


def trusted_authorities() -> str | None:
    """The file of certificates that callers of instances trust, for those who have no other settings."""
    return os.environ.get(f"{PREFIX}TLS_CA") or None


def traces_wanted() -> bool:
    """Whether a collector of traces is named, in OpenTelemetry's own variables; Raises: InvalidSettings."""
    named = [f"OTEL_EXPORTER_OTLP_{kind}ENDPOINT" for kind in ("TRACES_", "")]
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    if off or not any(os.environ.get(name) for name in named):
        return False
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if os.environ.get(name, TRACES_PROTOCOL) != TRACES_PROTOCOL:
            raise InvalidSettings(
                f"{name} must be {TRACES_PROTOCOL}; name the collector's port for it, usually 4318", setting=name
            )
    if not _installed("opentelemetry.exporter.otlp.proto.http"):
        raise InvalidSettings(
            "A collector is named (OTEL_EXPORTER_OTLP_ENDPOINT), but what sends traces is not installed: "
            "run `make traces`, or pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"
        )
    return True


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even what it would lie in
        return False


def child_environment(**changed: str) -> dict[str, str]:
    """The environment a child process starts with."""
    return dict(os.environ) | changed


def _refuse_misspelt(environment: "os._Environ[str]") -> None:
    for name in environment:
        if name.startswith(PREFIX) and name not in known_names() and name.removeprefix(PREFIX) not in NO_SETTINGS:
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
