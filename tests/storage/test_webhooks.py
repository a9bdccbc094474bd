"""Webhooks: what is told reaches whoever wants it, once it has been taken and not before."""

import json
from pathlib import Path

from aiohttp import web

from facts import METADATA, counted, renamed
from instrument_registry import events
from instrument_registry.database import Database
from instrument_registry.events.webhooks.model import DeliveryStatus
from receivers import delivering_from, endpoint_at, receiving, settled


async def tell(database: Database, *facts: events.Fact, stream: str = "s") -> None:
    async with database.transaction() as tx:
        await events.append(tx, *facts, stream=stream, metadata=METADATA)
    await events.wake(database)


class TestDelivering:
    async def test_an_event_reaches_every_endpoint_that_wants_it(self, database: Database, tmp_path: Path) -> None:
        async with receiving() as receiver, delivering_from(database, tmp_path):
            all_, _ = await endpoint_at(database, tmp_path, receiver.url + "/all", event_types=("test.*",))
            await endpoint_at(database, tmp_path, receiver.url + "/counts", event_types=("test.counted",))
            await tell(database, counted(1), renamed())
            await receiver.got(3)
            ended = await settled(database, all_, 2)

        assert sorted(json.loads(one.body)["type"] for one in receiver.of("/hook/all")) == [
            "test.counted",
            "test.renamed",
        ]
        (one,) = receiver.of("/hook/counts")
        assert json.loads(one.body)["data"] == {"number": 1}
        assert [one.status for one in ended] == [DeliveryStatus.DELIVERED] * 2

    async def test_what_is_refused_comes_again_under_the_same_id(self, database: Database, tmp_path: Path) -> None:
        async with receiving() as receiver, delivering_from(database, tmp_path):
            answers = iter([500, 302, 404, 200])

            async def answer(_: web.Request) -> web.Response:
                return web.Response(status=next(answers))

            receiver.answer = answer
            endpoint, _ = await endpoint_at(database, tmp_path, receiver.url, event_types=("test.*",))
            await tell(database, counted(1))
            (delivery,) = await settled(database, endpoint, 1)

        assert (delivery.status, delivery.attempts) == (DeliveryStatus.DELIVERED, 4)
        assert {one.id for one in receiver.requests} == {str(delivery.event_id)}
        assert len({one.body for one in receiver.requests}) == 1
