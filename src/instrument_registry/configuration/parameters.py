"""Every parameter, and what must hold between them."""

from instrument_registry.configuration.degradation_parameters import DEGRADATION_PARAMETERS
from instrument_registry.configuration.limit_parameters import LIMIT_PARAMETERS
from instrument_registry.configuration.model import AnyParameter, Parameter, Rule
from instrument_registry.configuration.toggles import TOGGLE_PARAMETERS
from instrument_registry.telemetry.levels import wrong_levels

MODES = ("lenient", "moderate", "strict")

PLANNER_OPTIMIZATION_LEVEL = Parameter(
    name="PLANNER_OPTIMIZATION_LEVEL", default="moderate", choices=("low", "moderate", "aggressive"),
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

PLANNER_AUTO_APPLY = Parameter(
    name="PLANNER_AUTO_APPLY", default=True, owner="subscriptions",
    why="Plans that follow from a change become live by themselves, unless they take too much away.",
)  # fmt: skip
PLANNER_HOLD_DROPS_PERCENT = Parameter(
    name="PLANNER_HOLD_DROPS_PERCENT", default=5.0, least=0, most=100, unit="%", owner="subscriptions",
    why="A plan that drops more than this of what is live and wanted waits for an operator.",
)  # fmt: skip
PLANNER_HOLD_MOVES_PERCENT = Parameter(
    name="PLANNER_HOLD_MOVES_PERCENT", default=10.0, least=0, most=100, unit="%", owner="subscriptions",
    why="A plan that moves more than this of what is live without need waits for an operator.",
)  # fmt: skip
SUBSCRIPTION_LINGER = Parameter(
    name="SUBSCRIPTION_LINGER", default=30.0, least=0, most=3600, unit="s", owner="subscriptions",
    why="What nobody wants any more, or in a lower mode, stays for so long where there is room.",
)  # fmt: skip
TICKER_LEASE = Parameter(
    name="TICKER_LEASE", default=15.0, least=1, most=3600, unit="s", owner="subscriptions",
    why="For how long a ticker that says nothing keeps others from its account.",
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
TIER_0_PER_KEY = Parameter(
    name="TIER_0_PER_KEY", default=1000, least=0, most=100_000, unit="instruments", owner="subscriptions",
    why="How many instruments the profiles made with one key may want before everybody else (priority 75 and above).",
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

MAINTENANCE = Parameter(
    name="MAINTENANCE", default=False, owner="operations",
    why="Read-only: writes are answered 503, work that changes the catalogue waits; the reason is that of the change.",
)  # fmt: skip
LOG_LEVELS = Parameter(
    name="LOG_LEVELS", default="", owner="operations", wrong=wrong_levels,
    why="What parts of the program log from which level on, as http=debug,audit=warning; * is every other part.",
)  # fmt: skip

INGESTION_SET_ASIDE_PERCENT = Parameter(
    name="INGESTION_SET_ASIDE_PERCENT", default=2.0, least=0, most=100, unit="%", owner="catalog",
    why="A dump of which more rows cannot be read waits for an operator: its format may have changed.",
)  # fmt: skip
INGESTION_GONE_PERCENT = Parameter(
    name="INGESTION_GONE_PERCENT", default=5.0, least=0, most=100, unit="%", owner="catalog",
    why="A dump that lacks more of a segment's unexpired rows than this waits for an operator: it may be cut short.",
)  # fmt: skip
CONFIG_SERVICE_REFRESH = Parameter(
    name="CONFIG_SERVICE_REFRESH", default=30.0, least=1, most=86_400, unit="s", owner="operations",
    why="How often an external configuration service is asked.",
)  # fmt: skip

CONNECTION_LOST_AFTER = Parameter(
    name="CONNECTION_LOST_AFTER", default=5.0, least=0.5, most=3600, unit="s", owner="subscriptions",
    why="A broker connection of which its ticker says nothing for so long is lost, and what it carried goes elsewhere.",
)  # fmt: skip

TICK_SILENCE = Parameter(
    name="TICK_SILENCE", default=300.0, least=1, most=86_400, unit="s", owner="subscriptions",
    why="An instrument that is carried and does not tick for so long while its market is open is told of as silent.",
)  # fmt: skip

PARAMETERS: dict[str, AnyParameter] = {
    one.name: one
    for one in (
        PLANNER_OPTIMIZATION_LEVEL, PLANNER_TIMEOUT, MAX_INSTRUMENTS_PER_PLAN, FILTERING_STRICTNESS, PLAN_CACHE_TTL,
        PLANNER_AUTO_APPLY, PLANNER_HOLD_DROPS_PERCENT, PLANNER_HOLD_MOVES_PERCENT, SUBSCRIPTION_LINGER, TICKER_LEASE,
        SEARCH_TIMEOUT, MAX_RESULTS_PER_PAGE, QUERY_OPTIMIZATION, SEARCH_INDEX_REFRESH, CACHE_TTL_SECONDS,
        EVENT_RETRY_ATTEMPTS, EVENT_RETRY_SECONDS, CONSUMER_SILENT_DAYS, EVENT_BATCH_SIZE,
        EVENT_ORDERING_GUARANTEE, EVENT_BROKER_URL, DLQ_RETENTION_HOURS,
        PROFILES_PER_USER, PROFILE_LIMIT_LIVE_FEED, PROFILE_LIMIT_HISTORICAL, PROFILE_LIMIT_ALERTS,
        TIER_0_PER_KEY,
        SLA_AVAILABILITY_PERCENT, SLA_P95_MS, SLA_CACHE_MISS_PERCENT, MEMORY_WARNING_MB,
        INGESTION_SET_ASIDE_PERCENT, INGESTION_GONE_PERCENT, CONNECTION_LOST_AFTER, TICK_SILENCE,
        MAINTENANCE, LOG_LEVELS, CONFIG_SERVICE_REFRESH, *LIMIT_PARAMETERS, *DEGRADATION_PARAMETERS,
        *TOGGLE_PARAMETERS,
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
