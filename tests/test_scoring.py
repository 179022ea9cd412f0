"""Scorers: the numbers of training bit for bit, on bars alone; features that are others now are refused."""

from dataclasses import replace
from datetime import timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from job.config.settings import Config, DataSettings, load_config
from job.core.errors import DataError, RegistryError
from job.core.keys import Key
from job.core.synth import make_bars
from job.learning.estimators import sequence_bars
from job.learning.features import resolve_features
from job.learning.metrics import log_loss
from job.learning.training import Trained, train
from job.registry.definition import DEFINING, Definition
from job.registry.versions import resolve_version
from job.storage.files import Storage
from job.train.commit import commit_version
from job.train.task import SamplesRow, Task
from job.worker.messages import Job, SeriesInfo
from job.worker.scorer import Scorer, load_scorer
from tests.algorithms import each, quick
from transforms.bars import clean
from transforms.features import FEATURES
from transforms.preparing import Preparation
from transforms.samples import make_samples

KEY = Key("synthetic", "SYN00USDT", "5m", "analyst")
RUN = "20240101_000000_00000a"


@cache
def small_bars(days: int = 6, symbol: int = 0) -> pl.DataFrame:
    return clean(make_bars(seed=11, symbol=symbol, days=days, world="signal"), timeframe="1m").bars


def config(**analyst: Any) -> Config:
    kind = {"timeframes": ["5m"], "n_estimators": 8, **analyst}
    return load_config({"model_trainer": {"cv_folds": 2, "enable_tactician_models": False, "analyst_models": kind}})


def commit(folder: Path, config: Config, *, run_id: str = RUN) -> tuple[Storage, Trained, pl.DataFrame]:
    """Train on small bars and commit, as a worker does; return the registry, what was trained, and the samples."""
    ((_, _, spec),) = config.model_specs()
    bars = small_bars()
    how = Preparation(source="1m", timeframe="5m", max_fill=config.data.max_fill)
    features, bars_at_once = resolve_features(spec.features), sequence_bars(spec)
    made = make_samples(bars, how, features=features, label=spec.label, sequence_bars=bars_at_once)
    task = Task(key=KEY, spec=spec, series=(), rows=made.frame.height, seconds=0.0, memory=0)
    info = SeriesInfo("1m", 0, bars["timestamp"][0], bars["timestamp"][-1], {}, "0" * 64, ())
    job = Job(run_id=run_id, config=config, output=str(folder), versions={})
    commit_version(SamplesRow(task, info, made.counts, made.label_stats), made.frame, job)
    return job.registry(), train(made.frame, spec, key=KEY), made.frame


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    return commit(tmp_path_factory.mktemp("models"), config())[0]


@pytest.mark.parametrize("algorithm", each())
def test_the_holdout_is_scored_as_at_training_bit_for_bit(algorithm: str, tmp_path: Path) -> None:
    registry, trained, samples = commit(tmp_path, config(algorithm=algorithm, params=quick(algorithm)))
    scorer = load_scorer(registry, KEY)
    frame = scorer.definition.features_of(small_bars(), clean(small_bars())).frame
    rows = frame.filter("complete") if scorer.definition.sequence_bars > 1 else frame
    scored = rows.select("available_at", p=pl.Series(scorer.score(frame)))
    both = trained.holdout.join(scored, on="available_at", how="left", suffix="_here")
    assert both["p_here"].to_list() == trained.holdout["p"].to_list()
    if scorer.definition.sequence_bars == 1:
        held = samples.tail(trained.holdout.height)
        matrix = held.select(scorer.definition.names).to_numpy()
        assert scorer.raw_probabilities(matrix).tolist() == trained.holdout["p_raw"].to_list()
    assert log_loss(both["label"].to_numpy(), both["p_here"].to_numpy()) == scorer.metadata["scores"]["log_loss"]


@pytest.mark.parametrize(
    "algorithm", each("random_forest", "hist_gradient_boosting", "logistic_regression", "lightgbm", "xgboost")
)
def test_rows_are_scored_alike_whatever_stands_beside_them(algorithm: str, tmp_path: Path) -> None:
    scorer = load_scorer(commit(tmp_path, config(algorithm=algorithm))[0], KEY)
    rng = np.random.default_rng(5)
    matrix = rng.normal(size=(500, len(scorer.definition.names))).astype(np.float32)
    read_all = scorer.probabilities(np.asfortranarray(matrix))

    @settings(max_examples=15, deadline=None)
    @given(cuts=st.lists(st.integers(0, 500), max_size=6))
    def check(cuts: list[int]) -> None:
        edges = sorted({0, 500, *cuts})
        parts = [scorer.probabilities(matrix[a:b]) for a, b in pairwise(edges)]
        assert np.concatenate(parts).tolist() == read_all.tolist()

    check()


def test_the_newest_bars_have_features_although_no_label(registry: Storage) -> None:
    scorer = load_scorer(registry, KEY)
    bars = small_bars()
    made = scorer.definition.features_of(bars, clean(bars))
    assert made.frame["available_at"][-1] == bars["timestamp"][-1] + timedelta(minutes=1)
    assert made.counts["warmup"] == 280
    assert made.frame.height == made.counts["bars"] - 280


@pytest.mark.parametrize("algorithm", ["random_forest", "hist_gradient_boosting"])
def test_the_last_500_bars_need_no_more_than_the_long_warm_up_before_them(algorithm: str, tmp_path: Path) -> None:
    scorer = load_scorer(commit(tmp_path, config(algorithm=algorithm))[0], KEY)
    bars = small_bars()
    read_all = scorer.definition.features_of(bars, clean(bars)).frame.tail(500)
    first = read_all["timestamp"][0] - 280 * timedelta(minutes=5)
    late = scorer.definition.features_of(bars.filter(pl.col("timestamp") >= first), clean(bars)).frame
    assert late["timestamp"].to_list() == read_all["timestamp"].to_list()
    for name in scorer.definition.names:
        ours, theirs = late[name].to_numpy(), read_all[name].to_numpy()
        assert np.all(np.abs(ours - theirs) <= 1e-9 + np.spacing(np.abs(theirs))), name
    assert np.abs(scorer.score(late) - scorer.score(read_all)).max() < 1e-6


@settings(max_examples=12, deadline=None)
@given(cut=st.integers(1, 8600))
def test_no_later_bar_changes_a_prediction(cut: int, registry: Storage) -> None:
    """Neither that it is made nor its bits; only the last, whose bar is not known to be closed, may be absent."""
    scorer = load_scorer(registry, KEY)
    bars = small_bars()
    read_all = scorer.definition.features_of(bars, clean(bars)).frame
    early = scorer.definition.features_of(bars[:cut], clean(bars)).frame
    closed = read_all.filter(pl.col("available_at") <= bars["timestamp"][cut - 1] + timedelta(minutes=1))
    assert early["timestamp"].to_list() == closed["timestamp"].to_list()
    assert scorer.score(early).tolist() == scorer.score(read_all)[: early.height].tolist()


def test_early_metadata_leaves_the_settings_of_sampling_to_the_configuration(registry: Storage) -> None:
    scorer = load_scorer(registry, KEY)
    early = {**scorer.metadata, "data": {}}
    data = DataSettings(max_fill=2, min_coverage=0.5, gaps="ignore")
    found = Definition.of(early, data, where="it")
    assert (found.max_fill, found.min_coverage, found.gaps) == (2, 0.5, "ignore")
    assert Definition.of(scorer.metadata, data, where="it") == scorer.definition


def test_a_scorer_samples_bars_as_its_model_was_trained(tmp_path: Path) -> None:
    trained = config()
    data = trained.data.model_copy(update={"max_fill": 0})
    registry, *_ = commit(tmp_path, trained.model_copy(update={"data": data}))
    assert load_scorer(registry, KEY).definition.max_fill == 0


@pytest.mark.parametrize("what", DEFINING)
def test_a_feature_that_is_another_one_now_is_refused(
    what: str, registry: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed: dict[str, dict[str, Any]] = {
        "version": {"version": 2},
        "inputs": {"inputs": ("open", "close")},
        "lookback": {"lookback": 34},
        "warmup": {"slowest": 1 / 30},
    }
    monkeypatch.setitem(FEATURES, "macd", replace(FEATURES["macd"], **changed[what]))
    with pytest.raises(RegistryError, match=rf"{RUN} was trained on the feature macd of {what} .*; retrain the model"):
        load_scorer(registry, KEY)


def test_a_feature_that_is_gone_is_refused(registry: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(FEATURES, "macd")
    with pytest.raises(RegistryError, match="the feature 'macd', which this release does not make; did you mean"):
        load_scorer(registry, KEY)


@pytest.mark.parametrize("absent", ["label", "features", "data"])
def test_metadata_that_says_too_little(absent: str, registry: Storage) -> None:
    metadata = {name: value for name, value in load_scorer(registry, KEY).metadata.items() if name != absent}
    with pytest.raises(RegistryError, match="it: its metadata does not say what the model was trained on"):
        Definition.of(metadata, DataSettings(), where="it")


@pytest.mark.parametrize("absent", ["base_rate", "shrink"])
def test_metadata_without_what_shrinks(absent: str, registry: Storage) -> None:
    scorer = load_scorer(registry, KEY)
    metadata = {name: value for name, value in scorer.metadata.items() if name != absent}
    with pytest.raises(RegistryError, match=f"its metadata lacks '{absent}'; retrain the model"):
        Scorer.of(KEY, scorer.model, scorer.scaler, metadata, DataSettings())


def test_samples_of_the_callers_own_are_refused(registry: Storage) -> None:
    metadata = load_scorer(registry, KEY).metadata
    own = {**metadata, "label": {**metadata["label"], "source": "caller"}}
    with pytest.raises(RegistryError, match="samples of its caller's own"):
        Definition.of(own, DataSettings(), where="it")


def test_bars_that_a_model_cannot_use(registry: Storage) -> None:
    scorer = load_scorer(registry, KEY)
    bars = small_bars(days=1)
    with pytest.raises(DataError, match=r"x 5m: .*volume_ma_10, volume_ma_20, and these bars have no volume"):
        scorer.definition.features_of(bars.drop("volume"), clean(bars), name="x")
    with pytest.raises(DataError, match=r"x 5m: timeframe 5m is finer than the data's 15m"):
        scorer.definition.features_of(bars, clean(bars, timeframe="15m"), name="x")


def test_what_a_name_of_a_version_stands_for(tmp_path: Path) -> None:
    later = "20240102_000000_00000b"
    for run_id in (RUN, later):
        registry, *_ = commit(tmp_path, config(), run_id=run_id)
    for name in ("latest", later, f"analyst_5m_{later}"):
        assert resolve_version(registry, KEY, name) == f"analyst_5m_{later}"
    assert resolve_version(registry, KEY, RUN) == f"analyst_5m_{RUN}"
    for name in ("Champion", f"analyst_1h_{RUN}", "20240103_000000_00000b", ""):
        with pytest.raises(
            RegistryError, match=f"no version '{name}' of synthetic/SYN00USDT analyst 5m; the latest are"
        ):
            resolve_version(registry, KEY, name)
    with pytest.raises(RegistryError, match="holds no model synthetic/OTHER"):
        resolve_version(registry, replace(KEY, symbol="OTHER"), "latest")
