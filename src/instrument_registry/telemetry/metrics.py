"""Numbers: those of several processes become one answer, in whichever of Prometheus' two text formats is asked for."""

from collections.abc import Awaitable, Callable, Iterable, Mapping

import msgspec
from prometheus_client import REGISTRY, CollectorRegistry, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar, Sample

SUMMED = ("counter", "histogram", "summary")
Gatherer = Callable[[], Awaitable[bytes]]

disable_created_metrics()  # type: ignore[no-untyped-call]


class _Exemplar(msgspec.Struct, frozen=True, array_like=True):
    labels: dict[str, str]
    value: float
    at: float | None = None


class _Sample(msgspec.Struct, frozen=True, array_like=True):
    name: str
    labels: dict[str, str]
    value: float
    exemplar: _Exemplar | None = None


class _Family(msgspec.Struct, array_like=True):
    """All series of one name, as they travel between processes."""

    name: str
    documentation: str
    type: str
    samples: list[_Sample]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Family]).decode


def own_metrics(registry: CollectorRegistry = REGISTRY) -> bytes:
    """This process's numbers, for `merge` and `written`."""
    return _encode(
        [
            _Family(one.name, one.documentation, one.type, [_travelling(sample) for sample in one.samples])
            for one in registry.collect()
        ]
    )


class Gathering:
    """Where `/metrics` gets its answer: this process alone, or all of them through the supervisor."""

    def __init__(self) -> None:
        self._through: Gatherer | None = None

    def through(self, gatherer: Gatherer | None) -> None:
        """Ask somebody else from now on."""
        self._through = gatherer

    async def __call__(self) -> bytes:
        """Everything that is known, for `written`."""
        return own_metrics() if self._through is None else await self._through()


gather = Gathering()


def merge(given: Mapping[str, bytes], *, ended: Iterable[bytes] = ()) -> bytes:
    """The numbers of many as one: counters and histograms are summed, gauges say which process they speak of.

    `ended` are the last words of processes that are gone: their sums still count, their gauges do not.
    """
    families: dict[str, _Family] = {}
    for process, numbers in given.items():
        for family in _decode(numbers):
            if family.type in SUMMED:
                _add(families, family)
            else:
                known = families.setdefault(family.name, _empty(family))
                known.samples += [_of_process(sample, process) for sample in family.samples]
    for numbers in filter(None, ended):
        for family in _decode(numbers):
            if family.type in SUMMED:
                _add(families, family)
    return _encode([families[name] for name in sorted(families)])


def only_sums(given: Iterable[bytes]) -> bytes:
    """What stays true of processes that are gone."""
    return merge({}, ended=given)


def written(numbers: bytes, *, accept: str = "") -> tuple[bytes, str]:
    """Numbers as text in the format a scraper accepts, OpenMetrics or the older one, and the name of that format."""
    encode, content_type = choose_encoder(accept)
    return encode(_Collected(_decode(numbers))), content_type


class _Collected:
    """What the library writes down."""

    def __init__(self, families: Iterable[_Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        for family in self._families:
            metric = Metric(family.name, family.documentation, family.type)
            for one in family.samples:
                seen = None if one.exemplar is None else Exemplar(*msgspec.structs.astuple(one.exemplar))
                metric.add_sample(one.name, one.labels, one.value, None, seen)
            yield metric


def _travelling(sample: Sample) -> _Sample:
    seen = sample.exemplar
    if seen is None:
        return _Sample(sample.name, sample.labels, sample.value)
    at = None if seen.timestamp is None else float(seen.timestamp)
    return _Sample(sample.name, sample.labels, sample.value, _Exemplar(seen.labels, seen.value, at))


def _add(families: dict[str, _Family], family: _Family) -> None:
    known = families.setdefault(family.name, _empty(family))
    sums = {(one.name, *sorted(one.labels.items())): one for one in known.samples}
    for sample in family.samples:
        at = (sample.name, *sorted(sample.labels.items()))
        before = sums.get(at)
        sums[at] = sample if before is None else _sum(before, sample)
    known.samples = list(sums.values())


def _sum(one: _Sample, other: _Sample) -> _Sample:
    seen = [each.exemplar for each in (one, other) if each.exemplar is not None]
    newest = max(seen, key=lambda each: each.at or 0.0, default=None)
    return _Sample(one.name, one.labels, one.value + other.value, newest)


def _empty(family: _Family) -> _Family:
    return _Family(family.name, family.documentation, family.type, [])


def _of_process(sample: _Sample, process: str) -> _Sample:
    return _Sample(sample.name, sample.labels | {"process": process}, sample.value)
