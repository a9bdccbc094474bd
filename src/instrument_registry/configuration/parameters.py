"""Every parameter, and what must hold between them."""

from instrument_registry.configuration.model import AnyParameter, Parameter, Rule
from instrument_registry.configuration.toggles import TOGGLE_PARAMETERS

MODES = ("lenient", "moderate", "strict")

PLANNER_OPTIMIZATION_LEVEL = Parameter(
    name="PLANNER_OPTIMIZATION_LEVEL", default="moderate", choices=("minimal", "moderate", "aggressive"),
    owner="subscriptions", why="How long the planner looks for fewer moves and fewer connections.",
)  # fmt: skip
PLANNER_TIMEOUT = Parameter(
    name="PLANNER_TIMEOUT", default=30, least=1, most=300, unit="s", owner="subscriptions",
    why="After so long the best plan found so far is taken.",
)  # fmt: skip
MAX_INSTRUMENTS_PER_PLAN = Parameter(
    name="MAX_INSTRUMENTS_PER_PLAN", default=1000, least=1, most=100_000, unit="instruments", owner="subscriptions",
    why="How many instruments one request may bring; never a bound of the plan of all.",
)  # fmt: skip
FILTERING_STRICTNESS = Parameter(
    name="FILTERING_STRICTNESS", default="moderate", choices=MODES, owner="subscriptions",
    why="Whether a profile with instruments that cannot be had is accepted, trimmed or refused.",
)  # fmt: skip
PLAN_CACHE_TTL = Parameter(
    name="PLAN_CACHE_TTL", default=300, least=0, most=86_400, unit="s", owner="subscriptions",
    why="For how long the same question to the planner has the same answer.",
)  # fmt: skip

SEARCH_TIMEOUT = Parameter(
    name="SEARCH_TIMEOUT", default=5000, least=1, most=25_000, unit="ms", owner="catalog",
    why="A search that takes longer is answered 503, so that it cannot hold up the others.",
)  # fmt: skip
MAX_RESULTS_PER_PAGE = Parameter(
    name="MAX_RESULTS_PER_PAGE", default=100, least=1, most=100, unit="instruments", owner="catalog",
    why="How many hits one page may ask for.",
)  # fmt: skip
QUERY_OPTIMIZATION = Parameter(
    name="QUERY_OPTIMIZATION", default=True, owner="catalog",
    why="Whether queries are read for month, strike and side; off, every word is looked for in names.",
)  # fmt: skip
SEARCH_INDEX_REFRESH = Parameter(
    name="SEARCH_INDEX_REFRESH", default=30, least=1, most=3600, unit="s", owner="catalog",
    why="How often each worker proves its index equal to the tables.",
)  # fmt: skip
CACHE_TTL_SECONDS = Parameter(
    name="CACHE_TTL_SECONDS", default=300, least=0, most=86_400, unit="s", owner="catalog",
    why="For how long an answer to the same question is remembered; a change of the catalogue ends it at once.",
)  # fmt: skip

EVENT_RETRY_ATTEMPTS = Parameter(
    name="EVENT_RETRY_ATTEMPTS", default=3, least=1, most=20, unit="attempts", owner="events",
    why="After so many attempts an event that a consumer cannot handle becomes a dead letter.",
)  # fmt: skip
EVENT_RETRY_SECONDS = Parameter(
    name="EVENT_RETRY_SECONDS", default=1.0, least=0.001, most=3600, unit="s", owner="events",
    why="How long a consumer's second attempt waits; later ones wait five times longer each.",
)  # fmt: skip
CONSUMER_SILENT_DAYS = Parameter(
    name="CONSUMER_SILENT_DAYS", default=7.0, least=0.001, most=365, unit="d", owner="events",
    why="A consumer that has not been seen for so long is reported.",
)  # fmt: skip
EVENT_BATCH_SIZE = Parameter(
    name="EVENT_BATCH_SIZE", default=100, least=1, most=1000, unit="events", owner="events",
    why="How many events travel together when nobody asks for another number.",
)  # fmt: skip
EVENT_ORDERING_GUARANTEE = Parameter(
    name="EVENT_ORDERING_GUARANTEE", default="partition", choices=("none", "partition", "global"), owner="events",
    live=False, why="In which order the relay puts events into Redis streams.",
)  # fmt: skip
EVENT_BROKER_URL = Parameter(
    name="EVENT_BROKER_URL", default="", owner="events", live=False, secret=True,
    why="Where a Redis is that events are relayed to, for example redis://localhost:6379/0; empty: none.",
)  # fmt: skip
DLQ_RETENTION_HOURS = Parameter(
    name="DLQ_RETENTION_HOURS", default=72, least=1, most=8760, unit="h", owner="events",
    why="For how long dead letters are kept.",
)  # fmt: skip

PROFILES_PER_USER = Parameter(
    name="PROFILES_PER_USER", default=100, least=1, most=10_000, unit="profiles", owner="subscriptions",
    why="How many subscription profiles one user may have.",
)  # fmt: skip
PROFILE_LIMIT_LIVE_FEED = Parameter(
    name="PROFILE_LIMIT_LIVE_FEED", default=50, least=1, most=10_000, unit="instruments", owner="subscriptions",
    why="How many instruments a live-feed profile may name.",
)  # fmt: skip
PROFILE_LIMIT_HISTORICAL = Parameter(
    name="PROFILE_LIMIT_HISTORICAL", default=200, least=1, most=10_000, unit="instruments", owner="subscriptions",
    why="How many instruments a historical profile may name.",
)  # fmt: skip
PROFILE_LIMIT_ALERTS = Parameter(
    name="PROFILE_LIMIT_ALERTS", default=100, least=1, most=10_000, unit="instruments", owner="subscriptions",
    why="How many instruments an alerts profile may name.",
)  # fmt: skip

SLA_AVAILABILITY_PERCENT = Parameter(
    name="SLA_AVAILABILITY_PERCENT", default=99.9, least=0, most=100, unit="%", owner="operations",
    why="Below this share of answered requests somebody is woken.",
)  # fmt: skip
SLA_P95_MS = Parameter(
    name="SLA_P95_MS", default=500, least=1, most=30_000, unit="ms", owner="operations",
    why="When one request in twenty takes longer, somebody is woken.",
)  # fmt: skip
SLA_CACHE_MISS_PERCENT = Parameter(
    name="SLA_CACHE_MISS_PERCENT", default=20.0, least=0, most=100, unit="%", owner="operations",
    why="More answers than this that were not remembered are worth a look.",
)  # fmt: skip
MEMORY_WARNING_MB = Parameter(
    name="MEMORY_WARNING_MB", default=600, least=100, most=1_000_000, unit="MB", owner="operations",
    why="A worker above it gives up what it remembers, then refuses bulk work.",
)  # fmt: skip

PARAMETERS: dict[str, AnyParameter] = {
    one.name: one
    for one in (
        PLANNER_OPTIMIZATION_LEVEL, PLANNER_TIMEOUT, MAX_INSTRUMENTS_PER_PLAN, FILTERING_STRICTNESS, PLAN_CACHE_TTL,
        SEARCH_TIMEOUT, MAX_RESULTS_PER_PAGE, QUERY_OPTIMIZATION, SEARCH_INDEX_REFRESH, CACHE_TTL_SECONDS,
        EVENT_RETRY_ATTEMPTS, EVENT_RETRY_SECONDS, CONSUMER_SILENT_DAYS, EVENT_BATCH_SIZE,
        EVENT_ORDERING_GUARANTEE, EVENT_BROKER_URL, DLQ_RETENTION_HOURS,
        PROFILES_PER_USER, PROFILE_LIMIT_LIVE_FEED, PROFILE_LIMIT_HISTORICAL, PROFILE_LIMIT_ALERTS,
        SLA_AVAILABILITY_PERCENT, SLA_P95_MS, SLA_CACHE_MISS_PERCENT, MEMORY_WARNING_MB, *TOGGLE_PARAMETERS,
    )
}  # fmt: skip

RULES = (
    Rule(
        names=("SLA_P95_MS", "SEARCH_TIMEOUT"),
        holds=lambda now: now[SLA_P95_MS] <= now[SEARCH_TIMEOUT],
        says="SLA_P95_MS must not be above SEARCH_TIMEOUT: a search ends there",
    ),
    Rule(
        names=("PROFILE_LIMIT_LIVE_FEED", "MAX_INSTRUMENTS_PER_PLAN"),
        holds=lambda now: now[PROFILE_LIMIT_LIVE_FEED] <= now[MAX_INSTRUMENTS_PER_PLAN],
        says="PROFILE_LIMIT_LIVE_FEED must not be above MAX_INSTRUMENTS_PER_PLAN: no request could bring so many",
    ),
)
