"""`instrument-registry top`: how it is doing right now, as a screen that goes on or as one document."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated

import msgspec
import typer
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from instrument_registry.cli import client
from instrument_registry.cli.tables import ABSENT, console, document, plain
from instrument_registry.errors import Unavailable

OURS = "instrument_registry_"
REQUESTS, SECONDS = f"{OURS}http_requests_total", f"{OURS}http_request_duration_seconds_bucket"
ENDLESS = ("/stream", "/watch")  # what they take says how long somebody listened
BREAKERS = {0: "closed", 1: "half open", 2: "open"}
MIB = 1024 * 1024
Labels = dict[str, str]


@dataclass(frozen=True, slots=True)
class Scrape:
    """The numbers at one instant."""

    at: float
    series: dict[str, list[tuple[Labels, float]]]

    def of(self, name: str) -> list[tuple[Labels, float]]:
        """Every series of a name."""
        return self.series.get(name, [])

    def largest(self, name: str) -> float | None:
        """The largest of a name, where there is one."""
        return max((value for _, value in self.of(name)), default=None)


class ProcessNow(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the instance."""

    process: str
    memory_mib: float | None
    index_position: int | None
    index_age_seconds: float | None


class RouteNow(msgspec.Struct, frozen=True, kw_only=True):
    """One route that was asked meanwhile."""

    route: str
    requests_per_second: float


class Now(msgspec.Struct, frozen=True, kw_only=True):
    """How the instance is doing, over the seconds between two looks."""

    over_seconds: float
    status: str
    wrong: list[str]
    requests_per_second: float
    failures_per_second: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    cpu_percent: float | None
    index_position: int | None
    log_position: int | None
    events_waiting_seconds: float | None
    relay_lag: int | None
    breakers: dict[str, str]
    processes: list[ProcessNow]
    busiest: list[RouteNow]


class _Check(msgspec.Struct):
    check: str
    verdict: str
    reason: str


class _Health(msgspec.Struct):
    status: str | int = ""
    checks: list[_Check] = []


def top(
    every: Annotated[float, typer.Option(help="Seconds between looks.", min=0.2, max=60)] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, over that many seconds, and end.")] = False,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Show how it is doing: requests, times, index, lag, breakers, memory; with --json one document a look."""
    instance = client.connect(url, key)
    looks = _looks(instance, every)
    if once:
        looks = iter([next(looks)])
    if as_json:
        for now in looks:
            document(now)
        return
    if once:
        console().print(screen(next(looks), instance.url))
        return
    with Live(Text("Looking …"), console=console(), auto_refresh=False, screen=True) as live:
        for now in looks:
            live.update(screen(now, instance.url), refresh=True)


def read_scrape(text: str, *, at: float) -> Scrape:
    """The numbers in Prometheus' text format."""
    series: dict[str, list[tuple[Labels, float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series.setdefault(sample.name, []).append((sample.labels, sample.value))
    return Scrape(at, series)


def compared(before: Scrape, after: Scrape, *, status: str, wrong: Iterable[str] = ()) -> Now:
    """What happened between two looks."""
    seconds = max(after.at - before.at, 1e-6)
    answered = _grown(before, after, REQUESTS, "route")
    failed = _grown(before, after, REQUESTS, "status")
    times = _times(before, after)
    position = after.largest(f"{OURS}index_position")
    relayed, head = after.largest(f"{OURS}relay_position"), after.largest(f"{OURS}events_position")
    busiest = sorted(answered.items(), key=lambda one: -one[1])[:5]
    return Now(
        over_seconds=round(seconds, 2), status=status, wrong=list(wrong),
        requests_per_second=round(sum(answered.values()) / seconds, 1),
        failures_per_second=round(sum(count for code, count in failed.items() if code >= "500") / seconds, 1),
        p50_ms=_quantile(times, 0.5), p95_ms=_quantile(times, 0.95), p99_ms=_quantile(times, 0.99),
        cpu_percent=_cpu_percent(before, after, seconds),
        index_position=None if position is None else int(position), log_position=None if head is None else int(head),
        events_waiting_seconds=after.largest(f"{OURS}events_waiting_seconds"),
        relay_lag=None if relayed is None or head is None else max(0, int(head - relayed)),
        breakers={
            labels.get("dependency", ""): BREAKERS.get(int(value), str(value))
            for labels, value in after.of(f"{OURS}breaker_state")
        },
        processes=_processes(after),
        busiest=[
            RouteNow(route=route, requests_per_second=round(count / seconds, 1)) for route, count in busiest if count
        ],
    )  # fmt: skip


def screen(now: Now, url: str) -> RenderableType:
    """What a person sees."""
    head = Text(f"{url}   {plain(now.status)}   over {now.over_seconds:g} s", style="bold")
    line = Text(
        f"{now.requests_per_second:g} requests/s   {now.failures_per_second:g} failed/s   "
        f"p50 {_ms(now.p50_ms)}   p95 {_ms(now.p95_ms)}   p99 {_ms(now.p99_ms)}   "
        f"{ABSENT if now.cpu_percent is None else format(now.cpu_percent, '.0f')} % of a core"
    )
    waiting = "" if now.events_waiting_seconds is None else f"   facts wait {now.events_waiting_seconds:.1f} s"
    relay = "" if now.relay_lag is None else f"   relay {now.relay_lag:,} behind"
    where = Text(f"index at {_count(now.index_position)}   log at {_count(now.log_position)}{waiting}{relay}")
    resting = [f"{name} {state}" for name, state in now.breakers.items() if state != "closed"]
    breakers = Text(f"breakers: {', '.join(resting) or 'all closed'}", style="red" if resting else "")
    parts: list[RenderableType] = [
        head,
        *(Text(plain(one), style="yellow") for one in now.wrong),
        line,
        where,
        breakers,
    ]
    processes = _table("process", "memory>", "index>", "age>")
    for one in now.processes:
        processes.add_row(
            plain(one.process), ABSENT if one.memory_mib is None else f"{one.memory_mib:.0f} MiB",
            _count(one.index_position),
            ABSENT if one.index_age_seconds is None else f"{one.index_age_seconds:.1f} s",
        )  # fmt: skip
    routes = _table("busiest", "requests/s>")
    for busy in now.busiest:
        routes.add_row(plain(busy.route), f"{busy.requests_per_second:g}")
    parts += [Text(), processes]
    parts += [Text(), routes] if now.busiest else []
    return Group(*parts)


def _looks(instance: client.Client, every_seconds: float) -> Iterator[Now]:
    before = _scrape(instance)
    while True:
        time.sleep(every_seconds)
        after = _scrape(instance)
        status, wrong = _health(instance)
        yield compared(before, after, status=status, wrong=wrong)
        before = after


def _scrape(instance: client.Client) -> Scrape:
    status, content = instance.at_root("/metrics")
    if status != 200:
        raise Unavailable(f"/metrics answers {status}")
    return read_scrape(content.decode(), at=time.monotonic())


def _health(instance: client.Client) -> tuple[str, list[str]]:
    _, content = instance.at_root("/health/ready")
    told = client.read(content, _Health)
    status = told.status if isinstance(told.status, str) else "not ready"
    return status, [f"{one.check}: {one.reason}" for one in told.checks if one.verdict != "passed"]


def _grown(before: Scrape, after: Scrape, name: str, by: str) -> dict[str, float]:
    """How much counters grew, summed by one label; a counter that began anew counts from nothing."""
    known = {_key(labels): value for labels, value in before.of(name)}
    grown: dict[str, float] = {}
    for labels, value in after.of(name):
        was = known.get(_key(labels), 0.0)
        grown[labels.get(by, "")] = grown.get(labels.get(by, ""), 0.0) + (value - was if value >= was else value)
    return grown


def _times(before: Scrape, after: Scrape) -> list[tuple[float, float]]:
    """How many requests took at most how many seconds, cumulative, without those that have no end."""

    def ended(scrape: Scrape) -> Scrape:
        kept = [one for one in scrape.of(SECONDS) if not one[0].get("route", "").endswith(ENDLESS)]
        return Scrape(scrape.at, {SECONDS: kept})

    grown = _grown(ended(before), ended(after), SECONDS, "le")
    return sorted((float(bound), count) for bound, count in grown.items())


def _quantile(times: list[tuple[float, float]], share: float) -> float | None:
    """Within how many milliseconds a share of requests was answered, between two bounds in a straight line."""
    total = times[-1][1] if times else 0.0
    if total <= 0:
        return None
    below_bound, below_count = 0.0, 0.0
    for bound, count in times:
        if count >= share * total:
            if bound == float("inf"):
                return round(below_bound * 1000, 3)  # at least that
            inside = (share * total - below_count) / (count - below_count) if count > below_count else 1.0
            return round((below_bound + (bound - below_bound) * inside) * 1000, 3)
        below_bound, below_count = bound, count
    return None


def _processes(after: Scrape) -> list[ProcessNow]:
    memory = _by_process(after, f"{OURS}memory_usage_bytes") or _by_process(after, "process_resident_memory_bytes")
    positions, ages = _by_process(after, f"{OURS}index_position"), _by_process(after, f"{OURS}index_age_seconds")
    # The background process follows no index: it has no position, and no age that would mean anything.
    indexed = {name: value for name, value in positions.items() if value > 0}
    return [
        ProcessNow(
            process=name, memory_mib=round(memory[name] / MIB, 1) if name in memory else None,
            index_position=int(indexed[name]) if name in indexed else None,
            index_age_seconds=ages.get(name) if name in indexed else None,
        )
        for name in sorted(memory.keys() | indexed.keys())
    ]  # fmt: skip


def _cpu_percent(before: Scrape, after: Scrape, seconds: float) -> float | None:
    """What all processes together took of one core."""
    was, now = (scrape.largest("process_cpu_seconds_total") for scrape in (before, after))
    return None if was is None or now is None or now < was else round((now - was) / seconds * 100, 1)


def _by_process(scrape: Scrape, name: str) -> dict[str, float]:
    return {labels.get("process", "api"): value for labels, value in scrape.of(name)}


def _key(labels: Labels) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def _ms(milliseconds: float | None) -> str:
    return ABSENT if milliseconds is None else f"{milliseconds:.1f} ms"


def _count(number: int | None) -> str:
    return ABSENT if number is None else f"{number:,}"


def _table(*columns: str) -> Table:
    drawn = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        drawn.add_column(column.rstrip(">"), justify="right" if column.endswith(">") else "left")
    return drawn
