"""The figures of this process among those that Ray exports, on a cluster that it joined."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from ray.util.metrics import Counter, Gauge

from job.registry.metrics import Family, Metrics


class RayMetrics:
    """Hands figures on to Ray, which exports them on every node as `ray_ohlcv_models_total` and so on."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._told: dict[tuple[Family, tuple[str, ...]], float] = {}
        self._meter = cache(_meter)

    def tell(self) -> None:
        """Tell Ray what has changed: counters take what they have grown by."""
        for family, values, value in self._metrics.samples():
            before = self._told.get((family, values), 0.0)
            if value == before:
                continue
            labels = dict(zip(family.labels, values, strict=True))
            meter = self._meter(family)
            if isinstance(meter, Counter):
                meter.inc(value - before, labels)
            else:
                meter.set(value, labels)
            self._told[family, values] = value


def _meter(family: Family) -> Counter | Gauge:
    if family.type == "counter":  # Ray adds the ending
        return Counter(family.name.removesuffix("_total"), family.help, tag_keys=family.labels)
    return Gauge(family.name, family.help, tag_keys=family.labels)


@contextmanager
def told_to_ray(metrics: Metrics) -> Iterator[None]:
    """Have Ray export the figures for as long as the body takes."""
    listener = RayMetrics(metrics).tell
    metrics.listeners.append(listener)
    try:
        yield
    finally:
        listener()
        metrics.listeners.remove(listener)
