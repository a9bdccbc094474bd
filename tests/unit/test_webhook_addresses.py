"""No way inside: whatever an endpoint's address is or its name becomes, a canary on the loopback hears nothing."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import ip_network

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from instrument_registry.events.webhooks.addresses import WebhookAddressRefused, guard_of, look
from instrument_registry.events.webhooks.sending import Answer, Sender
from instrument_registry.outbound.addresses import Network
from receivers import receiving

NOW = datetime(2026, 8, 18, 6, 30, tzinfo=UTC)
PUBLIC = "93.184.215.14"

# `{port}` is the canary's: many of these spell its address in a way that some system library understands.
ADDRESSES = [
    "http://127.0.0.1:{port}/",
    "https://127.0.0.1:{port}/",
    "https://127.0.0.1.:{port}/",
    "https://localhost:{port}/",
    "https://LOCALHOST:{port}/",
    "https://localhost.:{port}/",
    "http://localhost:{port}/",
    "https://127.1:{port}/",
    "https://127.0.1:{port}/",
    "https://2130706433:{port}/",
    "https://017700000001:{port}/",
    "https://0177.0.0.1:{port}/",
    "https://0177.1:{port}/",
    "https://0x7f000001:{port}/",
    "https://0x7f.0.0.1:{port}/",
    "https://0x7F.1:{port}/",
    "https://127.0.0.0x1:{port}/",
    "https://00000127.0.0.1:{port}/",
    "https://127.000.000.001:{port}/",
    "https://0:{port}/",
    "https://0.0.0.0:{port}/",
    "https://127.255.255.254:{port}/",
    "https://[::1]:{port}/",
    "http://[::1]:{port}/",
    "https://[::]:{port}/",
    "https://[0:0:0:0:0:0:0:1]:{port}/",
    "https://[0000:0000:0000:0000:0000:0000:0000:0001]:{port}/",
    "https://[::ffff:127.0.0.1]:{port}/",
    "https://[::ffff:7f00:1]:{port}/",
    "https://[::ffff:0:127.0.0.1]:{port}/",
    "https://[::127.0.0.1]:{port}/",
    "https://[64:ff9b::127.0.0.1]:{port}/",
    "https://[64:ff9b::7f00:1]:{port}/",
    "https://[64:ff9b:1::7f00:1]:{port}/",
    "https://[2002:7f00:1::]:{port}/",
    "https://[2002:7f00:0001::1]:{port}/",
    "https://[2001:0:7f00:1::]:{port}/",
    "https://[2001::7f00:1]:{port}/",
    "https://[fe80::1]:{port}/",
    "https://[fe80::1%25lo]:{port}/",
    "https://[::1%25lo]:{port}/",
    "https://[fec0::1]:{port}/",
    "https://[fc00::1]:{port}/",
    "https://[fd00:ec2::254]/latest/meta-data",
    "https://[ff02::1]:{port}/",
    "https://[2001:db8::1]:{port}/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.168.0.1/",
    "https://100.64.0.1/",
    "https://100.100.100.200/latest/meta-data",
    "https://169.254.169.254/latest/meta-data/",
    "http://169.254.169.254/computeMetadata/v1/",
    "https://[::ffff:169.254.169.254]/",
    "https://[::ffff:a9fe:a9fe]/",
    "https://2852039166/",
    "https://0xa9fea9fe/",
    "https://0251.0376.0251.0376/",
    "https://168.63.129.16/",
    "https://192.0.0.192/opc/v1",
    "https://192.0.2.1/",
    "https://198.18.0.1/",
    "https://198.51.100.1/",
    "https://203.0.113.1/",
    "https://192.88.99.1/",
    "https://224.0.0.1/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    "https://user:secret@127.0.0.1:{port}/",
    "https://1.1.1.1@127.0.0.1:{port}/",
    "https://127.0.0.1:{port}@1.1.1.1/",
    "https://127.0.0.1#@1.1.1.1:{port}/",
    "https://1.1.1.1\\@127.0.0.1:{port}/",
    "https://127.0.0.1:{port}\\.example.org/",
    "https://127.0.0.1%2f.example.org:{port}/",
    "https://%31%32%37.0.0.1:{port}/",
    "https://①②⑦.⓪.⓪.①:{port}/",
    "https://127。0。0。1:{port}/",
    "https://1.1.1.1:22/",
    "https://1.1.1.1:25/",
    "https://1.1.1.1:0/",
    "https://1.1.1.1:99999/",
    "http://1.1.1.1/",
    "ftp://127.0.0.1:{port}/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/_FLUSHALL",
    "//127.0.0.1:{port}/",
    "https:127.0.0.1:{port}",
    "https:///127.0.0.1:{port}/",
    "https://127.0.0.1:{port}/a\r\nHost: other",
    "https://[::1",
    "",
]

# What a name may resolve to.
RESOLVED = [
    ["127.0.0.1"],
    ["::1"],
    ["::ffff:127.0.0.1"],
    ["64:ff9b::7f00:1"],
    ["2002:7f00:1::"],
    ["0.0.0.0"],
    ["::"],
    ["10.0.0.1"],
    ["169.254.169.254"],
    ["fd00:ec2::254"],
    ["fe80::1%lo"],
    [PUBLIC, "127.0.0.1"],
    ["127.0.0.1", PUBLIC],
    ["2606:4700:4700::1111", "::1"],
    ["localhost"],
]


class Names(AbstractResolver):
    """Answers as a test wants: the next of several answers each time it is asked, the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [
            ResolveResult(
                hostname=host, host=one, port=port, family=socket.AF_INET6 if ":" in one else socket.AF_INET, proto=0,
                flags=0,
            )
            for one in answer
        ]  # fmt: skip

    async def close(self) -> None: ...


class Canary:
    """Listens on the loopback, of both kinds, and counts who connects."""

    def __init__(self) -> None:
        self.connections = 0
        self.port = 0

    async def met(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.close()


@asynccontextmanager
async def canary() -> AsyncIterator[Canary]:
    one = Canary()
    first = await asyncio.start_server(one.met, "127.0.0.1", 0)
    one.port = first.sockets[0].getsockname()[1]
    servers = [first]
    if socket.has_ipv6:
        with contextlib.suppress(OSError):  # a machine without it
            servers.append(await asyncio.start_server(one.met, "::1", one.port))
    try:
        yield one
    finally:
        for server in servers:
            server.close()
            await server.wait_closed()


async def sent_to(url: str, *, listed: tuple[Network, ...] = (), inner: AbstractResolver | None = None) -> Answer:
    async with Sender(guard_of(listed), timeout_seconds=2.0, inner=inner) as sender:
        answer = await sender.post(url, b"{}", {}, now=NOW)
    await asyncio.sleep(0)  # whoever had connected has been met
    return answer


def test_the_table_is_long_enough() -> None:
    assert len(ADDRESSES) + len(RESOLVED) >= 60


@pytest.mark.parametrize("address", ADDRESSES, ids=map(str, range(len(ADDRESSES))))
async def test_a_hostile_address_is_refused_at_creation_and_at_the_attempt(address: str) -> None:
    async with canary() as one:
        url = address.replace("{port}", str(one.port))
        with pytest.raises(WebhookAddressRefused):
            await look(url, guard_of(()))
        answer = await sent_to(url)

    assert (answer.status, one.connections) == (None, 0)


@pytest.mark.parametrize("answer", RESOLVED, ids=map(str, RESOLVED))
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_name_that_leads_inside_is_refused_at_creation_and_at_the_attempt(
    scheme: str, answer: list[str]
) -> None:
    async with canary() as one:
        url = f"{scheme}://hook.example.org:{one.port}/"
        with pytest.raises(WebhookAddressRefused):
            await look(url, guard_of(()), inner=Names(answer))
        sent = await sent_to(url, inner=Names(answer))

    assert (sent.status, one.connections) == (None, 0)
    assert (sent.problem or "").startswith("not sent")


async def test_a_name_that_changes_between_creation_and_attempt_is_looked_up_again() -> None:
    names = Names([PUBLIC], ["127.0.0.1"])
    async with canary() as one:
        url = f"https://rebinding.example.org:{one.port}/"
        await look(url, guard_of(()), inner=names)
        sent = await sent_to(url, inner=names)

    assert (sent.problem or "").startswith("not sent")
    assert (names.asked, one.connections) == (2, 0)


async def test_what_was_looked_at_is_what_is_connected_to() -> None:
    names = Names(["127.0.0.2"], ["127.0.0.1"])
    async with canary() as one:
        await sent_to(f"http://rebinding.example.org:{one.port}/", listed=(ip_network("127.0.0.2/32"),), inner=names)

    assert (names.asked, one.connections) == (1, 0)


async def test_a_redirect_inside_is_not_followed() -> None:
    async with canary() as one, receiving() as receiver:
        from aiohttp import web

        async def answer(_: web.Request) -> web.Response:
            return web.Response(status=307, headers={"Location": f"http://127.0.0.1:{one.port}/"})

        receiver.answer = answer
        sent = await sent_to(receiver.url, listed=(ip_network("127.0.0.1/32"),))

    assert (sent.status, sent.taken, one.connections) == (307, False, 0)


async def test_a_listed_network_is_sent_to_by_http_and_its_neighbours_are_not() -> None:
    listed = (ip_network("127.0.0.1/32"),)
    async with receiving() as receiver, canary() as one:
        taken = await sent_to(receiver.url, listed=listed)
        refused = await sent_to(f"http://[::1]:{one.port}/", listed=listed)
        by_name = await sent_to(f"http://hook.example.org:{one.port}/", listed=listed, inner=Names([PUBLIC]))

    assert (taken.status, refused.status, by_name.status, one.connections) == (204, None, None, 0)
    assert "Only https" in (by_name.problem or "")


async def test_the_canary_hears_whoever_is_let_through() -> None:
    async with canary() as one:
        await sent_to(f"http://127.0.0.1:{one.port}/", listed=(ip_network("127.0.0.0/8"),))
        await sent_to(
            f"http://hook.example.org:{one.port}/", listed=(ip_network("0.0.0.0/0"),), inner=Names(["127.0.0.1"])
        )

    assert one.connections == 2
