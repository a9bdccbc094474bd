"""What `top` makes of two scrapes."""

from rich.console import Console

from instrument_registry.cli.top import compared, read_scrape, screen

ROUTE = "/api/v1/search"


def scrape(*, at: float, fast: int, slow: int, failed: int = 0, streams: int = 0) -> object:
    """Requests below 10 ms and below 100 ms; streams last longer than any bound."""
    total = fast + slow
    lines = [
        f'instrument_registry_http_requests_total{{method="GET",route="{ROUTE}",status="200"}} {total - failed}',
        f'instrument_registry_http_requests_total{{method="GET",route="{ROUTE}",status="503"}} {failed}',
        *(
            f'instrument_registry_http_request_duration_seconds_bucket{{le="{bound}",route="{route}"}} {count}'
            for route, counts in ((ROUTE, (fast, total, total)), ("/events/stream", (0, 0, streams)))
            for bound, count in zip(("0.01", "0.1", "+Inf"), counts, strict=True)
        ),
        'instrument_registry_index_position{process="api-1"} 41',
        'instrument_registry_index_position{process="api-2"} 42',
        'instrument_registry_index_position{process="worker"} 0',
        'instrument_registry_index_age_seconds{process="api-1"} 0.5',
        'instrument_registry_memory_usage_bytes{process="api-1"} 104857600',
        'instrument_registry_memory_usage_bytes{process="worker"} 52428800',
        'instrument_registry_breaker_state{dependency="redis",process="api-1"} 2',
        f"process_cpu_seconds_total {at / 2}",
    ]
    return read_scrape("\n".join(lines) + "\n", at=at)


def test_says_what_happened_between_two_looks() -> None:
    before = scrape(at=10.0, fast=1000, slow=0)
    after = scrape(at=12.0, fast=1090, slow=10, failed=4, streams=7)

    now = compared(before, after, status="ready")

    assert (now.requests_per_second, now.failures_per_second, now.cpu_percent) == (50.0, 2.0, 50.0)
    assert (now.p50_ms, now.p95_ms, now.p99_ms) == (5.556, 55.0, 91.0)
    assert (now.index_position, now.breakers) == (42, {"redis": "open"})
    assert [(one.process, one.memory_mib, one.index_position) for one in now.processes] == [
        ("api-1", 100.0, 41), ("api-2", None, 42), ("worker", 50.0, None),
    ]  # fmt: skip
    assert [(one.route, one.requests_per_second) for one in now.busiest] == [(ROUTE, 50.0)]


def test_counters_that_began_anew_count_from_nothing() -> None:
    now = compared(scrape(at=1.0, fast=500, slow=0), scrape(at=2.0, fast=20, slow=0), status="ready")

    assert now.requests_per_second == 20.0


def test_nothing_asked_is_no_time_at_all() -> None:
    quiet = scrape(at=1.0, fast=5, slow=0)
    now = compared(quiet, scrape(at=2.0, fast=5, slow=0), status="ready")

    assert (now.requests_per_second, now.p95_ms, now.busiest) == (0.0, None, [])


def test_a_person_sees_what_is_wrong() -> None:
    quiet = scrape(at=1.0, fast=5, slow=0)
    now = compared(quiet, scrape(at=2.0, fast=9, slow=0), status="degraded", wrong=["mornings: none came"])
    out = Console(width=200, record=True, markup=False)
    with out.capture() as captured:
        out.print(screen(now, "http://here"))

    for words in ("degraded", "mornings: none came", "redis open", "api-1", "100 MiB"):
        assert words in captured.get()
