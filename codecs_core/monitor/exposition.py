"""A ledger in Prometheus' words. Importing this needs ``prometheus_client``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from codecs_core.monitor.ledger import Ledger
from codecs_core.monitor.metrics import METRICS

__all__ = ["Exposition"]

_FAMILIES = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}


class Exposition(Collector):
    """Everything in a ledger, and the process' own figures, at the moment of the question."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def describe(self) -> Iterator[Metric]:
        """Name the metrics, so that the registry need not look at any session."""
        for each in METRICS:
            yield _FAMILIES[each.kind](each.name, each.help, labels=each.labels)

    def collect(self) -> Iterator[Metric]:
        """Look at the sessions, and add up."""
        samples: dict[str, list[tuple[tuple[str, ...], int]]] = defaultdict(list)
        for name, labels, number in self._ledger.counts():
            samples[name].append((labels, number))
        for each in METRICS:
            family = _FAMILIES[each.kind](each.name, each.help, labels=each.labels)
            for labels, number in samples[each.name]:
                family.add_metric(labels, number / each.divisor)
            yield family

    def render(self, accept: str) -> tuple[str, bytes]:
        """Return the content type and the text, in the format that ``accept`` asks for."""
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self._registry)
