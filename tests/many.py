"""A registry that holds thousands of models as if they had been trained, without training any."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from job.config.settings import Config, load_config
from job.core.synth import make_bars
from job.registry.catalog import rebuild
from job.registry.fingerprints import listing_fingerprint
from job.registry.listings import write_listing
from job.registry.names import version_name
from job.sources.series import Series
from job.storage.files import Storage
from job.train.plan import make_plan
from job.train.task import Task

RUN_ID = "20240101_000000_abcdef"
MODELS_A_SYMBOL = 5


def many_models(folder: Path, *, symbols: int, scores: dict[str, float]) -> Config:
    """Write `symbols` files of bars and a registry in which all their models are current; return the settings.

    The bars are those of one hour, the artifacts are empty: nobody reads either.
    """
    for number in range(symbols):
        place = folder / "bars" / "exchange=synthetic" / f"symbol=S{number:04d}"
        place.mkdir(parents=True)
        make_bars(seed=1, days=1)[:60].write_parquet(place / f"S{number:04d}-1m.parquet")
    settings = {"data": {"input": str(folder / "bars")}, "model_trainer": {"model_directory": str(folder / "models")}}
    config = load_config(settings).with_absolute_paths()
    registry = Storage(str(folder / "models"))
    plan = make_plan(config)
    digests: dict[Series, str] = {}
    for series in {task.series[0] for task in plan.tasks}:
        listing = listing_fingerprint(series, config.data)
        assert listing is not None
        digests[series] = listing[::-1]
        write_listing(registry, listing, digests[series], {})
    tasks = [replace(task, cached_digests=(digests[task.series[0]],)) for task in plan.tasks]
    files = [file for task in tasks for file in _version(task, config, scores)]
    for path, data in files:
        target = folder / "models" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    rebuild(registry)
    return config


def _version(task: Task, config: Config, scores: dict[str, float]) -> Iterator[tuple[str, bytes]]:
    """Yield the path and content of each file of one version."""
    content = task.content
    assert content is not None
    version = version_name(task.key, RUN_ID)
    metadata = {
        "schema_version": 1,
        "key": asdict(task.key),
        "version": version,
        "created_at": "2024-01-01T00:00:00+00:00",
        "label_end": "2024-01-01T00:00:00+00:00",
        "run_id": RUN_ID,
        "fingerprint": task.fingerprint(config, content),
        "data": {"samples": {"used": 60}},
        "seconds": {"training": 1.0},
        "peak_rss_mb": 400.0,
        "scores": scores,
        "warnings": [],
        "excess_log_loss": {str(hour): [60, 0.5] for hour in range(150)},
    }
    yield f"{task.key.folder}/{version}.json", json.dumps(metadata, indent=1).encode()
    yield f"{task.key.folder}/{version}.skops", b""
    yield f"{task.key.folder}/{version}_scaler.skops", b""
