"""Numbers that are read from what they speak of when somebody asks for them, and cost nothing until then."""

import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from prometheus_client import REGISTRY, CollectorRegistry, Gauge
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

T = TypeVar("T")
Seen = float | Mapping[str, float] | None


@dataclass(frozen=True, slots=True)
class Number(Generic[T]):
    """One metric: its name, what it means, and how it is read; by label where `label` names one."""

    name: str
    documentation: str
    read: Callable[[T], Seen]
    label: str = ""
    counts: bool = False


class Watched(Collector, Generic[T]):
    """The numbers of the one thing of its kind that a process has; none before there is one."""

    def __init__(self, *numbers: Number[T], registry: CollectorRegistry = REGISTRY) -> None:
        self._numbers = numbers
        self._thing: weakref.ref[T] | None = None
        registry.register(self)

    def watch(self, thing: T) -> None:
        """Speak of this one from now on, as long as it is there."""
        self._thing = weakref.ref(thing)

    def forget(self, thing: T) -> None:
        """Speak of this one no longer."""
        if self._thing is not None and self._thing() is thing:
            self._thing = None

    def describe(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        """What there is to ask for."""
        return [_family(number) for number in self._numbers]

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        """Read every number."""
        thing = self._thing() if self._thing is not None else None
        for number in self._numbers:
            family = _family(number)
            seen = None if thing is None else number.read(thing)
            if isinstance(seen, Mapping):
                for value, amount in seen.items():
                    family.add_metric([value], amount)
            elif seen is not None:
                family.add_metric([], seen)
            yield family


class KnownGauge(Gauge):
    """A gauge without labels that says nothing before it was set: a process that does not measure has no 0 to tell."""

    _known = False

    def set(self, value: float) -> None:
        """Say this from now on."""
        self._known = True
        super().set(value)

    def collect(self) -> Iterable[Metric]:
        """What is known."""
        for family in super().collect():
            if not self._known:
                family.samples.clear()
            yield family


def _family(number: Number[T]) -> GaugeMetricFamily | CounterMetricFamily:
    kind = CounterMetricFamily if number.counts else GaugeMetricFamily
    return kind(number.name, number.documentation, labels=[number.label] if number.label else [])
