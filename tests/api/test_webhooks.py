"""Webhooks at the HTTP door: endpoints, their secrets, deliveries and replays."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from standardwebhooks import Webhook

from desk import Caller, Desk, opened
from instrument_registry import events
from instrument_registry.access.model import Scope
from instrument_registry.database import Database
from receivers import Receiver, delivering_from, receiving

pytestmark = pytest.mark.tea

ELSEWHERE = {"url": "https://1.1.1.1/hook"}
LISTED = "INSTRUMENT_REGISTRY_WEBHOOK_NETWORKS"


@pytest_asyncio.fixture
async def desk(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setenv(LISTED, "127.0.0.0/8")
    async with opened(database, tmp_path) as one:
        yield one


@pytest_asyncio.fixture
async def operator(desk: Desk) -> AsyncIterator[Caller]:
    async with desk.caller() as one:
        yield one


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


async def made(operator: Caller, **body: object) -> dict:
    answer = await operator.http.post("/webhooks", json=ELSEWHERE | body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def told_about(desk: Desk, webhook: int) -> list[events.Event]:
    async with desk.database.transaction(read_only=True) as tx:
        return await events.read_stream(tx, f"webhook_endpoint:{webhook}")


class TestEndpoints:
    async def test_a_secret_is_shown_once_and_kept_sealed(self, desk: Desk, operator: Caller) -> None:
        answer = await made(operator, description="Tickers")
        webhook, secret = answer["endpoint"]["id"], answer["verifies_with"]
        shown = await operator.http.get(f"/webhooks/{webhook}")
        told = await told_about(desk, webhook)

        assert secret.startswith("whsec_")
        assert secret not in shown.text
        assert (shown.json()["owner"], shown.json()["state"]) == (operator.actor, "active")
        assert [event.type for event in told] == ["webhook_endpoint.created"]
        assert secret not in told[0].data
        async with desk.database.transaction(read_only=True) as tx:
            (row,) = await (await tx.execute("select sealed from webhook_secrets")).fetchall()
        assert secret.removeprefix("whsec_").encode() not in row[0]

    async def test_facts_tell_the_origin_of_an_address_and_no_more(self, desk: Desk, operator: Caller) -> None:
        answer = await made(operator, url="https://1.1.1.1/services/T0KEN?key=T0KEN")
        webhook = answer["endpoint"]["id"]
        await operator.http.patch(f"/webhooks/{webhook}", json={"url": "https://1.0.0.1/T0KEN", "description": "x"})
        told = await told_about(desk, webhook)

        assert "T0KEN" not in "".join(event.data for event in told)
        assert '"new":{"url":"https://1.0.0.1","description":"x"}' in told[1].data

    async def test_who_changes_what_somebody_else_has_changed_is_told(self, operator: Caller) -> None:
        path = f"/webhooks/{(await made(operator))['endpoint']['id']}"
        tag = (await operator.http.get(path)).headers["etag"]
        first = await operator.http.patch(path, json={"description": "one"}, headers={"If-Match": tag})
        second = await operator.http.patch(path, json={"description": "two"}, headers={"If-Match": tag})
        third = await operator.http.patch(path, json={"concurrency": 2}, headers={"If-Match": first.headers["etag"]})

        assert (first.status_code, second.status_code, third.status_code) == (200, 412, 200)
        assert (third.json()["description"], third.json()["concurrency"]) == ("one", 2)

    async def test_it_is_listed_paused_resumed_and_deleted_and_each_is_told(self, desk: Desk, operator: Caller) -> None:
        webhook = (await made(operator, owner="desk"))["endpoint"]["id"]
        await made(operator, owner="others")
        listed = await operator.told("/webhooks", owner="desk")
        paused = await operator.http.post(f"/webhooks/{webhook}/pause", json={"reason": "Release"})
        resumed = await operator.http.post(f"/webhooks/{webhook}/resume", json={"reason": "Released"})
        gone = await operator.http.delete(f"/webhooks/{webhook}", params={"reason": "No more"})
        after = await operator.http.get(f"/webhooks/{webhook}")

        assert [one["id"] for one in listed["webhooks"]] == [webhook]
        assert (paused.json()["state"], resumed.json()["state"]) == ("paused", "active")
        assert (paused.json()["state_reason"], resumed.json()["state_reason"]) == ("Release", None)
        assert (gone.status_code, after.status_code) == (204, 404)
        assert [event.type.rpartition(".")[2] for event in await told_about(desk, webhook)] == [
            "created", "paused", "resumed", "deleted",
        ]  # fmt: skip

    async def test_a_key_pair_shows_its_public_half_always(self, operator: Caller) -> None:
        answer = await made(operator, signature="v1a")
        shown = await operator.told(f"/webhooks/{answer['endpoint']['id']}")

        assert answer["verifies_with"].startswith("whpk_")
        assert shown["public_keys"] == [answer["verifies_with"]]


class TestRefusals:
    @pytest.mark.parametrize(
        ("changed", "field"),
        [
            ({"event_types": []}, "event_types"),
            ({"event_types": ["Instrument.*"]}, "event_types"),
            ({"concurrency": 0}, "body.concurrency"),
            ({"format": "xml"}, "body.format"),
            ({"description": "a\x07"}, "description"),
            ({"secret": "x"}, "body.secret"),
        ],
    )
    async def test_what_cannot_be_is_refused_by_name(
        self, operator: Caller, changed: dict[str, object], field: str
    ) -> None:
        answer = await operator.http.post("/webhooks", json=ELSEWHERE | changed)

        told = answer.json()
        assert answer.status_code == 422
        assert field in {told.get("field"), *(error["field"] for error in told.get("errors", []))}

    @pytest.mark.parametrize(
        "url", ["http://1.1.1.1/", "https://10.0.0.1/", "https://169.254.169.254/", "ftp://1.1.1.1/"]
    )
    async def test_no_way_inside_is_taken_at_creation_or_by_a_change(self, operator: Caller, url: str) -> None:
        path = f"/webhooks/{(await made(operator))['endpoint']['id']}"
        created = await operator.http.post("/webhooks", json={"url": url})
        changed = await operator.http.patch(path, json={"url": url})

        assert (created.status_code, changed.status_code) == (422, 422)
        assert created.json()["type"] == changed.json()["type"] == "/problems/WebhookAddressRefused"

    async def test_only_operators_have_to_do_with_them(self, desk: Desk, operator: Caller) -> None:
        webhook = (await made(operator))["endpoint"]["id"]
        async with desk.caller(Scope.READER) as reader:
            answers = [
                await reader.http.get("/webhooks"),
                await reader.http.get(f"/webhooks/{webhook}"),
                await reader.http.post("/webhooks", json=ELSEWHERE),
                await reader.http.post(f"/webhooks/{webhook}/ping"),
                await reader.http.get(f"/webhooks/{webhook}/deliveries"),
            ]

        assert [answer.status_code for answer in answers] == [403] * 5

    async def test_what_is_not_there_is_not_found(self, operator: Caller) -> None:
        webhook = (await made(operator))["endpoint"]["id"]
        paths = ["/webhooks/999", f"/webhooks/{webhook}/deliveries/9", f"/webhooks/{webhook}/replays/9", "/webhooks/x"]

        assert [(await operator.http.get(path)).status_code for path in paths] == [404] * 4


class TestSending:
    async def test_a_ping_arrives_signed_and_its_delivery_is_shown(
        self, desk: Desk, operator: Caller, receiver: Receiver
    ) -> None:
        answer = await made(operator, url=receiver.url, event_types=["instrument.*"])
        webhook = answer["endpoint"]["id"]
        async with delivering_from(desk.database, desk.folder, sequenced=False):
            ping = await operator.http.post(f"/webhooks/{webhook}/ping")
            (request,) = await receiver.got(1)
            shown = await _ended(operator, ping.headers["location"])
            again = await operator.http.post(f"/webhooks/{webhook}/deliveries/{ping.json()['id']}/rerun")
            await receiver.got(2)
            after = await _ended(operator, ping.headers["location"], attempts=2)

        assert (ping.status_code, again.status_code) == (202, 202)
        assert Webhook(answer["verifies_with"]).verify(request.body, request.headers)["type"] == "webhook.ping"
        assert (shown["delivery"]["status"], shown["attempts"][0]["answer"]) == ("delivered", 204)
        assert [one["number"] for one in after["attempts"]] == [1, 2]
        assert receiver.requests[0].id == receiver.requests[1].id == ping.json()["event_id"]

    async def test_a_replay_is_counted_run_and_seen(self, desk: Desk, operator: Caller, receiver: Receiver) -> None:
        answer = await made(operator, url=receiver.url, event_types=["instrument.listed"])
        path = f"/webhooks/{answer['endpoint']['id']}/replays"
        await operator.caught_up()
        asked = {"reason": "The receiver lost its disk", "first_position": 1}
        counted = await operator.http.post(path, json=asked | {"dry_run": True})
        async with delivering_from(desk.database, desk.folder, sequenced=False):
            begun = (await operator.http.post(path, json=asked)).json()["replay"]
            await receiver.got(counted.json()["events"])
            done = await operator.told(f"{path}/{begun['id']}")
        cancelled = await operator.http.post(f"{path}/{begun['id']}/cancel", json={"reason": "Enough"})

        assert counted.json() == {"events": 8, "replay": None}
        assert len({one.id for one in receiver.requests}) == 8
        assert (done["status"], done["made"]) == ("done", 8)
        assert cancelled.status_code in (200, 409)
        assert {event.type for event in await told_about(desk, answer["endpoint"]["id"])} >= {"webhook_replay.started"}


async def _ended(operator: Caller, location: str, *, attempts: int = 1) -> dict:
    path = location.partition("/instrument-registry")[2]
    for _ in range(500):
        shown = await operator.told(path)
        if shown["delivery"]["status"] != "waiting" and len(shown["attempts"]) == attempts:
            break
    return shown
