"""Jobs done at once, by the worker's own hands, for tests that wait for no background process."""

from pathlib import Path

from desk import Caller, Desk
from instrument_registry.catalog.live import LiveCatalogue
from instrument_registry.configuration.live import LiveConfiguration
from instrument_registry.configuration.model import Sources
from instrument_registry.settings import Settings
from instrument_registry.wiring import Registry
from instrument_registry.workers.ingest import work_one


async def work_off(desk: Desk) -> None:
    """Do every job that waits."""
    registry = Registry(
        settings=Settings(data_dir=Path("/nowhere"), demo=False),
        database=desk.database,
        clock=desk.clock,
        catalogue=LiveCatalogue(desk.database, desk.clock),
        configuration=LiveConfiguration(desk.database, Sources()),
    )
    async with desk.database.session("jobs") as session:
        while await work_one(registry, session):
            pass


async def upload(
    operator: Caller, text: str, *, name: str = "kite_NSE.csv", key: str | None = None, **how: object
) -> dict:
    """Hand a dump of Zerodha's in; the job."""
    headers = {"Content-Type": "application/octet-stream"} | ({"Idempotency-Key": key} if key else {})
    parameters = {"name": name, **how}
    answer = await operator.http.post(
        "/brokers/zerodha/upload", content=text.encode(), params=parameters, headers=headers
    )
    assert answer.status_code == 202, answer.text
    return answer.json()


async def ended(desk: Desk, operator: Caller, job: dict) -> dict:
    """A job once it was done."""
    await work_off(desk)
    return await operator.told(f"/jobs/{job['id']}")
