"""How each dependency is judged: what is slow for it, how soon it is tried again."""

import math

from instrument_registry.breakers.model import Terms

DATABASE, REDIS, CONFIGURATION_SERVICE, DOWNLOADS = "database", "redis", "configuration_service", "downloads"

# The pool tells itself what is slow: how long others hold connections, and a busy loop, say nothing of the server.
# Slow are else: a command, all values, one file. What is needed by every
# request is tried again soon, what somebody else operates seldom.
TERMS: dict[str, Terms] = {
    DATABASE: Terms(slow_seconds=math.inf, rest_seconds=0.5, longest_rest_seconds=1.0, probe_seconds=5.0),
    REDIS: Terms(minimum_calls=3, slow_seconds=2.0, rest_seconds=0.5, longest_rest_seconds=2.0, probes=1),
    CONFIGURATION_SERVICE: Terms(
        window_seconds=300.0, minimum_calls=3, slow_seconds=20.0, rest_seconds=5.0, longest_rest_seconds=60.0,
        probes=1, probe_seconds=40.0,
    ),
    DOWNLOADS: Terms(
        window_calls=10, window_seconds=900.0, minimum_calls=6, slow_seconds=240.0, rest_seconds=60.0,
        longest_rest_seconds=900.0, probes=1, probe_seconds=1200.0,
    ),
}  # fmt: skip


def terms_of(name: str) -> Terms:
    """The terms of a dependency by its name, which begins with its kind: downloads:api.kite.trade."""
    return TERMS.get(name.partition(":")[0], Terms())
