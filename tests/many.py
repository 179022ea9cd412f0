"""A registry that holds thousands of models as if they had been trained, without training any."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from job.config.settings import Config, load_config
from job.core.synth import make_bars
from job.registry.aliases import Aliases, change_alias
from job.registry.catalog import rebuild
from job.registry.definition import describe_feature
from job.registry.fingerprints import listing_fingerprints
from job.registry.names import version_name
from job.sources.series import Series
from job.storage.files import Storage
from job.train.plan import make_plan
from job.train.task import Task

RUN_ID: Final = "20240101_000000_abcdef"
OLDER: Final = "20230101_000000_abcdef"
"""The run that trained the versions before, on other bars."""
MODELS_A_SYMBOL: Final = 5


def many_models(folder: Path, *, symbols: int, scores: dict[str, float], champions: bool = False) -> Config:
    """Write `symbols` files of bars and a registry in which all their models are current; return the settings.

    The bars are those of one hour, the artifacts are empty: nobody reads either. With `champions`, each model has an
    older version, too, which is its champion.
    """
    bars = folder / "one.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    make_bars(seed=1, days=1)[:60].write_parquet(bars)
    for number in range(symbols):
        place = folder / "bars" / "exchange=synthetic" / f"symbol=S{number:04d}"
        place.mkdir(parents=True)
        (place / f"S{number:04d}-1m.parquet").write_bytes(bars.read_bytes())
    settings = {"data": {"input": str(folder / "bars")}, "model_trainer": {"model_directory": str(folder / "models")}}
    config = load_config(settings).with_absolute_paths()
    tasks = make_plan(config).tasks
    write_listings(folder / "models", [task.series[0] for task in tasks], config)
    definitions = {one.key.stem: _definition(one, config) for one in tasks}
    for task in tasks:
        described = {**definitions[task.key.stem], "scores": scores}
        for path, data in _versions(task, config, described, older=champions):
            target = folder / "models" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    registry = Storage(str(folder / "models"))
    for task in tasks if champions else ():
        first = version_name(task.key, OLDER)
        change = partial(_champion, version=first)
        change_alias(registry, task.key, "champion", change, seen=Aliases(), command="promote", reason="")
    rebuild(registry)
    return config


def write_listings(models: Path, series: list[Series], config: Config) -> None:
    """Write what the files of each series are known to hold."""
    folder = models / "listings"
    folder.mkdir(parents=True, exist_ok=True)
    for (one, _), listing in listing_fingerprints({(one, False) for one in series}, config.data).items():
        (folder / f"{listing}-{_digest(one)}.json").write_bytes(b"{}")


def _champion(aliases: Aliases, *, version: str) -> Aliases:
    return aliases.moved("champion", version)


def _digest(series: Series) -> str:
    """Return what stands for the digest of a series' bars."""
    return hashlib.sha256(str(series).encode()).hexdigest()


def _definition(task: Task, config: Config) -> dict[str, Any]:
    """Return what metadata say of a kind of model."""
    sampling = {"max_fill": config.data.max_fill, "min_coverage": config.data.min_coverage, "gaps": "segment"}
    return {
        "label": {"definition": task.spec.label.definition()},
        "features": [describe_feature(feature) for feature in task.spec.features],
        "data": {"samples": {"used": 60}, "sampling": sampling},
    }


def _versions(task: Task, config: Config, described: dict[str, Any], *, older: bool) -> Iterator[tuple[str, bytes]]:
    """Yield the path and content of each file of a model's versions."""
    known = replace(task, cached_digests=(_digest(task.series[0]),))
    content = known.content
    assert content is not None
    for run_id in (OLDER, RUN_ID) if older else (RUN_ID,):
        version = version_name(task.key, run_id)
        metadata = {
            "schema_version": 1,
            "key": asdict(task.key),
            "version": version,
            "created_at": f"{run_id[:4]}-01-01T00:00:00+00:00",
            "label_end": f"{run_id[:4]}-01-01T00:00:00+00:00",
            "run_id": run_id,
            "fingerprint": task.fingerprint(config, content if run_id == RUN_ID else content[::-1]),
            "seconds": {"training": 1.0},
            "peak_rss_mb": 400.0,
            "warnings": [],
            "excess_log_loss": {str(hour): [60, 0.5] for hour in range(150)},
            **described,
        }
        yield f"{task.key.folder}/{version}.json", json.dumps(metadata, indent=1).encode()
        yield f"{task.key.folder}/{version}.skops", b""
        yield f"{task.key.folder}/{version}_scaler.skops", b""
