"""The best single-machine script that can be written with the same libraries: joblib, a process a core, no Ray.

python -m tests.bench.script --output DIR [--processes 2] [--engine auto] [--pickle] FILE...

Each FILE holds the 1-minute bars of one symbol as freqtrade writes them. Its five models are trained on the same
samples, folds and estimators as the job's, by the job's own code below the pipeline, and scored alike: the log-losses
printed are the job's to the last bit. What such a script does without: finding out what the files are and what is
current, exclusive and atomic writes, digests, fingerprints, a catalog, attempts, a run record, a report, workers on
other machines. Models are dumped with `skops`, since artifacts that are safe to load are part of what is compared;
`--pickle` dumps them the fastest way instead. `--engine onedal` lets oneDAL grow the forests, whose log-losses differ.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import joblib

THREAD_LIMITS: Final = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
Model = tuple[str, str]
PARTS: Final[tuple[tuple[Model, ...], ...]] = (
    (("analyst", "1h"), ("analyst", "15m"), ("analyst", "5m"), ("tactician", "1m")),
    (("analyst", "1m"),),
)
"""Models of a symbol that share one reading of its bars; the longer part first."""


def train_part(file: Path, models: Sequence[Model], output: Path, *, engine: str, pickle: bool) -> dict[str, float]:
    """Train and dump some models of one symbol; return the log-loss of each.

    What takes seconds to import is imported here, by joblib's processes at once.
    """
    import polars as pl
    import skops.io

    from job.config.settings import Config
    from job.core.keys import Key
    from job.learning.features import resolve_features
    from job.learning.training import train
    from transforms.bars import clean
    from transforms.preparing import Preparation
    from transforms.samples import make_samples

    raw = pl.read_ipc(file)
    bars = clean(raw.with_columns(timestamp=pl.col("date").dt.cast_time_unit("us")).drop("date")).bars
    symbol = file.name.split("-")[0]
    losses = {}
    for kind, timeframe, spec in Config(model_trainer={"engine": engine}).model_specs():
        if (kind, timeframe) not in models:
            continue
        how = Preparation(source="1m", timeframe=timeframe)
        samples = make_samples(bars, how, features=resolve_features(spec.features), label=spec.label).frame
        trained = train(samples, spec, key=Key("binance", symbol, timeframe, kind))
        path = output / f"{symbol}_{kind}_{timeframe}"
        if pickle:
            joblib.dump((trained.model, trained.scaler), path.with_suffix(".joblib"))
        else:
            skops.io.dump(trained.model, path.with_suffix(".skops"))
            skops.io.dump(trained.scaler, path.with_name(f"{path.name}_scaler.skops"))
        path.with_suffix(".json").write_text(json.dumps({"scores": trained.scores, **trained.metadata}))
        losses[f"{symbol} {kind} {timeframe}"] = float(trained.scores["log_loss"] or 0.0)
    return losses


def main(arguments: Sequence[str]) -> None:
    """Train the models of all files and print their log-losses as one JSON object."""
    parser = argparse.ArgumentParser(description="Train all models of some files, without Ray.")
    parser.add_argument("files", type=Path, nargs="+", help="feather files, one a symbol")
    parser.add_argument("--output", type=Path, required=True, help="folder for the models")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--engine", default="auto", help="what grows forests, as model_trainer.engine")
    parser.add_argument("--pickle", action="store_true", help="dump with joblib, which is faster and unsafe to load")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    os.environ |= dict.fromkeys(THREAD_LIMITS, "1")  # libraries read them when joblib's processes import them
    longest_first = sorted(options.files, key=lambda file: -file.stat().st_size)
    parts = joblib.Parallel(n_jobs=options.processes, pre_dispatch="all", batch_size=1)(
        joblib.delayed(train_part)(file, part, options.output, engine=options.engine, pickle=options.pickle)
        for part in PARTS
        for file in longest_first
    )
    losses = {name: loss for part in parts for name, loss in part.items()}
    sys.stdout.write(json.dumps(losses) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
