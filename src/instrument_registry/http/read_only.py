"""What works while the registry is read-only: reading, operating it, and delivery."""

from functools import cache

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Whoever operates it must be able to end maintenance, and to lock somebody out meanwhile.
OPERATING = ("/actuator/", "/configuration/", "/breakers", "/limits", "/keys", "/secrets", "/ofrep/", "/audit/")
# Sent by another method than GET, and yet only read, or part of delivering what there is.
READING = (
    "/search", "/instruments/bulk", "/events/stream", "/consumers/{consumer}/acknowledge",
    "/subscriptions/capacity/{account}/health", "/subscriptions/leases/{account}", "/subscriptions/acks",
    "/subscriptions/what-if", "/subscriptions/plan/{plan}/describe",
)  # fmt: skip


@cache  # as many as there are routes
def changes_something(path: str, method: str, prefix: str) -> bool:
    """Whether a route, by its template, does what is refused while the registry is read-only."""
    if method in SAFE_METHODS:
        return False
    own = path.removeprefix(prefix)
    return own not in READING and not own.startswith(OPERATING)
