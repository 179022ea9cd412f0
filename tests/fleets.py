"""Registries of any size whose models were never trained: what reports read of them, made up by a seed."""

import json
import math
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from job.core.keys import Key
from job.learning.fleet import HOUR_US
from job.predict.task import Predicted
from job.registry.catalog import replace_catalog, summarize
from job.registry.events import EventLog
from job.storage.files import Storage
from transforms.bars import duration_us

KINDS: Final = (("analyst", "1h"), ("analyst", "15m"), ("analyst", "5m"), ("analyst", "1m"), ("tactician", "1m"))
FEATURES: Final = ("change_1", "change_5", "close_ma_20", "high_low", "macd", "rsi_14", "volatility_10", "volume_ma_5")
RUN_ID: Final = "20260301_060000_a1b2c3"
PREDICTED: Final = "20260302_060000_a1b2c3"
START: Final = datetime(2026, 3, 1, 6, tzinfo=UTC)

Metadata = dict[str, Any]


def synthetic_fleet(
    folder: Path,
    models: int,
    *,
    spoil: Callable[[Metadata], Metadata] | None = None,
    symbols: Callable[[int], str] = "COIN{:04d}USDT".format,
) -> Storage:
    """Write a registry of so many models, with a run record, aliases and a study, and return it.

    Args:
        folder: where.
        models: how many; five per series.
        spoil: what to do to each metadata before it is written.
        symbols: the name of each series.
    """
    registry = Storage(str(folder))
    draw = random.Random(7)
    summaries, outcomes = [], []
    for number in range(models):
        model_type, timeframe = KINDS[number % len(KINDS)]
        key = Key("synthetic", symbols(number // len(KINDS)), timeframe, model_type)
        metadata = metadata_of(key, draw, number=number)
        written = spoil(metadata) if spoil else metadata
        place = folder / key.folder
        place.mkdir(parents=True, exist_ok=True)
        version = metadata["version"]
        (place / f"{version}.json").write_text(json.dumps(written))
        for artifact in (f"{version}.skops", f"{version}_scaler.skops"):
            (place / artifact).touch()
        summaries.append(summarize(metadata))
        outcomes.append(outcome_of(metadata, draw))
    replace_catalog(registry, summaries)
    write_run(registry, outcomes)
    write_newest(registry, [Key(*one["key"]) for one in summaries], draw)
    for number, summary in enumerate(summaries[:40]):
        write_decision(folder, Key(*summary["key"]), summary["version"], at=START + timedelta(days=number))
    write_study(folder, draw)
    return registry


def metadata_of(key: Key, draw: random.Random, *, number: int) -> Metadata:
    """Return what reports read of a version's metadata, with the length that real ones have."""
    base, skill = 0.6925 + draw.uniform(-0.003, 0.0006), draw.gauss(0.002, 0.004)
    half, worker = draw.uniform(0.002, 0.02), f"node-{number % 3}/{1000 + number % 8}"
    began = START + timedelta(seconds=number // 8 * 3 + draw.uniform(0, 1))
    length = max(HOUR_US, 5 * duration_us(key.timeframe))
    first = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1e6) // length
    change = {
        str(first + number): [rows, -base * skill * rows + draw.gauss(0, 0.3)]
        for number in range(59 * 24 * HOUR_US // length // 4)
        if (rows := draw.randint(20, 60))
    }
    return {
        "schema_version": 1,
        "key": asdict(key),
        "version": f"{key.stem}_{RUN_ID}",
        "created_at": began.isoformat(timespec="seconds"),
        "run_id": RUN_ID,
        "fingerprint": f"{number:064x}",
        "data": data_of(key, draw),
        "features": [{"name": name} for name in FEATURES],
        "label": {"definition": {"kind": "direction", "horizon": 1}, "uniqueness": 0.5},
        "label_end": "2026-03-01T00:00:00+00:00",
        "peak_rss_mb": 380.0,
        "seconds": {"samples": 0.1, "training": 1.0},
        "scores": {
            "accuracy": 0.51, "log_loss": base * (1 - skill), "base_log_loss": base,
            "benchmark_log_loss": base * (1 - draw.gauss(0.0018, 0.003)), "skill": skill, "skill_low": skill - half,
            "skill_high": skill + half, "underpowered": key.timeframe == "1h",
        },
        "warnings": [],
        "algorithm": {"name": "random_forest"},
        "split": {"holdout": {"test_from": "2026-01-01", "test_to": "2026-03-01", "test_rows": 9_000}},
        "class_shares": {"training": {"up": 0.5}, "holdout": {"up": draw.uniform(0.47, 0.53)}},
        "stability": {
            "folds": [{"value": draw.gauss(0.002, 0.003), "low": -0.006, "high": 0.01, "blocks": 40} for _ in range(5)],
            "holdout": {"value": skill, "low": skill - half, "high": skill + half, "blocks": 40},
        },
        "calibration": {
            "reliability": [{"rows": 900, "p": p / 100, "up": p / 100 + draw.gauss(0, 0.01)} for p in range(45, 55)]
        },
        "importances": {"method": "impurity", "values": {name: draw.expovariate(1) for name in FEATURES}},
        "trading": trading_of(draw),
        "timing": {
            "started_at": began.isoformat(timespec="milliseconds"),
            "finished_at": (began + timedelta(seconds=draw.uniform(1, 3))).isoformat(timespec="milliseconds"),
            "worker": worker,
        },
        "excess_log_loss": change,
    }  # fmt: skip


def data_of(key: Key, draw: random.Random) -> Metadata:
    """Return the counts of a series."""
    read, rejected = 500_000, draw.choice((0, 0, 3, 400))
    return {
        "timeframe": "1m",
        "first_bar": "2025-03-01T00:00:00+00:00",
        "last_bar": "2026-03-01T00:00:00+00:00",
        "counts": {"rows_read": read, "high_below_low": rejected, "rows_kept": read - rejected, "out_of_order": 5},
        "samples": {
            "bars": 500_000 if key.timeframe == "1m" else 100_000, "filled": draw.randint(0, 3_000), "warmup": 560,
            "low_coverage": draw.randint(0, 50), "segments": 1 + draw.randint(0, 4), "jumps": 0, "used": 90_000,
        },
    }  # fmt: skip


def trading_of(draw: random.Random) -> Metadata:
    """Return daily returns and what follows from them."""
    days = [f"{datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day):%Y-%m-%d}" for day in range(59)]
    net, base = ([round(draw.gauss(mean, 0.004), 6) for _ in days] for mean in (0.0004, 0.0))
    odds = draw.random()
    return {
        "cost_bps": 5.0, "sharpe": draw.gauss(1, 1), "probabilistic_sharpe": odds,
        "deflated_sharpe": odds * draw.random(),
        "daily": {"dates": days, "net": net, "base_net": base},
    }  # fmt: skip


def outcome_of(metadata: Metadata, draw: random.Random) -> Metadata:
    """Return what a run record keeps of a model; one in a hundred failed."""
    one = {
        **metadata["key"],
        "version": metadata["version"],
        "rows": 90_000,
        "scores": metadata["scores"],
        "error": None,
    }
    cost = {"seconds": draw.uniform(1, 4), "cpu_seconds": draw.uniform(1, 3), "peak_rss_mb": draw.uniform(350, 450)}
    if draw.random() < 0.01:
        return {
            **one,
            **cost,
            "status": "failed",
            "scores": {},
            "error": {"type": "TrainingError", "message": "one class only"},
        }
    return {**one, **cost, "status": "trained"}


def write_run(registry: Storage, outcomes: list[Metadata], **more: Any) -> None:
    """Write the record of a run."""
    failed = sum(one["status"] == "failed" for one in outcomes)
    record = {
        "run_id": RUN_ID, "status": "finished", "reason": None, "started_at": START.isoformat(),
        "finished_at": (START + timedelta(minutes=30)).isoformat(), "output": "models",
        "cluster": {"nodes": 3, "cpus": 8},
        "counts": {"trained": len(outcomes) - failed, "current": 0, "failed": failed, "not_run": 0},
        "problems": [], "outcomes": outcomes, "outcome_files": [],
    }  # fmt: skip
    registry.replace(f"runs/{RUN_ID}.json", json.dumps(record | more).encode())


def write_newest(registry: Storage, keys: Iterable[Key], draw: random.Random, *, run_id: str = PREDICTED) -> None:
    """Write the log of a later run that predicted new bars of every model."""
    log = EventLog(registry, run_id)
    log.run_began("predict", planned=1, settled=0)
    for key in keys:
        drift = {"worst": [[FEATURES[0], draw.uniform(0, 1), None]], "median": draw.uniform(0, 0.2),
                 "unusual": draw.randint(0, 1)}  # fmt: skip
        log.task_ended(Predicted(*key.parts, "predicted", drift=drift))
    log.close()


def write_decision(
    folder: Path, key: Key, version: str, *, at: datetime, seq: int = 1, more: Mapping[str, Any] | None = None
) -> None:
    """Write a decision on a model's aliases."""
    decision = {
        "schema_version": 1, "key": asdict(key),
        "aliases": {"seq": seq, "champion": version, "challenger": None, "previous": []}, "alias": "champion",
        "before": None, "after": version, "command": "promote", "at": at.isoformat(), "reason": "", "numbers": {},
        "decision_id": "0" * 16,
    }  # fmt: skip
    place = folder / "aliases" / key.folder / key.stem / f"{seq:08d}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(decision | dict(more or {})))


def write_study(folder: Path, draw: random.Random) -> None:
    """Write a study of 12 trials, of which the best was chosen."""
    place = folder / "tuning" / "pooled" / "all" / "analyst_15m_0123456789abcdef"
    (place / "trials").mkdir(parents=True, exist_ok=True)
    best, least = 0, math.inf
    for number in range(12):
        loss = 0.69 + draw.gauss(0, 0.002)
        losses = {"synthetic/COIN0000USDT": {"20000": [100, 100 * loss], "20001": [80, 80 * loss]}}
        state = "pruned" if number % 4 == 3 else "complete"
        trial = {
            "number": number,
            "params": {},
            "state": state,
            "first": losses,
            "losses": losses if state == "complete" else {},
        }
        (place / "trials" / f"{number:05d}.json").write_text(json.dumps(trial))
        if state == "complete" and loss < least:
            best, least = number, loss
    (place / "winner-00012.json").write_text(json.dumps({"study": place.name, "trials": 12, "winner": best}))
