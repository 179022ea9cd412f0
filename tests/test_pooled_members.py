"""Pooled members of blends: what they know and when, what they are stored as, and what a rerun must do again."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from job import ModelConfig, RayModelTrainer
from job.config.settings import Config, load_config
from job.core.errors import ConfigError, TrainingError
from job.learning.fitting import evaluate, predict_proba, probability_of_up
from job.learning.pooled import Pool, Pooled
from job.learning.pooling import fit_pool
from job.learning.rows import read_rows
from job.learning.spec import ModelSpec
from job.learning.splits import Splits, fit_times, walk_forward
from job.learning.training import train
from job.registry.artifacts import ZIP_TIME
from job.registry.blends import dump, parse
from job.registry.catalog import key_of, list_summaries
from job.registry.versions import load, read_metadata
from job.storage.files import Storage
from job.train.plan import make_plan, plan
from job.train.run import run
from tests.oracles_training import FEATURES, KEY, made_samples, model_spec, random_walk_samples
from tests.oracles_transforms import random_bars
from tests.worlds import in_two_processes

OWN_AND_POOLED: dict[str, Any] = {"of": ["logistic_regression", "pooled"], "pooled": {"max_depth": 4}}
TIMES = st.lists(st.integers(0, 10**6), min_size=1, max_size=200)


@given(TIMES, st.randoms())
def test_a_window_takes_a_fit_that_ended_before_it_and_not_long_before(starts: list[int], random: Any) -> None:
    times = fit_times(starts, starts)
    for start in starts:
        (taken,) = fit_times(starts, [start])
        assert taken in times
        assert 0 <= start - taken <= (max(starts) - min(starts)) / 20
    assert len(times) <= 21
    random.shuffle(starts)
    assert fit_times(starts, starts) == times


def spec_of(**settings: Any) -> ModelSpec:
    return model_spec("blend", params=OWN_AND_POOLED, pool_engine="histogram", **settings)


def many_series(series: int, rows: int, *, signal: float) -> pl.DataFrame:
    frames = [
        made_samples(rows, seed=one, signal=signal).with_columns(series=pl.lit(f"S{one}")) for one in range(series)
    ]
    return pl.concat(frames).sort("available_at", "series")


def splits_of(samples: pl.DataFrame, spec: ModelSpec) -> Splits:
    rows = read_rows(samples, FEATURES)
    return walk_forward(rows.available_at, rows.label_end, test_size=spec.test_size, folds=spec.cv_folds)


def pool_of(samples: pl.DataFrame, spec: ModelSpec, times: list[int]) -> Pool:
    assert spec.pooled is not None
    fits = fit_pool(samples, spec.pooled, times, embargo_us=0, n_jobs=1)
    return Pool(spec.pooled.algorithm, FEATURES, fits, series=samples["series"].n_unique())


def own_and_pool(
    spec: ModelSpec, *, series: int = 6, rows: int = 600, signal: float = 1.0
) -> tuple[pl.DataFrame, Pool]:
    """Return the samples of one series, and a pool of all as it was when each test window of it began."""
    samples = many_series(series, rows, signal=signal)
    own = samples.filter(pl.col("series") == "S0").drop("series")
    splits, times = splits_of(own, spec), own["available_at"].to_physical()
    return own, pool_of(samples, spec, [int(times[int(one.test[0])]) for one in (*splits.folds, splits.holdout)])


def test_a_window_has_the_member_that_was_known_when_it_began() -> None:
    spec = spec_of()
    own, pool = own_and_pool(spec)
    rows, splits = read_rows(own, FEATURES), splits_of(own, spec)
    for fold in (*splits.folds, splits.holdout):
        made = evaluate(rows, fold, spec, n_jobs=1, pool=pool)
        member = made.model.members["pooled"]
        assert member.until == rows.available_at[fold.test[0]]
        unscaled = own.select(FEATURES).to_numpy()[fold.test]
        fit = max((one for one in pool.fits if one.until <= member.until), key=lambda one: one.until)
        expected = probability_of_up(fit.model, fit.scaler.transform(unscaled))
        assert made.p_members[:, 1] == pytest.approx(expected, abs=1e-3), "rows as its own scaler makes them"


def test_no_fit_knows_what_came_after_its_time() -> None:
    """Features and labels of later rows, and labels that were open, are others: the fit is the same to the last bit."""
    samples, spec = many_series(4, 500, signal=1.0), spec_of()
    times = samples["available_at"].to_physical()
    until = int(times.sort()[len(times) // 2])
    later = pl.col("label_end").to_physical() > until
    other = samples.with_columns(
        pl.when(later).then(1 - pl.col("label")).otherwise("label").cast(pl.Int8).alias("label"),
        *(pl.when(later).then(-pl.col(name)).otherwise(name).alias(name) for name in FEATURES),
    )
    one, changed = (pool_of(frame, spec, [until, 2 * until]) for frame in (samples, other))
    matrix = np.random.default_rng(1).normal(size=(200, len(FEATURES))).astype(np.float32)

    def says(pool: Pool, fit: int) -> bytes:
        return probability_of_up(pool.fits[fit].model, pool.fits[fit].scaler.transform(matrix)).tobytes()

    assert says(one, 0) == says(changed, 0)
    assert says(one, 1) != says(changed, 1), "the last one sees them"
    assert one.fits[0].rows == int((samples["label_end"].to_physical() <= until).sum())


def test_what_short_series_have_in_common_is_learned_from_all() -> None:
    spec = spec_of()
    own, pool = own_and_pool(spec, series=20, rows=300, signal=2.0)
    trained = train(own, spec, key=KEY, pool=pool)
    told = trained.metadata["blend"]["members"]
    assert told["pooled"]["weight"] > 0.3
    assert told["pooled"]["series"] == 20
    assert told["pooled"]["algorithm"]["name"] == "random_forest"
    assert datetime.fromisoformat(told["pooled"]["until"]) <= datetime.fromisoformat(
        trained.metadata["split"]["holdout"]["test_from"]
    )
    assert json.dumps(trained.metadata)


def test_a_noise_pool_is_not_believed() -> None:
    spec = spec_of()
    own, _ = own_and_pool(spec, rows=2_000, signal=2.0)
    _, pool = own_and_pool(spec, rows=2_000, signal=0.0)
    assert train(own, spec, key=KEY, pool=pool).metadata["blend"]["members"]["pooled"]["weight"] < 0.2


def noise_model(world: int) -> float:
    """Return the lower end of the skill's interval of one of six random walks, with a pool of all."""
    spec = spec_of(label="direction(10)")
    frames = [
        random_walk_samples(900, seed=6 * world + one, horizon=10).with_columns(series=pl.lit(f"S{one}"))
        for one in range(6)
    ]
    own, splits = frames[0].drop("series"), splits_of(frames[0], spec)
    times = own["available_at"].to_physical()
    starts = [int(times[int(one.test[0])]) for one in (*splits.folds, splits.holdout)]
    low = train(own, spec, key=KEY, pool=pool_of(pl.concat(frames), spec, starts)).scores["skill_low"]
    assert low is not None
    return float(low)


@pytest.mark.slow
def test_pooled_members_find_nothing_in_noise() -> None:
    found = in_two_processes(noise_model, range(60))
    assert sum(low > 0 for low in found) <= binom.ppf(0.99, len(found), 0.025)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    spec = spec_of()
    own, pool = own_and_pool(spec)
    one, several = (train(own, spec, key=KEY, pool=pool, n_jobs=jobs) for jobs in (1, 3))
    assert dump(one.model) == dump(several.model)
    assert one.scores == several.scores


def test_a_refitted_blend_has_the_latest_of_its_pool() -> None:
    spec = spec_of(refit=True)
    own, pool = own_and_pool(spec)
    later = replace(pool, fits=(*pool.fits, replace(pool.fits[-1], until=2 * pool.fits[-1].until)))
    trained = train(own, spec, key=KEY, pool=later)
    assert trained.model.members["pooled"].until == later.fits[-1].until
    assert len(trained.model.weights) == 2


def test_without_a_pool_or_a_fit_there_is_no_model() -> None:
    spec = spec_of()
    own, pool = own_and_pool(spec)
    with pytest.raises(TrainingError, match="a pooled member is fitted on all series of an input: train from files"):
        train(own, spec, key=KEY)
    with pytest.raises(TrainingError, match=r"no labels of both classes before 2\d.*, so its pooled member"):
        train(own, spec, key=KEY, pool=replace(pool, fits=pool.fits[1:]))
    with pytest.raises(TrainingError, match="its pooled member could not be fitted: no bars"):
        train(own, spec, key=KEY, pool=replace(pool, error="no bars"))
    with pytest.raises(TrainingError, match="its pooled member sees other, which cannot be made of these bars"):
        train(own, spec, key=KEY, pool=replace(pool, features=("other",)))


def a_blend() -> Any:
    spec = spec_of()
    own, pool = own_and_pool(spec)
    return train(own, spec, key=KEY, pool=replace(pool, features=FEATURES)).model


def test_its_artifact_is_the_same_each_time_and_says_the_same() -> None:
    blend = a_blend()
    data = dump(blend)
    again = parse(data)
    assert dump(again) == data
    matrix = np.random.default_rng(3).normal(size=(500, len(FEATURES))).astype(np.float32)
    assert probability_of_up(again, matrix).tolist() == probability_of_up(blend, matrix).tolist()
    assert again.predict_proba(matrix)[:, 1] == pytest.approx(probability_of_up(blend, matrix))
    assert isinstance(again.members["pooled"], Pooled)


FORGED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"columns": [0, 1, 2, 4]}, "sees columns that there are not"),
    ({"columns": [0, 1, 2, -1]}, "sees columns that there are not"),
    ({"columns": [0, 1, 2, True]}, "sees columns that there are not"),
    ({"columns": "0123"}, "sees columns that there are not"),
    ({"columns": [0, 1, 2, 2]}, "does not see each of its features once"),
    ({"columns": [0, 1, 2]}, "does not see each of its features once"),
    ({"factor": [1.0] * 5}, "does not see each of its features once"),
    ({"shift": []}, "does not see each of its features once"),
    ({"factor": [1.0, 1.0, 1.0, float("nan")]}, "scales rows by what is no finite number"),
    ({"factor": [1.0, 1.0, 1.0, 1e300]}, "scales rows by what is no finite number"),
    ({"shift": [1.0, 1.0, 1.0, float("inf")]}, "scales rows by what is no finite number"),
    ({"shift": [1, 1, 1, 1]}, "scales rows by what is no finite number"),
    ({"shift": [1.0, 1.0, 1.0, "1"]}, "scales rows by what is no finite number"),
    ({"shift": {"0": 1.0}}, "is described by what is no number"),
    ({"until": "now"}, "is described by what is no number"),
    ({"rows": None}, "is described by what is no number"),
    ({"series": True}, "is described by what is no number"),
    ({"n_features_in_": 5}, "its members are of different numbers of features"),
    ({"n_features_in_": 10**12}, "its members are of different numbers of features"),
    ({"more": 1}, "does not say which rows it takes"),
)


def forged(data: bytes, changes: Mapping[str, Any], *, member: Mapping[str, Any] | None = None) -> bytes:
    """Return an archive whose header says something else of its pooled member, written as the job writes archives."""
    with ZipFile(BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    header = json.loads(files["blend.json"])
    header["members"][1]["pooled"] |= changes
    header["members"][1] |= member or {}
    files["blend.json"] = json.dumps(header, separators=(",", ":")).encode()
    buffer = BytesIO()
    with ZipFile(buffer, "w", ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(ZipInfo(name, ZIP_TIME), content)
    return buffer.getvalue()


def test_forged_members_are_refused() -> None:
    data = dump(a_blend())
    assert forged(data, {}) == data
    for changes, message in FORGED:
        with pytest.raises(ValueError, match=message):
            parse(forged(data, changes))
    others: tuple[dict[str, Any], ...] = (
        {"pooled": 3}, {"pooled": []}, {"algorithm": "pooled"}, {"algorithm": "blend"}, {"format": "pkl"},
    )  # fmt: skip
    for one in others:
        with pytest.raises(ValueError, match=r"its (pooled )?member|not written as this job"):
            parse(forged(data, {}, member=one))


def config_of(folder: Path, *, models: str = "models", params: Any = OWN_AND_POOLED, **settings: Any) -> Config:
    trainer = {
        "model_directory": str(folder / models),
        "cv_folds": 2,
        "analyst_models": {
            "algorithm": "blend", "timeframes": ["5m"], "features": ["change_1", "rsi_14"], "params": params,
            "label": "direction(1)", "n_estimators": 10,
        },
        "enable_tactician_models": False,
        **settings.pop("trainer", {}),
    }  # fmt: skip
    return load_config(
        {"data": {"input": str(folder / "bars"), **settings}, "model_trainer": trainer}
    ).with_absolute_paths()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with bars of three series, of which one begins later."""
    (tmp_path / "bars").mkdir()
    for seed, symbol in enumerate(("BTC", "ETH", "SOL")):
        bars = random_bars(seed, 6000)
        bars[3000 if symbol == "SOL" else 0 :].write_parquet(tmp_path / "bars" / f"{symbol}-1m.parquet")
    return tmp_path


def digests(config: Config) -> dict[str, str]:
    """Return what the latest models are, by symbol."""
    registry = Storage(config.model_trainer.model_directory)
    latest = {key_of(one): one["version"] for one in list_summaries(registry)}
    return {
        key.symbol: read_metadata(registry, key, version)["artefacts"]["model"]["sha256"]
        for key, version in latest.items()
    }


def statuses(config: Config) -> dict[str, str]:
    record = run(config)
    assert not [one.error for one in record.outcomes if one.error]
    return {one.key.symbol: one.status for one in record.outcomes}


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_blends_of_a_run_have_members_fitted_on_all_series(folder: Path) -> None:
    config = config_of(folder)
    assert statuses(config) == dict.fromkeys(("BTC", "ETH", "SOL"), "trained")
    registry = Storage(config.model_trainer.model_directory)
    for one in list_summaries(registry):
        model, scaler, metadata = load(registry, key_of(one), one["version"])
        about = metadata["blend"]["members"]["pooled"]
        assert about["series"] == 3
        assert about["until"] <= metadata["split"]["holdout"]["test_from"]
        rows = pl.DataFrame(np.random.default_rng(2).normal(size=(50, 2)), schema=["change_1", "rsi_14"])
        assert predict_proba(model, scaler, rows, ["change_1", "rsi_14"]).shape == (50,)
    assert statuses(config) == dict.fromkeys(("BTC", "ETH", "SOL"), "current")
    first = digests(config)

    one_only = config_of(folder, models="one", symbols=["SOL"])
    assert statuses(one_only) == {"SOL": "trained"}
    assert digests(one_only) == {"SOL": first["SOL"]}, "whichever models are left of a run, the pool is the same"

    bars = pl.read_parquet(folder / "bars" / "ETH-1m.parquet")
    bars[:-500].write_parquet(folder / "bars" / "ETH-1m.parquet")
    assert set(statuses(config).values()) == {"trained"}, "each sees the bars of all"


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_thinned_pools_traded_scores_and_refits_go_together_with_pooled_members(folder: Path) -> None:
    settings = {"refit": True, "max_samples": 1_500, "trading": {"cost_bps": 1.0}, "cv_folds": 1}
    config = config_of(folder, trainer=settings)
    assert set(statuses(config).values()) == {"trained"}
    registry = Storage(config.model_trainer.model_directory)
    for one in list_summaries(registry):
        metadata = read_metadata(registry, key_of(one), one["version"])
        assert "sharpe" in metadata["trading"]
        assert 0 < metadata["blend"]["members"]["pooled"]["rows"] <= 1_600
        assert metadata["blend"]["members"]["pooled"]["until"] > metadata["split"]["holdout"]["test_to"]


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_a_series_that_cannot_be_read_is_left_out_of_the_pool(folder: Path) -> None:
    upside_down = random_bars(0, 3000).rename({"high": "low", "low": "high"})
    upside_down.write_parquet(folder / "bars" / "BTC-1m.parquet")
    config = config_of(folder)
    record = run(config)
    assert {one.key.symbol: one.status for one in record.outcomes} == {
        "BTC": "failed", "ETH": "trained", "SOL": "trained",
    }  # fmt: skip
    registry = Storage(config.model_trainer.model_directory)
    for one in list_summaries(registry):
        assert read_metadata(registry, key_of(one), one["version"])["blend"]["members"]["pooled"]["series"] == 2
    assert {one.status for one in run(config).outcomes} == {"failed", "current"}


def test_a_plan_reads_nothing_to_know_what_is_to_be_trained(folder: Path) -> None:
    planned = plan(config_of(folder))
    assert len(planned.tasks) == 3
    assert {need.pooled for task in planned.tasks for need in task.needs} == {"bars"}
    alone = make_plan(config_of(folder, params={"of": ["logistic_regression", "random_forest"]})).tasks
    assert not any(task.needs for task in alone)
    assert planned.tasks[0].seconds == pytest.approx(alone[0].seconds), "it costs as a member of its own would"


@pytest.mark.parametrize(
    ("params", "trainer", "message"),
    [
        (
            OWN_AND_POOLED,
            {"group_by": ["timeframe"]},
            "analyst: its models are pooled, all members of a blend",
        ),
        (
            {"of": ["logistic_regression", "pooled"], "pooled": {"algorithm": "gru"}},
            {},
            "analyst: params.pooled: gru sees sequences of bars, which no pooled member does: name another",
        ),
        ({"of": ["logistic_regression", "pooled"], "pooled": {"max_dept": 3}}, {}, "unknown parameter params.max_dept"),
    ],
)
def test_members_that_cannot_be_are_refused_before_anything_is_read(
    params: Any, trainer: Any, message: str, folder: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_plan(config_of(folder, params=params, trainer=trainer))


@pytest.mark.parametrize(
    ("pooled", "message"),
    [
        ({"algorithm": "blend"}, "pooled.algorithm: expected an algorithm of one model, got blend"),
        ({"algorithm": "pooled"}, "pooled.algorithm: expected an algorithm of one model, got pooled"),
        ({"algorithm": 3}, "pooled.algorithm: expected an algorithm of one model, got 3"),
        ({"algorithm": "forest"}, "unknown algorithm 'forest'"),
        (3, "pooled: expected a mapping of parameters"),
    ],
)
def test_what_a_pooled_member_cannot_be_is_refused_by_the_settings(pooled: Any, message: str, folder: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(folder, params={"of": ["logistic_regression", "pooled"], "pooled": pooled})
    with pytest.raises(ConfigError, match=r"a blend is of two algorithms or more, got \[pooled\]"):
        config_of(folder, params={"of": ["pooled"]})


def test_samples_of_the_caller_have_no_pool(folder: Path) -> None:
    with RayModelTrainer(config_of(folder, symbols=["ETH"])) as trainer:
        data = trainer.training_data("analyst", "5m")
        model = ModelConfig(model_type="analyst", timeframe="5m", features=tuple(data.features.columns))
        with pytest.raises(TrainingError, match="a pooled member is fitted on all series of an input"):
            trainer.train_model(model, data)
