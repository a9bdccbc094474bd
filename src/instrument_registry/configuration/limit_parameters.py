"""Parameters of the limiter: how often a caller may ask in each class of routes, and how much is worked on at once."""

from instrument_registry.configuration.model import Parameter

PER_MINUTE_MOST, PER_SECOND_MOST = 1_000_000, 100_000


def _per_minute(kind: str, default: int, why: str) -> Parameter[int]:
    return Parameter(
        name=f"RATE_LIMIT_{kind}_PER_MINUTE", default=default, least=1, most=PER_MINUTE_MOST, unit="requests/min",
        owner="access", why=why,
    )  # fmt: skip


def _per_second(kind: str, default: int) -> Parameter[int]:
    return Parameter(
        name=f"RATE_LIMIT_{kind}_PER_SECOND", default=default, least=1, most=PER_SECOND_MOST, unit="requests/s",
        owner="access", why="The burst: how many of the minute's requests may come within any one second.",
    )  # fmt: skip


RATE_LIMIT_EXPENSIVE_PER_MINUTE = _per_minute(
    "EXPENSIVE", 100, "How often one key may ingest, export and use actuators, in any minute."
)
RATE_LIMIT_EXPENSIVE_PER_SECOND = _per_second("EXPENSIVE", 50)
RATE_LIMIT_WRITE_PER_MINUTE = _per_minute("WRITE", 600, "How often one key may change something, in any minute.")
RATE_LIMIT_WRITE_PER_SECOND = _per_second("WRITE", 100)
RATE_LIMIT_READ_PER_MINUTE = _per_minute("READ", 60_000, "How often one key may ask, in any minute.")
RATE_LIMIT_READ_PER_SECOND = _per_second("READ", 5_000)
RATE_LIMIT_STRANGER_PER_MINUTE = _per_minute(
    "STRANGER", 600, "How often one address may come without a valid key, in any minute."
)
RATE_LIMIT_STRANGER_PER_SECOND = _per_second("STRANGER", 100)

EXPENSIVE_AT_ONCE = Parameter(
    name="EXPENSIVE_AT_ONCE", default=4, least=1, most=64, unit="requests", owner="operations",
    why="How many ingestions and exports each worker works on at once.",
)  # fmt: skip
EXPENSIVE_WAITING = Parameter(
    name="EXPENSIVE_WAITING", default=16, least=0, most=1000, unit="requests", owner="operations",
    why="How many more may wait for that in each worker; whoever comes then is told to come later.",
)  # fmt: skip
EXPENSIVE_WAIT_MS = Parameter(
    name="EXPENSIVE_WAIT_MS", default=5000, least=0, most=20_000, unit="ms", owner="operations",
    why="How long one waits for that at most.",
)  # fmt: skip

LIMIT_PARAMETERS = (
    RATE_LIMIT_EXPENSIVE_PER_MINUTE, RATE_LIMIT_EXPENSIVE_PER_SECOND,
    RATE_LIMIT_WRITE_PER_MINUTE, RATE_LIMIT_WRITE_PER_SECOND,
    RATE_LIMIT_READ_PER_MINUTE, RATE_LIMIT_READ_PER_SECOND,
    RATE_LIMIT_STRANGER_PER_MINUTE, RATE_LIMIT_STRANGER_PER_SECOND,
    EXPENSIVE_AT_ONCE, EXPENSIVE_WAITING, EXPENSIVE_WAIT_MS,
)  # fmt: skip
