"""The demo universe is no evidence: a real dump takes its place, where another real one would be kept out."""

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from catalogues import clone
from instrument_registry.catalog.demo import write_demo
from instrument_registry.catalog.ingestion import intake
from instrument_registry.catalog.ingestion.model import RunStatus
from instrument_registry.database import Database
from keeper import Template

TODAY = date(2026, 11, 20)
NOW = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
REAL = Path(__file__).parents[1] / "samples" / "shoonya" / "shoonya_NSE.txt"


@pytest.mark.parametrize(("invented", "ends"), [(True, RunStatus.APPLIED), (False, RunStatus.QUARANTINED)])
async def test_a_real_dump_takes_the_place_of_the_demo_but_not_of_another_real_one(
    templates: dict[str, Template], tmp_path: Path, invented: bool, ends: RunStatus
) -> None:
    cash = [
        str(file.path)
        for file in write_demo(tmp_path, TODAY)
        if file.broker == "shoonya" and file.date < TODAY and file.path.stem.endswith("_NSE")
    ]
    with clone(templates["embedded"]) as (_, service_url):
        database = await Database(service_url, application="test", pool_size=2).open()
        try:
            asked = intake.Asked(broker="shoonya", market_date=TODAY, actor="tests", correlation_id="c-1")
            first = await intake.take_in(
                database,
                replace(asked, sources=tuple(cash), market_date=date(2026, 11, 19), invented=invented),
                clock=lambda: NOW,
            )
            second = await intake.take_in(database, replace(asked, sources=(str(REAL),)), clock=lambda: NOW)
        finally:
            await database.close()

    assert first.status is RunStatus.APPLIED
    assert first.segments["NSE"] > 500
    assert second.status is ends, second.reasons
