"""Predictions of stored models: parity with training, what is left as it is, what fails alone, frames in process."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from job.api.trainer import RayModelTrainer
from job.cli import main
from job.cluster import datasets
from job.cluster.bundles import Capacity
from job.cluster.retries import run_with_retries
from job.config.settings import Config, load_config
from job.core.errors import DataError, RegistryError
from job.core.keys import Key
from job.core.synth import write_world
from job.learning.metrics import log_loss
from job.learning.training import train
from job.predict import pipeline
from job.predict.plan import Request
from job.predict.plan import plan as plan_predictions
from job.predict.run import PREDICTING
from job.predict.run import run as run_predictions
from job.predict.task import Predicted, path_of
from job.registry.catalog import keys
from job.registry.predictions import Footer, read_footers
from job.registry.record import RunRecord
from job.registry.versions import read_metadata
from job.storage.files import Storage
from job.train.plan import make_plan
from job.train.run import run as run_on_ray
from job.train.steps import samples_of
from job.worker.load_bars import load_series
from job.worker.messages import Job
from tests.here import run_here as run
from tests.here import without_ray
from tests.registries import BUCKET, s3_options
from transforms.bars import PRICES
from transforms.features import FEATURES

ROOT = Path(__file__).resolve().parents[1]
FAST = {
    "analyst_models": {"timeframes": ["15m", "1m"], "n_estimators": 10},
    "tactician_models": {"n_estimators": 10},
    "cv_folds": 2,
}
COLUMNS = [
    *("exchange", "symbol", "timeframe", "model_type", "timestamp", "available_at"),
    *("probability_down", "probability_up", "prediction", "version"),
]


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two symbols, five days."""
    folder = tmp_path_factory.mktemp("bars")
    write_world(folder, symbols=2, days=5, seed=3, world="signal")
    return folder


def config_for(bars: Path, models: Path, **settings: Any) -> Config:
    trainer = {**FAST, "model_directory": str(models), **settings.pop("model_trainer", {})}
    data = {"input": str(bars), **settings.pop("data", {})}
    return load_config({"data": data, "model_trainer": trainer, **settings}).with_absolute_paths()


@pytest.fixture(scope="module")
def models(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    assert run(config_for(bars, folder)).exit_status == 0
    return folder


def predict(config: Config, output: Path | str, **request: Any) -> RunRecord[Predicted]:
    with without_ray():
        return predict_on_ray(config, output, **request)


def predict_on_ray(config: Config, output: Path | str, **request: Any) -> RunRecord[Predicted]:
    asked = Request(str(output), **request)
    return run_predictions(config, asked, plan_predictions(config, asked))


@pytest.fixture(scope="module")
def predicted(bars: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord[Predicted], Path]:
    output = tmp_path_factory.mktemp("predictions")
    return predict(config_for(bars, models), output), output


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def read(output: Path, key: Key) -> pl.DataFrame:
    return pl.read_parquet(output / path_of(key), hive_partitioning=False)


def test_one_file_a_series_and_model(models: Path, predicted: tuple[RunRecord[Predicted], Path]) -> None:
    record, output = predicted
    assert record.counts == {"predicted": 6, "current": 0, "failed": 0, "not_run": 0}
    assert record.exit_status == 0
    assert sorted(contents(output)) == sorted(path_of(key) for key in keys(Storage(str(models))))
    read_all = pd.read_parquet(output)
    assert sorted(read_all.columns) == sorted(COLUMNS)
    for outcome in record.outcomes:
        frame = read(output, outcome.key)
        assert frame.columns == COLUMNS
        assert [frame.schema[name] for name in COLUMNS[4:6]] == [pl.Datetime("us", "UTC")] * 2
        assert (frame.height, frame["available_at"][-1].isoformat()) == (outcome.rows, outcome.last)
        assert frame["version"].unique().to_list() == [outcome.version]
        assert (frame["probability_up"] + frame["probability_down"] == 1).all()
        assert ((frame["prediction"] == "up") == (frame["probability_up"] > 0.5)).all()
        assert 270 < outcome.counts["warmup"] <= 280  # bars that were filled in warm up, too
        assert outcome.rows + outcome.counts["warmup"] == outcome.counts["bars"]


def test_the_newest_bars_are_compared_with_those_of_training(
    bars: Path, models: Path, predicted: tuple[RunRecord[Predicted], Path]
) -> None:
    for outcome in predicted[0].outcomes:
        metadata = read_metadata(Storage(str(models)), outcome.key, str(outcome.version))
        assert outcome.drift is not None
        assert outcome.record()["drift"] == outcome.drift
        assert outcome.drift["rows"] == min(metadata["drift"]["stretch"], outcome.rows)
        assert outcome.drift["features"] == len(metadata["drift"]["features"]) >= 15
    again = predict(config_for(bars, models), predicted[1])
    assert {one.drift for one in again.outcomes} == {None}, "nothing was computed"


def test_drift_of_the_newest_bars_is_said_and_changes_nothing(
    bars: Path, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in bars.rglob("*SYN00USDT*.parquet"):
        one = pl.read_parquet(file)
        late = pl.col("timestamp") >= pl.col("timestamp").last().dt.offset_by("-1d")
        first = one.filter(late)["open"][0]
        wilder = [pl.when(late).then(first * (pl.col(name) / first) ** 4).otherwise(name) for name in PRICES]
        one.with_columns(**dict(zip(PRICES, wilder, strict=True))).write_parquet(tmp_path / file.name)
    stored = shutil.copytree(models, tmp_path / "models")
    command = ["predict", "--models", str(stored), "--input", str(tmp_path / "*.parquet"), "--json", "--set"]
    exchange = ["data.exchange=synthetic", "--timeframes", "1m"]
    with without_ray():
        assert main([*command, *exchange, "--output", str(tmp_path / "predictions")]) == 0
    printed = capsys.readouterr()
    record, lines = json.loads(printed.out.splitlines()[-1]), printed.err.splitlines()
    for outcome in record["outcomes"]:
        _, index, usual = outcome["drift"]["worst"][0]
        assert index > max(usual, 0.25)
        assert outcome["drift"]["unusual"] > 0
    said = [one.partition("INFO    ")[2] for one in lines if "stability index" in one]
    assert [one.partition(":")[0] for one in said] == ["analyst 1m", "tactician 1m"]
    assert "of training, most so of synthetic/SYN00USDT: stability index " in said[0]
    assert sum(one.endswith("1 drifted") for one in lines) == 2

    for file in stored.rglob("*_1m_*.json"):  # as early releases wrote it
        file.write_text(json.dumps({k: v for k, v in json.loads(file.read_bytes()).items() if k != "drift"}))
    with without_ray():
        assert main([*command, *exchange, "--output", str(tmp_path / "other")]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [one["drift"] for one in record["outcomes"]] == [None, None]
    path = path_of(Key("synthetic", "SYN00USDT", "1m", "analyst"))
    assert (tmp_path / "other" / path).read_bytes() == (tmp_path / "predictions" / path).read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_bars_models_and_predictions_in_object_storage(
    bars: Path, models: Path, predicted: tuple[RunRecord[Predicted], Path], s3_endpoint: str
) -> None:
    options, place = s3_options(s3_endpoint), f"{BUCKET}/predicting"
    remote = fsspec.filesystem("s3", **options)
    for folder, name in ((bars, "bars"), (models, "models")):
        for file in (path for path in folder.rglob("*") if path.is_file()):
            remote.put(str(file), f"{place}/{name}/{file.relative_to(folder)}")
    config = config_for(
        bars,
        models,
        data={"input": f"s3://{place}/bars", "options": options},
        storage={"options": options},
        model_trainer={"model_directory": f"s3://{place}/models"},
    )
    first, again = (predict_on_ray(config, f"s3://{place}/predictions") for _ in range(2))
    assert (first.counts["predicted"], again.counts["current"]) == (6, 6), (first.failures, again.failures)
    for one in predicted[0].outcomes:
        with remote.open(f"{place}/predictions/{path_of(one.key)}") as file:
            assert_frame_equal(pl.read_parquet(file, hive_partitioning=False), read(predicted[1], one.key))


def test_the_holdout_is_predicted_as_it_was_scored_to_the_bit(
    bars: Path, models: Path, predicted: tuple[RunRecord[Predicted], Path]
) -> None:
    config = config_for(bars, models)
    registry = Storage(str(models))
    job = Job("20240101_000000_000000", config, str(models), {})
    for task in make_plan(config).tasks:
        clean, info = load_series(task.series[0], job)
        samples, _ = samples_of(task, clean, info, config.data, name="x")
        holdout = train(samples.frame, task.spec, key=task.key).holdout
        ours = holdout.join(read(predicted[1], task.key), on="available_at", how="left")
        assert ours["probability_up"].to_list() == holdout["p"].to_list()
        (version,) = ours["version"].unique()
        scores = read_metadata(registry, task.key, version)["scores"]
        assert log_loss(ours["label"].to_numpy(), ours["probability_up"].to_numpy()) == scores["log_loss"]


def test_a_second_run_touches_nothing_and_needs_no_ray(
    bars: Path, models: Path, predicted: tuple[RunRecord[Predicted], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("job.cluster.session.running", refuse)
    before = contents(predicted[1]) | contents(models)
    again = predict_on_ray(config_for(bars, models), predicted[1])
    assert again.counts == {"predicted": 0, "current": 6, "failed": 0, "not_run": 0}
    assert contents(predicted[1]) | contents(models) == before
    by_key = {one.key: (one.rows, one.last, one.version) for one in again.outcomes}
    assert by_key == {one.key: (one.rows, one.last, one.version) for one in predicted[0].outcomes}


@pytest.fixture
def copied(bars: Path, tmp_path: Path) -> Path:
    """A folder of bars of one's own: the first symbol's."""
    source = next((bars / "exchange=synthetic" / "symbol=SYN00USDT").glob("*.parquet"))
    target = tmp_path / "bars" / "exchange=synthetic" / "symbol=SYN00USDT" / source.name
    target.parent.mkdir(parents=True)
    target.write_bytes(source.read_bytes())
    return tmp_path / "bars"


def series_file(bars: Path) -> Path:
    (path,) = bars.rglob("*.parquet")
    return path


def test_files_that_were_touched_or_cut_anew_are_read_and_found_current(
    copied: Path, models: Path, tmp_path: Path
) -> None:
    config, output = config_for(copied, models), tmp_path / "out"
    assert predict(config, output, model_types=("tactician",)).counts["predicted"] == 1
    before = contents(output)
    path = series_file(copied)
    read_all = pl.read_parquet(path)
    path.unlink()
    read_all[:3000].write_parquet(path.with_name("SYN00USDT-1m-a.parquet"))
    read_all[3000:].write_parquet(path.with_name("SYN00USDT-1m-b.parquet"))
    assert predict(config, output, model_types=("tactician",)).counts["current"] == 1
    assert contents(output) == before


def test_bars_that_come_later_change_no_prediction(copied: Path, models: Path, tmp_path: Path) -> None:
    config, path = config_for(copied, models), series_file(copied)
    read_all = pl.read_parquet(path)
    for name, frame in (("early", read_all[:-777]), ("late", read_all)):
        frame.write_parquet(path)
        assert predict(config, tmp_path / "out").counts["predicted"] == 3
        (tmp_path / "out").rename(tmp_path / name)
    for key in (key for key in keys(Storage(str(models))) if key.symbol == "SYN00USDT"):
        early, late = read(tmp_path / "early", key), read(tmp_path / "late", key)
        assert early.height < late.height
        assert_frame_equal(late[: early.height], early, check_exact=True)


def test_a_range_is_a_slice_of_the_whole(
    bars: Path, models: Path, predicted: tuple[RunRecord[Predicted], Path], tmp_path: Path
) -> None:
    key = Key("synthetic", "SYN01USDT", "15m", "analyst")
    read_all = read(predicted[1], key)
    start, end = read_all["timestamp"][20], read_all["timestamp"][70]
    config = config_for(bars, models, data={"start": start, "end": end, "symbols": ["SYN01USDT"]})
    assert predict(config, tmp_path, timeframes=("15m",)).counts["predicted"] == 1
    assert_frame_equal(read(tmp_path, key), read_all[20:70], check_exact=True)
    other = config_for(bars, models, data={"end": end, "symbols": ["SYN01USDT"]})
    assert predict(other, tmp_path, timeframes=("15m",)).counts["predicted"] == 1
    assert_frame_equal(read(tmp_path, key), read_all[:70], check_exact=True)


def test_a_damaged_file_is_made_anew(copied: Path, models: Path, tmp_path: Path) -> None:
    config, output = config_for(copied, models), tmp_path / "out"
    (outcome,) = predict(config, output, model_types=("tactician",)).outcomes
    path = output / path_of(outcome.key)
    good = path.read_bytes()
    path.write_bytes(good[:-100])
    assert predict(config, output, model_types=("tactician",)).counts["predicted"] == 1
    assert path.read_bytes() == good


def test_a_model_that_cannot_be_used_fails_alone(copied: Path, models: Path, tmp_path: Path) -> None:
    own = tmp_path / "models"
    for path in models.rglob("*"):
        if path.is_file():
            (own / path.relative_to(models)).parent.mkdir(parents=True, exist_ok=True)
            (own / path.relative_to(models)).write_bytes(path.read_bytes())
    (damaged,) = (path for path in own.rglob("SYN00USDT/analyst_15m_*.skops") if "scaler" not in path.name)
    damaged.write_bytes(b"no model")
    record = predict(config_for(copied, own), tmp_path / "out")
    assert record.counts == {"predicted": 2, "current": 0, "failed": 1, "not_run": 0}
    assert record.exit_status == 1
    assert "is not the model that was committed" in record.failures[0].error_message


def test_a_series_without_a_model_of_a_kind_is_named(bars: Path, models: Path, tmp_path: Path) -> None:
    own = tmp_path / "models"
    run(config_for(bars, own, data={"symbols": ["SYN01USDT"]}, model_trainer={"enable_analyst_models": False}))
    record = predict(config_for(bars, own), tmp_path / "out")
    assert record.counts == {"predicted": 1, "current": 0, "failed": 1, "not_run": 0}
    assert record.exit_status == 1
    assert "holds no model synthetic/SYN00USDT tactician 1m" in record.failures[0].error_message


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_a_pooled_model_predicts_every_series(bars: Path, tmp_path: Path) -> None:
    own = tmp_path / "models"
    config = config_for(bars, own, model_trainer={"enable_analyst_models": False, "group_by": ["timeframe"]})
    run_on_ray(config)
    record = predict_on_ray(config, tmp_path / "out")
    assert record.counts["predicted"] == 2
    assert {one.symbol for one in record.outcomes} == {"SYN00USDT", "SYN01USDT"}
    with pytest.raises(RegistryError, match=r"holds no model of synthetic/SYN00USDT, .* --group-by timeframe"):
        predict_on_ray(config_for(bars, own), tmp_path / "out")


def test_odd_names_lead_to_one_file_that_readers_find(copied: Path, tmp_path: Path) -> None:
    path = series_file(copied)
    frame = pl.read_parquet(path).with_columns(symbol=pl.lit("BTC/USDT:USDT é"), exchange=pl.lit("a=b%"))
    source = tmp_path / "one.parquet"
    frame.write_parquet(source)
    config = config_for(source, tmp_path / "models", model_trainer={"enable_analyst_models": False})
    assert run(config).exit_status == 0
    assert predict(config, tmp_path / "out").exit_status == 0
    read_back = pd.read_parquet(tmp_path / "out")
    assert (read_back["symbol"].unique().tolist(), read_back["exchange"].unique().tolist()) == (
        ["BTC/USDT:USDT é"],
        ["a=b%"],
    )


def test_features_that_are_others_now_are_refused_before_ray(
    bars: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FEATURES, "rsi_14", replace(FEATURES["rsi_14"], version=2))
    with pytest.raises(RegistryError, match=r"was trained on the feature rsi_14 of version 1, .* version 2; retrain"):
        plan_predictions(config_for(bars, models), Request(str(tmp_path)))


def test_no_bar_past_warm_up(copied: Path, models: Path, tmp_path: Path) -> None:
    path = series_file(copied)
    pl.read_parquet(path)[:200].write_parquet(path)
    record = predict(config_for(copied, models), tmp_path / "out", model_types=("tactician",))
    assert record.exit_status == DataError.exit_status
    assert (
        "1m: no bar to predict (bars 200, segments 1, filled 1, warmup 200): give more bars"
        in record.failures[0].error_message
    )


@pytest.mark.usefixtures("local_ray")
def test_what_dead_workers_leave_runs_again_alone(
    bars: Path,
    models: Path,
    predicted: tuple[RunRecord[Predicted], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On Ray, where the outcomes of two files do not arrive in the first round, that of one of them in no round."""
    original, rounds = datasets.outcomes_of, list[int]()

    def lossy(*arguments: Any) -> Iterator[Predicted]:
        rounds.append(0)
        for outcome in original(*arguments):
            rounds[-1] += 1
            lost = outcome.key.symbol == "SYN01USDT" and outcome.timeframe == "15m"
            if not lost and not (len(rounds) == 1 and outcome.symbol == "SYN00USDT" and outcome.timeframe == "15m"):
                yield outcome

    monkeypatch.setattr(pipeline, "outcomes_of", lossy)
    config = config_for(bars, models)
    plan = plan_predictions(config, Request(str(tmp_path), model_types=("analyst",)))
    job = Job("20240101_000000_000000", config, str(tmp_path), {})
    runs = partial(pipeline.runs, capacity=Capacity(2, 2, 2**30))
    found = {one.key: one for one in run_with_retries(plan.tasks, job, PREDICTING, runs)}
    assert rounds == [4, 2, 1]
    assert len(found) == 4
    assert [one.key.symbol for one in found.values() if one.status == "failed"] == ["SYN01USDT"]
    again = found[Key("synthetic", "SYN00USDT", "15m", "analyst")]
    assert again.status == "current" or again.attempts == 2
    for key in found:
        assert_frame_equal(read(tmp_path, key), read(predicted[1], key), check_exact=True)


@pytest.fixture
def places(bars: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Folders by name; Ray cannot be started."""
    monkeypatch.setattr("job.cluster.session.running", None)
    (tmp_path / "empty").mkdir()
    return {"empty": tmp_path / "empty", "models": models, "bars": bars}


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--models", "{empty}"], 2, "empty holds no models: train some"),
        (["--version", "champion"], 2, "analyst 15m has no champion in {models}: name one with `models promote`"),
        (["--version", "analyst_1m_20200101_000000_aaaaaa"], 2, "no version 'analyst_1m_20200101_000000_aaaaaa'"),
        (["--timeframes", "4h"], 2, "--timeframes: {models} holds no 4h model of these series (known: 15m, 1m)"),
        (["--model-types", "analist"], 2, "did you mean 'analyst'"),
        (["--model-types", "tactician", "--timeframes", "15m"], 2, "holds no tactician model of 15m"),
        (["--symbols", "NOPE"], 3, "NOPE"),
        (["--input", "{empty}"], 3, "empty"),
        (["--output", "{models}/x"], 2, "which is read: give another folder"),
        (["--output", "{bars}"], 2, "which is read: give another folder"),
        (["--output", "/tmp/working_dir_files/x"], 2, "lies inside Ray's copy of the working directory"),
        (["--output", "memory://x"], 2, "workers do not share one process's memory"),
        (["--output", ""], 2, "--output is empty"),
        (["--start", "soon"], 2, "data.start"),
        (["--set", "data.nope=1"], 2, "unknown key data.nope"),
    ],
)
def test_mistakes_are_one_line_and_a_status(
    arguments: list[str], status: int, message: str, places: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    models, bars, tmp_path = places["models"], places["bars"], places["empty"].parent
    given = [argument.format(**places) for argument in arguments]
    usual = ["--models", str(models), "--input", str(bars), "--output", str(tmp_path / "out")]
    assert main(["predict", *usual, *given]) == status
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message.format(**places) in line


def test_the_commands_record(bars: Path, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    usual = ["predict", "--models", str(models), "--input", str(bars), "--output", str(tmp_path), "--json"]
    assert main([*usual, "--dry-run"]) == 0
    assert not contents(tmp_path)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["counts"]["predicted"] == 0
    with without_ray():
        assert main([*usual, "--timeframes", "15m"]) == 0
    captured = capsys.readouterr()
    record = json.loads(captured.out.splitlines()[-1])
    assert record["counts"] == {"predicted": 2, "current": 0, "failed": 0, "not_run": 0}
    assert {one["path"] for one in record["outcomes"]} == set(contents(tmp_path))
    assert "2/2 predicted synthetic/SYN0" in captured.err
    assert "analyst 15m: 2 predicted, 0 current, 0 failed" in captured.err


def test_frames_are_predicted_as_files_are(
    bars: Path, models: Path, predicted: tuple[RunRecord[Predicted], Path]
) -> None:
    trainer = RayModelTrainer(config_for(bars, models))
    source = pl.read_parquet(next((bars / "exchange=synthetic" / "symbol=SYN00USDT").glob("*.parquet")))
    names: dict[str, Any] = {"symbol": "SYN00USDT", "exchange": "synthetic"}
    for model_type, timeframe in (("analyst", "15m"), ("tactician", "1m")):
        file = read(predicted[1], Key("synthetic", "SYN00USDT", timeframe, model_type))
        file = file.cast(dict.fromkeys(COLUMNS[:4], pl.String))
        assert_frame_equal(trainer.predict(source, model_type, timeframe, **names), file, check_exact=True)
        pandas = source.to_pandas()
        for frame in (pandas, pandas.set_index(pandas.columns[0])):
            made = trainer.predict(frame, model_type, timeframe, **names)
            assert_frame_equal(pl.from_pandas(made), file, check_exact=True)
    with pytest.raises(DataError, match=r"bars: none of 15m to predict"):
        trainer.predict(source[:1000], "analyst", "15m", **names)
    with pytest.raises(DataError, match=r"bars: .*close"):
        trainer.predict(source.drop("close"), "analyst", "15m", **names)
    with pytest.raises(RegistryError, match=r"2 models .*: name symbol and exchange"):
        trainer.predict(source, "analyst", "15m")


def test_a_file_says_what_it_was_made_from(predicted: tuple[RunRecord[Predicted], Path]) -> None:
    record, output = predicted
    registry = Storage(str(output))
    paths = [one.path for one in record.outcomes]
    (output / "other.parquet").write_bytes(b"PAR1 nothing PAR1")
    try:
        footers = read_footers(registry, [*paths, "other.parquet"])
    finally:
        (output / "other.parquet").unlink()
    assert set(footers) == set(paths)
    assert all(isinstance(one, Footer) and len(one.content) == 64 for one in footers.values())
    assert datetime.fromisoformat(next(iter(footers.values())).last).utcoffset() == timedelta(0)
    assert np.isfinite([one.rows for one in footers.values()]).all()


@pytest.mark.slow
def test_a_second_run_from_a_shell_leaves_every_byte(tmp_path: Path) -> None:
    """All default models of two symbols, as a user would."""

    def shell(*arguments: str) -> dict[str, Any]:
        command = [sys.executable, str(ROOT / "job" / "main.py"), *arguments, "--json"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=300)
        record: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return record

    write_world(tmp_path / "bars", symbols=2, days=15, seed=3)
    source = ("--input", str(tmp_path / "bars"))
    shell("train", *source, "--output", str(tmp_path / "models"), "--set", "model_trainer.cv_folds=2")
    predict = ("predict", *source, "--models", str(tmp_path / "models"), "--output", str(tmp_path / "out"))
    assert shell(*predict)["counts"]["predicted"] == 10
    before = contents(tmp_path / "out") | contents(tmp_path / "models")
    again = shell(*predict)
    assert (again["counts"]["current"], again["cluster"]["nodes"]) == (10, 0)
    assert contents(tmp_path / "out") | contents(tmp_path / "models") == before
