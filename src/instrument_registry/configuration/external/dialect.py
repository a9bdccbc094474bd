"""How a configuration service is asked: one parameter by its name, secret ones at a path of their own.

    GET /api/v1/config/{KEY}                          {"key": …, "value": …}
    GET /api/v1/secrets/{KEY}/value?environment=…     {"value": …}

The caller's key goes in a header. 404 means that the service has no such value.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import aiohttp
import msgspec

from instrument_registry.configuration.model import PREFIX, AnyParameter, Source
from instrument_registry.errors import Unavailable

KEY_HEADER = "X-Internal-API-Key"
AT_ONCE = 4
REQUEST_SECONDS = 2.0
ANSWER_BYTES = 256 * 1024


class ServiceUnreachable(Unavailable):
    """The configuration service did not answer as one; what it said last stays in force."""

    title = "The configuration service does not answer"


class KeyRefused(ServiceUnreachable):
    """Give this instance a key that the configuration service knows, and start it anew."""

    title = "The configuration service refuses our key"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAddress:
    """Where the service is, and who we are to it."""

    url: str
    environment: str
    key: str | None = field(default=None, repr=False)


class _Answer(msgspec.Struct, frozen=True):
    value: bool | int | float | str | None
    source: str | None = None


async def ask(
    address: ServiceAddress, parameters: Iterable[AnyParameter], *, request_seconds: float = REQUEST_SECONDS
) -> dict[str, str]:
    """What the service says of parameters, as texts by name; it may not know all of them.

    Raises: ServiceUnreachable when it does not answer for one of them, KeyRefused.
    """
    found: dict[str, str] = {}
    waiting = iter(parameters)
    headers = {"Accept": "application/json", "User-Agent": "instrument-registry"}
    if address.key:
        headers[KEY_HEADER] = address.key

    async with aiohttp.ClientSession(
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=request_seconds),
        connector=aiohttp.TCPConnector(limit=AT_ONCE),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    ) as session:

        async def some() -> None:
            for parameter in waiting:
                text = await _one(session, address, parameter)
                if text is not None:
                    found[parameter.name] = text

        tasks = [asyncio.create_task(some()) for _ in range(AT_ONCE)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return found


async def _one(session: aiohttp.ClientSession, address: ServiceAddress, parameter: AnyParameter) -> str | None:
    name, query = parameter.environment_name, {}
    path = f"/api/v1/config/{name}"
    if parameter.secret:
        path, query = f"/api/v1/secrets/{name}/value", {"environment": address.environment}
    status, body = await _get(session, address.url.rstrip("/") + path, query)
    if status in (401, 403):
        raise KeyRefused(
            f"The configuration service refuses our key ({status}): set one it knows in {PREFIX}CONFIG_SERVICE_KEY",
            status=status,
        )
    return None if status == 404 else _text(parameter, body)


async def _get(session: aiohttp.ClientSession, url: str, query: Mapping[str, str]) -> tuple[int, bytes]:
    try:
        async with session.get(url, params=query, allow_redirects=False) as response:
            body = bytearray()
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > ANSWER_BYTES:
                    raise ServiceUnreachable("The configuration service answers with more than any value has")
            status = response.status
    except TimeoutError as error:
        raise ServiceUnreachable("The configuration service takes too long to answer") from error
    except aiohttp.ClientError as error:
        raise ServiceUnreachable(f"The configuration service does not answer: {type(error).__name__}") from error
    if status not in (200, 401, 403, 404):
        raise ServiceUnreachable(f"The configuration service answered {status}", status=status)
    return status, bytes(body)


def _text(parameter: AnyParameter, body: bytes) -> str | None:
    """A value as text; none for null, and for what is a default of theirs: we have our own."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except msgspec.MsgspecError as error:
        raise ServiceUnreachable(
            f"The configuration service answered something that is no value of {parameter.name}", key=parameter.name
        ) from error
    if answer.value is None or answer.source == Source.DEFAULT:
        return None
    if isinstance(answer.value, bool):
        return "true" if answer.value else "false"
    return str(answer.value)
