"""Asks a running instance over HTTP: the one of the data folder by its run file, or another by URL and key.

No proxy and no redirect is followed: the key goes to the instance it was given for and to nobody else.
"""

import http.client
import json
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from types import MappingProxyType
from typing import Annotated, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec
import typer

from instrument_registry.errors import (
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    RegistryError,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from instrument_registry.outbound.trust import pinned, trusting
from instrument_registry.processes.runfile import running
from instrument_registry.settings import Settings

PREFIX = "/api/v1/internal/instrument-registry"
TIMEOUT_SECONDS = 35.0  # the door answers within 30
ANSWER_LIMIT_BYTES = 64 * 1024 * 1024
PIECE_BYTES = 256 * 1024
LINES = {"Accept": "application/x-ndjson"}
KEY_LIMIT_BYTES = 1_000
HELD = 3  # candidates or suggestions named in a sentence
KINDS: dict[int, type[RegistryError]] = {
    401: Unauthorized, 403: Forbidden, 404: NotFound, 409: Conflict, 410: Gone, 412: Conflict, 413: TooLarge,
    422: Invalid, 503: Unavailable,
}  # fmt: skip

Url = Annotated[str | None, typer.Option("--url", help="Another instance, for example https://registry.example:8901.")]
Key = Annotated[
    str | None, typer.Option("--key", help="The API key for it; better kept in INSTRUMENT_REGISTRY_KEY or …_KEY_FILE.")
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs: the API's JSON on standard output.")]

Shown = TypeVar("Shown")
Value = str | int | bool | None | Sequence[str]


class NoInstance(Unavailable):
    """Nobody is there to be asked."""

    title = "No registry answers"


class NoKey(Invalid):
    """Give the key of the instance."""

    title = "A key is needed"


class _Problem(msgspec.Struct):
    """What of a problem document goes into a sentence."""

    title: str = "The registry refused"
    detail: str = ""
    errors: list[dict[str, str]] = []
    candidates: list[dict[str, str]] = []
    suggestions: list[dict[str, str]] = []


class Client:
    """One instance and the key to it."""

    def __init__(self, url: str, key: str | None, *, trust: ssl.SSLContext | None = None, prefix: str = PREFIX) -> None:
        self._prefix = prefix
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Invalid(f"{url[:200]} is not the address of a registry; it looks like http://host:8901")
        try:
            port = parts.port
        except ValueError as error:
            raise Invalid(f"{url[:200]} has a port that is none") from error
        self._secure, self._host, self._port, self._path = parts.scheme == "https", parts.hostname, port, parts.path
        self._key, self._trust = key, trust

    @property
    def key(self) -> str | None:
        """What opens it."""
        return self._key

    @property
    def trust(self) -> ssl.SSLContext | None:
        """Whom to trust that it is the one; none: it does not speak TLS, or the web's authorities."""
        return self._trust

    def get(self, path: str, **query: Value) -> bytes:
        """The JSON at a path of the API; Raises: NoInstance, or what the instance refused."""
        return self._ask("GET", self._prefix + path + _query(query))

    def post(
        self, path: str, body: Mapping[str, object], *, headers: Mapping[str, str] = MappingProxyType({})
    ) -> bytes:
        """The same for what is sent as JSON."""
        return self._ask("POST", self._prefix + path, body=json.dumps(body).encode(), headers=headers)

    def put(self, path: str, body: Mapping[str, object], *, headers: Mapping[str, str] = MappingProxyType({})) -> bytes:
        """The same for what takes the place of what was there."""
        return self._ask("PUT", self._prefix + path, body=json.dumps(body).encode(), headers=headers)

    def patch(
        self, path: str, body: Mapping[str, object], *, headers: Mapping[str, str] = MappingProxyType({})
    ) -> bytes:
        """The same for what is to be another way."""
        return self._ask("PATCH", self._prefix + path, body=json.dumps(body).encode(), headers=headers)

    def delete(self, path: str, **query: Value) -> bytes:
        """The same for what is taken back."""
        return self._ask("DELETE", self._prefix + path + _query(query))

    def stream(self, path: str, **query: Value) -> Iterator[bytes]:
        """A long answer in pieces; Raises: NoInstance also when it breaks off."""
        yield from self._flowing("GET", path + _query(query), read=lambda answer: answer.read(PIECE_BYTES))

    def follow(self, path: str, **query: Value) -> Iterator[bytes]:
        """The lines of what is asked for by GET and has no end; Raises: NoInstance also when it breaks off."""
        yield from self._flowing("GET", path + _query(query), read=_line, headers=LINES)

    def lines(self, path: str, body: Mapping[str, object]) -> Iterator[bytes]:
        """The lines of an answer without an end, as they come; Raises: NoInstance also when it breaks off."""
        headers = {"Content-Type": "application/json", **LINES}
        yield from self._flowing("POST", path, read=_line, headers=headers, body=json.dumps(body).encode())

    def _flowing(
        self,
        method: str,
        path: str,
        *,
        read: Callable[[http.client.HTTPResponse], bytes],
        headers: Mapping[str, str] = MappingProxyType({}),
        body: bytes | None = None,
    ) -> Iterator[bytes]:
        sent = dict(headers) | ({} if self._key is None else {"X-Internal-API-Key": self._key})
        try:
            with closing(self._connection()) as connection:
                connection.request(method, self._path + self._prefix + path, body, sent)
                answer = connection.getresponse()
                if answer.status >= 300:
                    raise _refusal(answer.status, answer.read(ANSWER_LIMIT_BYTES))
                while piece := read(answer):
                    yield piece
        except (OSError, http.client.HTTPException) as error:
            raise self._gone(error) from error

    def at_root(self, path: str) -> tuple[int, bytes]:
        """Status and body of what lies outside the API, whatever they are; Raises: NoInstance."""
        return self._send("GET", path, None)

    def _ask(
        self, method: str, path: str, *, body: bytes | None = None, headers: Mapping[str, str] = MappingProxyType({})
    ) -> bytes:
        status, content = self._send(method, path, body, headers=headers)
        if status >= 300:
            raise _refusal(status, content)
        return content

    def _send(
        self, method: str, path: str, body: bytes | None, *, headers: Mapping[str, str] = MappingProxyType({})
    ) -> tuple[int, bytes]:
        headers = {"Accept": "application/json", **headers}
        if self._key is not None:
            headers["X-Internal-API-Key"] = self._key
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            with closing(self._connection()) as connection:
                connection.request(method, self._path + path, body, headers)
                answer = connection.getresponse()
                content = answer.read(ANSWER_LIMIT_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise self._gone(error) from error
        if len(content) > ANSWER_LIMIT_BYTES:
            raise Unavailable(f"The answer has more than {ANSWER_LIMIT_BYTES} bytes; ask for less at once")
        return answer.status, content

    def _connection(self) -> http.client.HTTPConnection:
        if not self._secure:
            return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
        context = self._trust or trusting()
        return http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_SECONDS, context=context)

    def _gone(self, error: Exception) -> NoInstance:
        reason = str(error) or type(error).__name__
        return NoInstance(f"{self.url}: {reason}; `instrument-registry doctor` says more", url=self.url)


def reached(url: str | None, key: str | None) -> tuple[str, str, ssl.SSLContext | None]:
    """Address, key and whom to trust of the instance that is meant, for another client; Raises: as `connect`."""
    instance = connect(url, key)
    return instance.url, instance.key or "", instance.trust


def connect(url: str | None, key: str | None, *, prefix: str = PREFIX) -> Client:
    """The instance that is meant: by the arguments, else the environment, else the one that runs in the data folder.

    `prefix` is where the paths to come begin.

    Raises: NoInstance, NoKey, Invalid.
    """
    settings = Settings.load()
    given = key or (settings.key.get_secret_value() if settings.key else None)
    elsewhere = url or settings.url
    if elsewhere is not None:
        if given is None:
            raise NoKey(f"Give --key, or set INSTRUMENT_REGISTRY_KEY, for {elsewhere}")
        trust = trusting(settings.tls_ca) if settings.tls_ca else None
        return Client(elsewhere, _sendable(given), trust=trust, prefix=prefix)
    found = running(settings.data_dir)
    if found is None:
        raise NoInstance(f"None runs in {settings.data_dir}: start it with `make run`, or give --url and --key")
    trust = pinned(found.certificate) if found.certificate else None
    return Client(found.url, _sendable(given or _own_key(settings)), trust=trust, prefix=prefix)


def read(content: bytes, kind: type[Shown]) -> Shown:
    """What of an answer a table shows; Raises: Unavailable when it is another program's answer."""
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as error:
        raise Unavailable(f"This is not a registry's answer, or another version's: {error}") from error


def named(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe=":;@&=+$,!")


def print_json(*contents: bytes) -> None:
    """Answers as they came, one a line."""
    for content in contents:
        typer.echo(content.decode())


def _own_key(settings: Settings) -> str:
    path = settings.data_dir / "operator.key"
    try:
        with open(path, encoding="ascii") as file:
            return file.read(KEY_LIMIT_BYTES).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NoKey(f"{path} cannot be read ({error}); give --key") from error


def _sendable(key: str) -> str:
    if not key.isascii() or not key.isprintable():
        raise NoKey("The key holds characters that no key has")
    return key


def _line(answer: http.client.HTTPResponse) -> bytes:
    return answer.readline(ANSWER_LIMIT_BYTES)


def _query(query: Mapping[str, Value]) -> str:
    pairs: list[tuple[str, str]] = []
    for name, value in query.items():
        several = [value] if isinstance(value, str | int) or value is None else list(value)
        pairs += [(name, str(one).lower() if isinstance(one, bool) else str(one)) for one in several if one is not None]
    return f"?{urlencode(pairs)}" if pairs else ""


def _refusal(status: int, content: bytes) -> RegistryError:
    """A problem document as a failure of this program: its title and detail, what to do, whom it may have meant."""
    try:
        problem = msgspec.json.decode(content, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem(detail=f"it answered {status} without saying why")
    sentence = problem.detail
    remedies = [error["remedy"] for error in problem.errors if "remedy" in error]
    if remedies:
        sentence += f". {remedies[0]}"
    for word, listed in (("one of", problem.candidates), ("did you mean", problem.suggestions)):
        keys = [one["key"] for one in listed[:HELD] if "key" in one]
        if keys:
            more = ", …" if len(listed) > HELD else ""
            sentence += f"; {word} {', '.join(keys)}{more}"
    kind = KINDS.get(status, RegistryError)
    titled: type[RegistryError] = type(kind.__name__, (kind,), {"title": problem.title})
    return titled(sentence)
