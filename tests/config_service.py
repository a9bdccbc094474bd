"""A configuration service of our own on the loopback, which can be away, slow, or refuse everybody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.test_utils import TestServer

KEY = "the-right-key"


class ConfigService:
    """What it says, how it behaves, and what it was asked."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self.secrets: dict[str, str] = {}
        self.status: int | None = None  # instead of an answer
        self.body: bytes | None = None
        self.slow = False
        self.asked: list[str] = []
        self.url = ""
        self._goes_on = asyncio.Event()

    async def config(self, request: web.Request) -> web.Response:
        name = request.match_info["key"]
        return await self._answer(request, self.values, name)

    async def secret(self, request: web.Request) -> web.Response:
        name = request.match_info["key"]
        environment = request.query.get("environment")
        return await self._answer(request, self.secrets, f"{name}@{environment}")

    async def _answer(self, request: web.Request, known: dict, name: str) -> web.Response:
        self.asked.append(name)
        if self.slow:
            await self._goes_on.wait()
        if request.headers.get("X-Internal-API-Key") != KEY:
            return web.json_response({"detail": "who are you?"}, status=401)
        if self.status is not None:
            return web.Response(status=self.status)
        if self.body is not None:
            return web.Response(body=self.body)
        if name not in known:
            return web.json_response({"detail": "not found"}, status=404)
        return web.json_response({"key": name, "value": known[name], "updated_by": "somebody"})

    def release(self) -> None:
        """Let those go on who wait."""
        self.slow = False
        self._goes_on.set()


@asynccontextmanager
async def config_service() -> AsyncIterator[ConfigService]:
    """One as long as the block lasts."""
    service = ConfigService()
    application = web.Application()
    application.router.add_get("/api/v1/config/{key}", service.config)
    application.router.add_get("/api/v1/secrets/{key}/value", service.secret)
    server = TestServer(application)
    await server.start_server()
    service.url = f"http://127.0.0.1:{server.port}"
    try:
        yield service
    finally:
        service.release()
        await server.close()
