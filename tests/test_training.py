"""A model is fitted on the past only, scored on what came after, and the same whatever computes it."""

import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import asdict, replace
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import ThreadpoolController, threadpool_info

from job.cli.report import models_table
from job.config.settings import Config
from job.core.errors import ConfigError, TrainingError
from job.learning import fitting, threads
from job.learning.logistic import fit_logistic
from job.learning.metrics import SCORES, Place, Score, fit_shrink, log_loss, scores_shown, shrink
from job.learning.rows import read_rows, scaled
from job.learning.splits import Fold, Splits, walk_forward
from job.learning.threads import limited_threads
from job.learning.training import Trained, predict_proba, train
from job.registry.catalog import summarize
from job.registry.fingerprints import Recipe
from job.registry.outcome import Outcome
from tests.oracles_training import FEATURES, KEY, START_US, made_samples, model_spec, random_walk_samples

CONTRACT = {
    *("accuracy", "precision", "recall", "f1", "log_loss", "roc_auc", "brier", "cv_mean", "cv_std", "base_accuracy"),
    *("base_log_loss", "skill", "skill_low", "skill_high", "skill_raw", "benchmark_log_loss", "shrink", "underpowered"),
}
"""Names that readers of run records rely on."""


def pooled(frame: pl.DataFrame, names: str = "AB") -> pl.DataFrame:
    return pl.concat([frame.with_columns(series=pl.lit(name)) for name in names])


@pytest.mark.parametrize(
    ("algorithm", "columns"),
    [
        *((name, 20) for name in ("random_forest", "extra_trees", "hist_gradient_boosting", "logistic_regression")),
        ("random_forest", fitting.MANY_COLUMNS),
    ],
)
def test_training_holds_few_copies_of_its_matrix(algorithm: str, columns: int) -> None:
    features = [f"feature_{number}" for number in range(columns)]
    made = made_samples(fitting.MANY_ROWS * 3 // 2)
    values = np.random.default_rng(0).standard_normal((made.height, len(features))).astype(np.float32)
    samples = made.drop(FEATURES).with_columns(pl.DataFrame(values, schema=features))
    spec = model_spec(algorithm, n_estimators=2, cv_folds=1, features=tuple(features))
    tracemalloc.start()
    try:
        train(samples, spec, key=KEY)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * values.nbytes


def test_the_benchmark_is_the_same_by_either_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, spec = made_samples(3_000, signal=0.3), model_spec("hist_gradient_boosting", n_estimators=2)
    newton = train(samples, spec, key=KEY).holdout["p_benchmark"].to_numpy()
    monkeypatch.setattr(fitting, "MANY_ROWS", 0)
    lbfgs = train(samples, spec, key=KEY).holdout["p_benchmark"].to_numpy()
    assert not np.array_equal(lbfgs, newton)
    np.testing.assert_allclose(lbfgs, newton, atol=1e-4)
    monkeypatch.setattr(fitting, "MANY_COLUMNS", 0)
    fixed = train(samples, spec, key=KEY).holdout["p_benchmark"].to_numpy()
    assert not np.array_equal(fixed, newton)
    np.testing.assert_allclose(fixed, newton, atol=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("signal", "atol"), [(0.1, 1e-4), (30.0, 1e-2)])
def test_many_columns_have_scikit_learns_logistic_regression(*, signal: float, atol: float, weighted: bool) -> None:
    random = np.random.default_rng(1)
    common, own = random.standard_normal((5_000, 1)), random.standard_normal((5_000, 80))
    matrix = np.asfortranarray(StandardScaler().fit_transform(common + own), dtype=np.float32)
    label = (signal * own[:, 0] + random.logistic(0.3, size=5_000) > 0).astype(np.int8)
    weight = random.exponential(size=5_000) if weighted else None
    fixed = fit_logistic(matrix, label, weight, c=1e-3)
    newton = LogisticRegression(C=1e-3, solver="newton-cholesky", tol=1e-9).fit(matrix.astype(float), label, weight)
    assert set(vars(fixed)) == set(vars(newton)) - {"n_iter_"}
    np.testing.assert_allclose(fixed.predict_proba(matrix), newton.predict_proba(matrix), atol=atol)


def test_rows_are_scaled_the_same_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = np.asfortranarray(np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32))
    scaler = StandardScaler().fit(matrix)
    monkeypatch.setattr("job.learning.rows.BLOCK_ROWS", 7)
    assert np.array_equal(scaled(scaler, matrix), scaler.transform(matrix))
    assert scaled(scaler, matrix).flags.f_contiguous
    assert np.array_equal(scaled(scaler, matrix, np.float64), scaler.transform(matrix).astype(np.float64))
    assert scaled(scaler, matrix, np.float64).flags.c_contiguous
    by_column = scaled(scaler, matrix, np.float64, by_column=True)
    assert by_column.flags.f_contiguous
    assert np.array_equal(by_column, scaled(scaler, matrix, np.float64))


def test_scores_are_those_of_the_holdout_frame() -> None:
    samples = made_samples(1_000, signal=1.0)
    trained = train(samples, model_spec(), key=KEY)
    frame, scores = trained.holdout, trained.scores
    assert set(scores) == CONTRACT | set(SCORES)
    label = frame["label"].to_numpy()
    assert frame.schema == {
        "available_at": pl.Datetime("us", "UTC"),
        "label": pl.Int8,
        **dict.fromkeys(("p_raw", "p", "p_base", "p_benchmark"), pl.Float64),
    }
    for score, column in (("log_loss", "p"), ("base_log_loss", "p_base"), ("benchmark_log_loss", "p_benchmark")):
        assert scores[score] == pytest.approx(log_loss(label, frame[column].to_numpy()))
    losses = {column: log_loss(label, frame[column].to_numpy()) for column in ("p", "p_raw", "p_base")}
    assert scores["skill"] == pytest.approx(1 - losses["p"] / losses["p_base"])
    assert scores["skill_raw"] == pytest.approx(1 - losses["p_raw"] / losses["p_base"])
    assert frame["p_base"].unique().to_list() == [trained.metadata["base_rate"]]
    assert trained.metadata["base_rate"] == (samples["label"][:798].sum() + 1) / 800


def test_stability_is_the_skill_of_each_fold_and_of_the_holdout() -> None:
    trained = train(made_samples(1_000, signal=1.0), model_spec(cv_folds=3), key=KEY)
    stability, scores = trained.metadata["stability"], trained.scores
    assert [stability["holdout"][name] for name in ("value", "low", "high")] == [
        scores[f"skill{end}"] for end in ("", "_low", "_high")
    ]
    folds = trained.metadata["split"]["folds"]
    assert len(stability["folds"]) == len(folds) == 3
    assert all(one["low"] < one["value"] < one["high"] for one in stability["folds"])
    described = {name: trained.metadata[name] for name in ("stability", "calibration", "seeds")}
    assert len(json.dumps(described)) < 4_096


def test_shrinking_is_fitted_on_the_folds_and_applied_to_the_holdout() -> None:
    samples, spec = made_samples(1_500, signal=0.5), model_spec(params={"min_samples_leaf": 1})
    trained = train(samples, spec, key=KEY)
    rows = read_rows(samples, FEATURES)
    splits = walk_forward(rows.available_at, rows.label_end, test_size=0.2, folds=3)
    folds = [fitting.evaluate(rows, fold, spec, n_jobs=1) for fold in splits.folds]
    label, p, p_base = (np.concatenate([getattr(fold, name) for fold in folds]) for name in ("label", "p", "p_base"))
    weight = fit_shrink(label, p, p_base)
    assert trained.scores["shrink"] == weight
    assert 0 < weight < 1
    raw, base = trained.holdout["p_raw"].to_numpy(), trained.metadata["base_rate"]
    assert np.array_equal(trained.holdout["p"].to_numpy(), shrink(raw, base, weight))
    unshrunk = train(samples, spec.model_copy(update={"calibrate": "none"}), key=KEY)
    assert unshrunk.scores["shrink"] == 1.0
    assert unshrunk.scores["skill"] == pytest.approx(unshrunk.scores["skill_raw"])
    assert unshrunk.scores["skill_raw"] == trained.scores["skill_raw"]
    assert trained.scores["skill"] > trained.scores["skill_raw"]  # type: ignore[operator]


def test_a_score_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registered here, it is computed, stored with its version and shown, and no model becomes another by it."""
    ((_, timeframe, spec), *_), data = Config().model_specs(), Config().data
    before = Recipe(spec, timeframe=timeframe, data=data).fingerprint("abc")
    up_share = Score(
        "up_share", lambda _label, p: float(np.mean(p)), version=3, title="ups", shown=frozenset(get_args(Place))
    )
    raw_share = replace(up_share, name="raw_share", of_raw=True, shown=frozenset())
    for score in (up_share, raw_share):
        monkeypatch.setitem(SCORES, score.name, score)
    trained = train(made_samples(600, signal=1.0), model_spec(), key=KEY)
    assert trained.scores["up_share"] == pytest.approx(trained.holdout["p"].mean())
    assert trained.scores["up_share"] != trained.scores["raw_share"]
    assert trained.scores["raw_share"] == pytest.approx(trained.holdout["p_raw"].mean())
    windows = [*trained.metadata["split"]["folds"], trained.metadata["split"]["holdout"]]
    assert all({"up_share", "raw_share"} < set(window["scores"]) for window in windows)
    assert trained.metadata["score_versions"] == {name: score.version for name, score in SCORES.items()}
    assert trained.metadata["score_versions"]["up_share"] == 3
    summary = summarize({"key": asdict(KEY), "version": "v", "scores": trained.scores})
    assert summary["up_share"] == pytest.approx(trained.scores["up_share"], rel=1e-3)
    assert "raw_share" not in summary
    outcome = Outcome(**asdict(KEY), status="trained", scores=trained.scores)
    table = models_table([outcome, replace(outcome, scores=dict.fromkeys(CONTRACT, 0.5))])
    assert "ups" in [column.header for column in table.columns], "n/a for a version that was scored without it"
    assert Recipe(spec, timeframe=timeframe, data=data).fingerprint("abc") == before


def test_scores_are_shown_where_they_say() -> None:
    assert [score.name for score in scores_shown("catalog")] == ["accuracy", "log_loss"]
    assert [score.name for score in scores_shown("table")] == ["accuracy", "log_loss", "roc_auc"]
    assert all(name == score.name for name, score in SCORES.items())


def test_ranking_is_scored_even_where_shrinking_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("job.learning.training.fit_shrink", lambda *_rows, **_settings: 0.0)
    scores = train(made_samples(1_500, signal=2.0), model_spec(), key=KEY).scores
    assert scores["skill"] == pytest.approx(0.0)
    assert scores["roc_auc"] > 0.7  # type: ignore[operator]
    assert scores["accuracy"] == scores["base_accuracy"]


@pytest.mark.parametrize("algorithm", ["logistic_regression", "random_forest"])
def test_nothing_after_the_holdout_begins_reaches_the_model(algorithm: str) -> None:
    samples, spec = made_samples(800, signal=1.0), model_spec(algorithm)
    trained = train(samples, spec, key=KEY)
    start = trained.holdout["available_at"][0]
    late = pl.col("label_end") > start
    changed = samples.with_columns(
        pl.when(late).then(1 - pl.col("label")).otherwise(pl.col("label")).alias("label"),
        *(
            pl.when(pl.col("available_at") >= start).then(9.0).otherwise(pl.col(name)).cast(pl.Float32).alias(name)
            for name in FEATURES
        ),
    )
    again = train(changed, spec, key=KEY)
    first, second = (predict_proba(each.model, each.scaler, samples, FEATURES) for each in (trained, again))
    assert np.array_equal(first, second)
    assert again.scores["shrink"] == trained.scores["shrink"]


@pytest.mark.parametrize("algorithm", ["random_forest", "hist_gradient_boosting"])
def test_noise_shows_no_skill(algorithm: str) -> None:
    aucs, above = noise_scores(model_spec(algorithm, n_estimators=10))
    assert abs(aucs.mean() - 0.5) < 3 * aucs.std(ddof=1) / np.sqrt(len(aucs))
    assert above <= CHANCE


def test_a_shuffled_split_shows_skill_on_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above is known to bite."""

    def shuffled(available_at: Any, _label_end: Any, **_settings: Any) -> Splits:
        order = np.random.default_rng(0).permutation(len(available_at))
        parts = [np.sort(part) for part in np.array_split(order, 4)]
        return Splits((Fold(parts[0], parts[1]),), Fold(np.sort(np.concatenate(parts[:3])), parts[3]))

    monkeypatch.setattr("job.learning.rows.walk_forward", shuffled)
    aucs, above = noise_scores(model_spec(params={"min_samples_leaf": 1}))
    assert aucs.mean() - 0.5 > 3 * aucs.std(ddof=1) / np.sqrt(len(aucs))
    assert above > CHANCE


WALKS, CHANCE = 24, 3
"""Random walks, and the 99% point of how many of their intervals (97.5% one-sided) lie above 0 by chance."""


def noise_scores(spec: Any) -> tuple[np.ndarray, int]:
    """AUC on every random walk, and how many intervals of skill lie above 0."""
    spec = spec.model_copy(update={"label": type(spec.label)(horizon=10)})
    scores = [train(random_walk_samples(600, seed=seed, horizon=10), spec, key=KEY).scores for seed in range(WALKS)]
    return np.array([each["roc_auc"] for each in scores]), sum((each["skill_low"] or 0) > 0 for each in scores)


def bits(trained: Trained) -> tuple[Any, ...]:
    return trained.scores, trained.metadata, trained.holdout.to_dict(as_series=False)


def test_openmp_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, spec = made_samples(600, signal=0.3), model_spec("hist_gradient_boosting", n_estimators=3)
    alone = bits(train(samples, spec, key=KEY, n_jobs=2))
    monkeypatch.setattr("job.learning.training.OPENMP_ROWS", 0)
    assert bits(train(samples, spec, key=KEY, n_jobs=2)) == alone


def test_libraries_that_came_in_since_are_limited_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []

    def found() -> ThreadpoolController:
        looked.append(1)
        return ThreadpoolController()

    monkeypatch.setattr(threads, "ThreadpoolController", found)
    for times, module in enumerate(("new_here", "another"), start=1):
        monkeypatch.setitem(sys.modules, module, threads)
        for _ in range(3):
            with limited_threads():
                assert {library["num_threads"] for library in threadpool_info()} == {1}
        assert len(looked) == times


def test_the_order_of_rows_changes_no_bit() -> None:
    samples = pooled(made_samples(400, signal=0.3))
    spec = model_spec()
    assert bits(train(samples.sample(fraction=1, shuffle=True, seed=1), spec, key=KEY)) == bits(
        train(samples, spec, key=KEY)
    )


PRINT_BITS = """
import hashlib
from job.learning.training import train
from tests.algorithms import PRESENT, quick
from tests.oracles_training import KEY, made_samples, model_spec
for name in PRESENT:
    spec = model_spec(name, n_estimators=5, cv_folds=1, params=quick(name))
    trained = train(made_samples(600, signal=0.3), spec, key=KEY, n_jobs=2)
    print(name, hashlib.sha256(trained.holdout["p_raw"].to_numpy().tobytes()).hexdigest(), trained.scores)
"""


def test_thread_limits_of_the_environment_change_no_bit(capsys: pytest.CaptureFixture[str]) -> None:
    """Limits of another process, that is: this one has none, or others."""
    variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
    limit = "2" if "1" in map(os.environ.get, variables) else "1"
    environment = os.environ | dict.fromkeys(variables, limit)
    command = [sys.executable, "-c", PRINT_BITS]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    exec(PRINT_BITS, {})
    assert capsys.readouterr().out == done.stdout


def test_pooled_rows_share_one_split_and_one_scaler() -> None:
    samples = pooled(made_samples(600, signal=1.0))
    trained = train(samples, model_spec(), key=KEY)
    per_time = trained.holdout.group_by("available_at").agg(pl.col("series").n_unique())
    assert per_time["series"].unique().to_list() == [2]
    assert trained.holdout.columns[:3] == ["available_at", "series", "label"]
    training = samples.sort("available_at")[: trained.metadata["split"]["holdout"]["train_rows"]]
    assert trained.scaler.mean_ == pytest.approx(training.select(FEATURES).mean().to_numpy()[0], abs=1e-6)


@pytest.mark.parametrize(("names", "share"), [("A", 0.10), ("AB", 0.05)])
def test_pooled_groups_get_smaller_leaves(names: str, share: float) -> None:
    metadata = train(pooled(made_samples(300), names), model_spec(), key=KEY).metadata
    assert metadata["parameters"]["min_samples_leaf"] == int(share * metadata["split"]["holdout"]["train_rows"])


def test_copies_of_a_series_do_not_narrow_the_interval() -> None:
    samples = made_samples(600, signal=1.0)
    spec = model_spec("logistic_regression", params={"C": 1e6}, calibrate="none")
    one, many = (train(pooled(samples, names), spec, key=KEY).scores for names in ("A", "ABCD"))
    widths = [scores["skill_high"] - scores["skill_low"] for scores in (one, many)]  # type: ignore[operator]
    assert widths[1] == pytest.approx(widths[0], rel=0.01)


def test_embargo_counts_bars_of_the_timeframe() -> None:
    samples = made_samples(300)
    purged = [
        train(samples, model_spec(embargo=bars), key=KEY).metadata["split"]["holdout"]["purged_rows"] for bars in (0, 5)
    ]
    assert purged == [2, 7]


def test_metadata_says_how_rows_were_split() -> None:
    split = train(made_samples(500), model_spec(cv_folds=2), key=KEY).metadata["split"]
    assert [fold["test_rows"] for fold in split["folds"]] == [133, 133]
    holdout = split["holdout"]
    assert (holdout["train_rows"], holdout["purged_rows"], holdout["test_rows"]) == (398, 2, 100)
    assert holdout["train_from"] == "2023-11-14T22:13:00+00:00"
    assert holdout["test_from"] == "2023-11-15T04:53:00+00:00"
    assert holdout["test_to"] == "2023-11-15T06:32:00+00:00"
    assert set(holdout["scores"]) == set(SCORES)


def test_refit_uses_all_rows_after_scoring() -> None:
    samples = made_samples(500, signal=1.0)
    scored = train(samples, model_spec(), key=KEY)
    refitted = train(samples, model_spec(refit=True), key=KEY)
    assert refitted.scores == scored.scores
    assert_frame_equal(refitted.holdout, scored.holdout)
    assert refitted.metadata["refit"] is True
    assert refitted.scaler.n_samples_seen_ == 500
    assert scored.scaler.n_samples_seen_ == 398
    assert refitted.metadata["base_rate"] == (samples["label"].sum() + 1) / 502


def test_holdout_may_begin_where_thinning_began() -> None:
    trained = train(made_samples(500), model_spec(), key=KEY, holdout_from=START_US + 300 * 60_000_000)
    assert trained.holdout.height == 200


def test_auc_is_null_where_the_holdout_has_one_class() -> None:
    samples = made_samples(500).with_columns(
        pl.when(pl.int_range(pl.len()) >= 400).then(1).otherwise(pl.col("label")).cast(pl.Int8).alias("label")
    )
    scores = train(samples, model_spec(), key=KEY).scores
    assert scores["roc_auc"] is None
    assert scores["log_loss"] is not None


@pytest.mark.parametrize(("value", "word"), [(0, "down"), (1, "up")])
def test_one_class_in_a_training_window(value: int, word: str) -> None:
    samples = made_samples(500).with_columns(
        pl.when(pl.int_range(pl.len()) < 150).then(value).otherwise(pl.col("label")).cast(pl.Int8).alias("label")
    )
    message = (
        f"all 97 labels of the training window from 2023-11-14T22:13:00.* to 2023-11-14T23:49:00.* are {word}: give"
    )
    with pytest.raises(TrainingError, match=message):
        train(samples, model_spec(), key=KEY)


@pytest.mark.parametrize("rows", [0, 1, 2, 4])
def test_few_rows(rows: int) -> None:
    with pytest.raises(TrainingError, match="give more bars"):
        train(made_samples(500)[:rows], model_spec(), key=KEY)


def test_params_that_do_not_suit() -> None:
    with pytest.raises(ConfigError, match=r"params.depth of random_forest; did you mean 'max_depth'\?"):
        train(made_samples(200), model_spec(params={"depth": 3}), key=KEY)
