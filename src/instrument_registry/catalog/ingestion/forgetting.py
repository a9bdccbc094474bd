"""What may go of ingestions that have ended: details and finished jobs; the owner's functions decide."""

from datetime import datetime

from instrument_registry.database import Transaction

COUNT_DETAILS = """
with ended as (
    select id from ingestions where finished_at < %(before)s and status not in ('running', 'quarantined')
)
select (select count(*) from rows_set_aside where ingestion_id in (select id from ended))
     + (select count(*) from ingestion_files where ingestion_id in (select id from ended))
"""


async def count_details(tx: Transaction, before: datetime) -> int:
    """How many rows set aside, and files as they came, ingestions have that ended before an instant."""
    return await _number(tx, COUNT_DETAILS, {"before": before})


async def forget_details(tx: Transaction, before: datetime, at_most: int) -> int:
    """Let those of so many ingestions go; how many rows and files went."""
    return await _number(tx, "select forget_ingestion_details(%(before)s, %(n)s)", {"before": before, "n": at_most})


async def count_jobs(tx: Transaction, before: datetime) -> int:
    """How many jobs finished before an instant."""
    return await _number(tx, "select count(*) from jobs where finished_at < %(before)s", {"before": before})


async def forget_jobs(tx: Transaction, before: datetime, at_most: int) -> int:
    """Let so many of them go; how many went."""
    return await _number(tx, "select forget_jobs(%(before)s, %(n)s)", {"before": before, "n": at_most})


async def _number(tx: Transaction, statement: str, values: dict[str, object]) -> int:
    row = await (await tx.execute(statement.encode(), values)).fetchone()
    assert row is not None
    return int(row[0])
