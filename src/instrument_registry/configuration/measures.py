"""What is in force, and who asks for it, in numbers that an operator watches."""

from prometheus_client import Counter

from instrument_registry.configuration.live import LiveConfiguration
from instrument_registry.configuration.parameters import (
    MEMORY_WARNING_MB,
    SLA_AVAILABILITY_PERCENT,
    SLA_CACHE_MISS_PERCENT,
    SLA_P95_MS,
)
from instrument_registry.configuration.toggles import TOGGLES
from instrument_registry.telemetry.watched import Number, Watched

MEGABYTE = 1_000_000

ACCESS = Counter(
    "instrument_registry_config_access", "Values of parameters and toggles that others asked for", ["parameter"]
)


def _enabled(configuration: LiveConfiguration) -> dict[str, float]:
    there = configuration.now
    return {
        one.feature: there[one.percent] / 100 if there[one.enabled] else 0.0 for one in TOGGLES.values()
    }  # fmt: skip


IN_FORCE: Watched[LiveConfiguration] = Watched(
    Number(
        "instrument_registry_feature_enabled", "1 while a feature is on, 0 while it is off, else the share of keys",
        _enabled, label="feature",
    ),
    Number(
        "instrument_registry_sla_availability_ratio", "The share of requests that must be answered",
        lambda one: one.now[SLA_AVAILABILITY_PERCENT] / 100,
    ),
    Number(
        "instrument_registry_sla_p95_seconds", "Nineteen of twenty requests must be answered within",
        lambda one: one.now[SLA_P95_MS] / 1000,
    ),
    Number(
        "instrument_registry_sla_cache_miss_ratio", "The share of answers that may have to be worked out",
        lambda one: one.now[SLA_CACHE_MISS_PERCENT] / 100,
    ),
    Number(
        "instrument_registry_memory_warning_bytes", "What a process may have in use before it gives something up",
        lambda one: one.now[MEMORY_WARNING_MB] * MEGABYTE,
    ),
    Number(
        "instrument_registry_configuration_age_seconds", "Since a process last read what is in force",
        lambda one: one.age_seconds,
    ),
)  # fmt: skip
