"""Parameters of degradation: how long what is known is trusted, and when a feature is given up for a while."""

from instrument_registry.configuration.model import Parameter

KEYS_TRUSTED_WITHOUT_DATABASE_SECONDS = Parameter(
    name="KEYS_TRUSTED_WITHOUT_DATABASE_SECONDS", default=3600.0, least=0, most=604_800, unit="s", owner="access",
    why="For so long a known key may go on reading while the database does not answer, even one revoked meanwhile.",
)  # fmt: skip

FEATURE_ERROR_PERCENT = Parameter(
    name="FEATURE_ERROR_PERCENT", default=50.0, least=1, most=100, unit="%", owner="operations",
    why="A feature whose requests fail by our fault as often as this is turned off by itself for a while; 100: never.",
)  # fmt: skip
FEATURE_ERROR_MINIMUM_CALLS = Parameter(
    name="FEATURE_ERROR_MINIMUM_CALLS", default=20, least=1, most=1000, unit="requests", owner="operations",
    why="Of fewer requests in a minute and a worker nothing is concluded.",
)  # fmt: skip
FEATURE_RETRY_SECONDS = Parameter(
    name="FEATURE_RETRY_SECONDS", default=10.0, least=0.1, most=3600, unit="s", owner="operations",
    why="A feature turned off by itself is tried after so long; each time that fails, after twice as long.",
)  # fmt: skip

DEGRADATION_PARAMETERS = (
    KEYS_TRUSTED_WITHOUT_DATABASE_SECONDS,
    FEATURE_ERROR_PERCENT,
    FEATURE_ERROR_MINIMUM_CALLS,
    FEATURE_RETRY_SECONDS,
)
