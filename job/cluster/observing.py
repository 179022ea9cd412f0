"""How Ray shows what a run does: workers that log as the driver does, and its figures among those that Ray exports."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final

import ray
from ray.job_config import JobConfig
from ray.util.metrics import Counter, Gauge

from job.config.settings import RaySettings
from job.registry.metrics import Family, Metrics


def job_config(settings: RaySettings) -> JobConfig:
    """Return what has workers log as this process does.

    `ray.init(logging_config=…)` would have this process log each line twice.
    """
    config = JobConfig()
    if settings.logging_format == "json":
        config.set_py_logging_config(ray.LoggingConfig(encoding="JSON", log_level=settings.logging_level.upper()))
    return config


class RayMetrics:
    """Hands figures on to Ray, which exports them on every node as `ray_ohlcv_models_total` and so on."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._told: dict[tuple[Family, tuple[str, ...]], float] = {}
        self._meters: dict[Family, Counter | Gauge] = {}

    def tell(self) -> None:
        """Tell Ray what has changed: counters take what they have grown by."""
        for family, values, value in self._metrics.samples():
            before = self._told.get((family, values), 0.0)
            labels = dict(zip(family.labels, values, strict=True))
            if family not in self._meters:
                kind = Counter if family.type == "counter" else Gauge  # Ray adds the ending of counters
                self._meters[family] = kind(family.name.removesuffix("_total"), family.help, tag_keys=family.labels)
            meter = self._meters[family]
            if isinstance(meter, Counter):
                if value > before:
                    meter.inc(value - before, labels)
            else:
                meter.set(value, labels)
            self._told[family, values] = value


_ray_metrics: Final = cache(RayMetrics)
"""The one of some figures: what it has told Ray outlives the body that it was told in."""


@contextmanager
def told_to_ray(metrics: Metrics) -> Iterator[None]:
    """Have Ray export the figures for as long as the body takes; counters go on where the body before left them."""
    listener = _ray_metrics(metrics).tell
    metrics.listeners.append(listener)
    try:
        yield
    finally:
        listener()
        metrics.listeners.remove(listener)
