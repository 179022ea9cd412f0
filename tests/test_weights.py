"""Sample weights: as settings write them, as an oracle computes them, in every fit that takes them and in no score."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import log_loss

from job.config.settings import Config, DataSettings, load_config
from job.core.errors import ConfigError, TrainingError
from job.learning import fitting
from job.learning.algorithms import Algorithm
from job.learning.estimators import ALGORITHMS
from job.learning.fitting import fit_scaled
from job.learning.forests.binning import bin_rows
from job.learning.forests.counts import by_class
from job.learning.forests.trees import bootstrap
from job.learning.rows import Rows, read_rows, weights_of
from job.learning.spec import ModelSpec
from job.learning.splits import walk_forward
from job.learning.training import train
from job.learning.weights import BOTH_HALF_LIFE_DAYS, LIGHTEST, Weights
from job.registry.artifacts import dump, parse
from job.registry.fingerprints import Recipe
from job.registry.outcome import Outcome
from job.registry.versions import read_metadata
from job.train.plan import make_plan, plan_tasks
from job.train.pooled import flat_samples, train_group
from job.train.steps import prepare, train_task
from job.worker.messages import BarsRow, Bundle, Job, SeriesInfo, pack
from tests.algorithms import each, quick
from tests.oracles_training import FEATURES, KEY, MINUTE_US, made_samples, model_spec, weighted_draws
from tests.oracles_transforms import oracle_uniqueness, random_bars
from tests.test_forest import problem
from tests.test_planning import series
from tests.test_scoring import small_bars
from transforms.labels import TripleBarrier
from transforms.preparing import Preparation
from transforms.samples import Samples, make_samples

Floats = npt.NDArray[np.float64]

SPELLINGS: dict[str, tuple[object, Weights | None]] = {
    "none": ("none", None),
    "null": (None, None),
    "neither": ({"uniqueness": False}, None),
    "uniqueness": ("uniqueness", Weights(uniqueness=True)),
    "half-life": ({"half_life_days": 30}, Weights(half_life_days=30.0)),
    "both": ("both", Weights(uniqueness=True, half_life_days=BOTH_HALF_LIFE_DAYS)),
    "both, with a number": ({"uniqueness": True, "half_life_days": 7.5}, Weights(uniqueness=True, half_life_days=7.5)),
}


def configured(weights: object, **analyst: Any) -> Config:
    kind = {"timeframes": ["5m"], "n_estimators": 8, "weights": weights, **analyst}
    trainer = {"cv_folds": 2, "enable_tactician_models": False, "analyst_models": kind}
    return load_config({"model_trainer": trainer})


def spec_of(config: Config) -> ModelSpec:
    ((_, _, spec),) = config.model_specs()
    return spec


@pytest.mark.parametrize("name", SPELLINGS)
def test_settings_are_read_and_written(name: str) -> None:
    written, expected = SPELLINGS[name]
    config = configured(written)
    assert spec_of(config).weights == expected
    assert load_config(config.model_dump(mode="json")) == config
    assert ModelSpec.model_validate_json(spec_of(config).model_dump_json()) == spec_of(config)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("uniquenes", r"expected none, uniqueness, \{half_life_days: 30\}, .*; did you mean 'uniqueness'\?"),
        (True, "expected none, uniqueness"),
        (30, "expected none, uniqueness"),
        ({"half_life": 30}, "unknown key 'half_life'; did you mean 'half_life_days'"),
        ({"half_life_days": 0}, "half_life_days must be above 0 and at most 36525 days, got 0"),
        ({"half_life_days": True}, "half_life_days must be above 0"),
        ({"half_life_days": float("nan")}, "half_life_days must be above 0"),
        ({"half_life_days": "30"}, "half_life_days must be above 0 .*got '30'"),
        ({"uniqueness": 1}, "uniqueness must be true or false, got 1"),
    ],
)
def test_settings_that_are_refused(written: object, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^model_trainer.analyst_models.weights: {message}"):
        configured(written)


def test_only_weighted_models_have_other_fingerprints() -> None:
    def identity(weights: object) -> str:
        return Recipe(spec_of(configured(weights)), timeframe="5m", data=DataSettings()).fingerprint("abc")

    assert "weights" not in spec_of(configured("none")).model_dump()
    distinct = {name: identity(written) for name, (written, _) in SPELLINGS.items()}
    assert distinct["none"] == distinct["null"] == distinct["neither"]
    assert len(set(distinct.values())) == 5


def oracle_weights(label_end: list[int], uniqueness: list[float] | None, half_life_days: float | None) -> list[float]:
    """Weights row by row, from their definition."""
    found = []
    for row, end in enumerate(label_end):
        days = (max(label_end) - end) / 1e6 / 86_400
        decay = 1.0 if half_life_days is None else 2 ** (-days / half_life_days)
        found.append(decay * (1.0 if uniqueness is None else uniqueness[row]))
    return [one / (sum(found) / len(found)) for one in found]


def weights_by(weights: Weights, *, label_end: Any, uniqueness: Any) -> Any:
    """Return the weights of all rows with labels that are known at these times."""
    known, rows = np.zeros(len(label_end), np.int8), np.arange(len(label_end))
    given = Rows(np.empty((len(rows), 0), np.float32), known, label_end, label_end, pooled=False, uniqueness=uniqueness)
    return weights_of(given, rows, model_spec(weights=weights))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("weights", [Weights(True), Weights(half_life_days=0.01), Weights(True, 3.0)])
def test_weights_are_those_of_the_oracle(weights: Weights, seed: int) -> None:
    random = np.random.default_rng(seed)
    ends = 1_700_000_000_000_000 + np.sort(random.integers(0, 10**9, 200))[random.permutation(200)]
    unique = random.uniform(0.05, 1, 200)
    made = weights_by(weights, label_end=ends, uniqueness=unique)
    expected = oracle_weights(ends.tolist(), unique.tolist() if weights.uniqueness else None, weights.half_life_days)
    assert made is not None
    assert made.tolist() == pytest.approx(expected, rel=1e-9)
    assert made.mean() == pytest.approx(1)


def test_no_row_weighs_nothing_and_equal_weights_are_none() -> None:
    ends = np.array([0, 10**15])
    made = weights_by(Weights(half_life_days=0.001), label_end=ends, uniqueness=None)
    assert made is not None
    assert made.min() / made.max() == pytest.approx(LIGHTEST)
    assert weights_by(Weights(True), label_end=ends, uniqueness=np.full(2, 0.25)) is None


def samples_with(label: Any, seed: int = 0, *, market: bool = False, unique: bool = True) -> Samples:
    bars = random_bars(seed, 600, missing=0.05, jumps=1, tick=0.05)
    how = Preparation(source="1m", timeframe="1m", max_fill=2)
    return make_samples(bars, how, features=[], label=label, market=market, unique=unique)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("market", [False, True])
def test_samples_come_with_the_uniqueness_of_their_labels(seed: int, *, market: bool) -> None:
    made = samples_with(TripleBarrier(window=5, horizon=7), seed, market=market)
    plain = samples_with(TripleBarrier(window=5, horizon=7), seed, market=market, unique=False)
    assert made.frame.drop("uniqueness").equals(plain.frame)
    assert made.label_stats == plain.label_stats
    used = made.frame.drop_nulls("label")
    assert made.frame.height - used.height == made.frame["uniqueness"].null_count()
    bars = samples_with(TripleBarrier(window=5, horizon=7), seed, market=True).frame["available_at"].to_list()
    spans = [(bars.index(row), bars.index(end)) for row, end in used.select("available_at", "label_end").iter_rows()]
    assert used["uniqueness"].to_list() == pytest.approx(oracle_uniqueness(spans))


def weighted(samples: pl.DataFrame, *, seed: int = 5) -> pl.DataFrame:
    """Add a uniqueness to made samples."""
    random = np.random.default_rng(seed)
    return samples.with_columns(uniqueness=pl.Series(random.uniform(0.1, 1, samples.height)))


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_each_window_weighs_from_its_own_newest_row(n_jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """So nothing of a test window, nor of what was purged before it, enters a weight."""
    seen: dict[int, Floats | None] = {}

    def watched(matrix: Any, label: Any, spec: ModelSpec, *, weight: Floats | None, **more: Any) -> Any:
        seen[len(label)] = weight
        return fit_scaled(matrix, label, spec, weight=weight, **more)

    monkeypatch.setattr(fitting, "fit_scaled", watched)
    samples, spec = weighted(made_samples(900, signal=1.0)), model_spec(weights={"half_life_days": 0.1})
    rows = read_rows(samples, FEATURES)
    train(samples, spec, key=KEY, n_jobs=n_jobs)
    splits = walk_forward(rows.available_at, rows.label_end, test_size=0.2, folds=3)
    for fold in (*splits.folds, splits.holdout):
        weight = seen.pop(len(fold.train))
        assert weight is not None
        expected = oracle_weights(rows.label_end[fold.train].tolist(), None, 0.1)
        assert weight.tolist() == pytest.approx(expected)
        assert weight.argmax() == len(weight) - 1
    assert not seen


def test_only_fits_are_weighted() -> None:
    samples = weighted(made_samples(1_200, signal=1.0))
    plain = train(samples, model_spec(), key=KEY)
    both = train(samples, model_spec(weights={"uniqueness": True, "half_life_days": 0.2}), key=KEY)
    assert "weights" not in plain.metadata
    assert both.holdout["p_base"].equals(plain.holdout["p_base"])
    assert not both.holdout["p_raw"].equals(plain.holdout["p_raw"])
    assert not both.holdout["p_benchmark"].equals(plain.holdout["p_benchmark"])
    assert both.scaler.mean_.tolist() == plain.scaler.mean_.tolist()
    assert both.metadata["parameters"] == plain.metadata["parameters"], "leaves are counted in rows"
    assert both.metadata["split"]["holdout"]["base_rate"] == plain.metadata["split"]["holdout"]["base_rate"]


def test_the_metadata_says_how_many_rows_the_weighted_ones_are_worth() -> None:
    samples, spec = weighted(made_samples(900, signal=1.0)), model_spec(weights={"half_life_days": 0.1})
    described = train(samples, spec, key=KEY).metadata["weights"]
    rows = read_rows(samples, FEATURES)
    fold = walk_forward(rows.available_at, rows.label_end, test_size=0.2, folds=3).holdout
    weight = np.array(oracle_weights(rows.label_end[fold.train].tolist(), None, 0.1))
    assert described == {
        "uniqueness": False,
        "half_life_days": 0.1,
        "version": 1,
        "effective_rows": pytest.approx(weight.sum() ** 2 / (weight**2).sum()),
    }
    assert 100 < described["effective_rows"] < len(fold.train)


def test_labels_that_overlap_no_other_change_no_bit() -> None:
    samples = made_samples(800, signal=1.0).with_columns(uniqueness=pl.lit(1.0))
    plain, unique = (train(samples, model_spec(weights=weights), key=KEY) for weights in ("none", "uniqueness"))
    assert unique.holdout.equals(plain.holdout)
    assert unique.scores == plain.scores


def test_samples_without_uniqueness_are_refused() -> None:
    message = r"weights by uniqueness need the column uniqueness, .* set weights to none or to \{half_life_days: 30\}$"
    with pytest.raises(TrainingError, match=message):
        train(made_samples(900), model_spec(weights="uniqueness"), key=KEY)


def two_truths(rows: int) -> tuple[Any, Any, Floats]:
    """Rows of which the first half follows the first feature, the second half its opposite, and heavy first rows."""
    matrix, label = problem(rows)
    label = np.where(np.arange(rows) < rows // 2, label, 1 - label).astype(np.int8)
    weight = np.where(np.arange(rows) < rows // 2, 1.9, 0.1)
    return matrix, label, weight


RESAMPLING = {"random_forest", "blend"}
"""Algorithms that draw rows: a blend does, as a forest is one of its members."""


@pytest.mark.parametrize("algorithm", each())
def test_every_algorithm_follows_the_heavier_rows(algorithm: str) -> None:
    """Forests do with either engine."""
    matrix, label, weight = two_truths(2_000)
    for engine in ("histogram", "sklearn") if algorithm in RESAMPLING else ("sklearn",):
        spec = model_spec(algorithm, n_estimators=60, engine=engine, params=quick(algorithm))
        first, second = (
            fit_scaled(matrix, label, spec, weight=one, pooled=False, n_jobs=1).predict_proba(matrix)[:, 1]
            for one in (weight, weight[::-1].copy())
        )
        up, down = matrix[:, 0] > 1, matrix[:, 0] < -1
        assert first[up].mean() > first[down].mean() + 0.02
        assert second[up].mean() < second[down].mean() - 0.02


@pytest.mark.parametrize("algorithm", each())
def test_constant_weights_give_the_unweighted_model(algorithm: str) -> None:
    """Where rows are drawn, other rows are: then it is as good as the unweighted one."""
    matrix, label = problem(1_500)
    trees = 400 if algorithm in RESAMPLING else 60
    spec = model_spec(algorithm, n_estimators=trees, params=quick(algorithm))
    plain, constant = (
        fit_scaled(matrix, label, spec, weight=weight, pooled=False, n_jobs=1).predict_proba(matrix)[:, 1]
        for weight in (None, np.ones(1_500))
    )
    if algorithm in RESAMPLING:
        assert np.abs(plain - constant).mean() < 0.02  # 400 trees of other seeds differ by 0.007
        assert log_loss(label, constant) == pytest.approx(log_loss(label, plain), abs=0.01)
    else:
        assert constant.tolist() == pytest.approx(plain.tolist(), abs=1e-9)


@pytest.mark.parametrize("algorithm", each())
def test_weighted_models_are_stored_without_their_weights(algorithm: str) -> None:
    sizes = []
    for rows in (1_000, 1_200):
        matrix, label, weight = two_truths(rows)
        spec = model_spec(algorithm, n_estimators=5, engine="sklearn", max_depth=1, params=quick(algorithm))
        model = fit_scaled(matrix, label, spec, weight=weight, pooled=False, n_jobs=1)
        data = dump(model, format=ALGORITHMS[algorithm].format)
        again = parse(data, format=ALGORITHMS[algorithm].format, where="here")
        assert np.array_equal(again.predict_proba(matrix), model.predict_proba(matrix))
        sizes.append(len(data))
    assert abs(sizes[1] - sizes[0]) < 800, "a number of 8 bytes for each row would be 1,600"


def test_rows_are_drawn_as_often_as_they_weigh() -> None:
    random = np.random.default_rng(1)
    weight = random.uniform(0.01, 3, 300)
    weight[:5] = 1e-6
    draws = np.array([weighted_draws(weight, random) for _ in range(4_000)])
    assert (draws.sum(axis=1) == 300).all()
    assert draws.min() == 0
    expected = 300 * weight / weight.sum()
    assert np.abs(draws.mean(axis=0) - expected).max() < 5 * np.sqrt(expected.max() / 4_000)
    # Binomial, as of independent draws: not merely right on average.
    variance = (expected * (1 - expected / 300)).sum()
    assert draws.var(axis=0).sum() == pytest.approx(variance, rel=0.02)
    halves = draws[:, :150].sum(axis=1).var()
    share = weight[:150].sum() / weight.sum()
    assert halves == pytest.approx(300 * share * (1 - share), rel=0.15)


def test_unweighted_draws_are_what_they_were() -> None:
    matrix, label = problem(50)
    binned = bin_rows(matrix, label)
    random = np.random.default_rng(3)
    _, drawn = bootstrap(binned, random), bootstrap(binned, random)
    rows = np.random.default_rng(3).integers(50, size=(2, 50))
    times = np.add(*by_class(drawn.counts))
    assert times.tolist() == np.unique(rows[1], return_counts=True)[1].tolist()


def test_a_weighted_forest_is_as_good_as_scikit_learns() -> None:
    matrix, label, weight = two_truths(6_000)
    fresh, truth = problem(6_000, seed=9)
    losses = []
    for engine in ("histogram", "sklearn"):
        spec = model_spec(n_estimators=100, engine=engine)
        model = fit_scaled(matrix, label, spec, weight=weight, pooled=False, n_jobs=1)
        assert type(model) is RandomForestClassifier
        losses.append(log_loss(truth, model.predict_proba(fresh)[:, 1]))
    assert losses[0] == pytest.approx(losses[1], abs=0.005)


def drifting(rows: int, seed: int) -> pl.DataFrame:
    """Samples of which the effect of the first feature turns slowly, from one sign to the other over all rows."""
    random = np.random.default_rng(seed)
    samples = made_samples(rows, seed=seed)
    effect = 1.5 * np.cos(np.pi * np.arange(rows) / rows)
    odds = effect * samples[FEATURES[0]].to_numpy()
    return samples.with_columns(label=pl.Series((random.uniform(size=rows) < 1 / (1 + np.exp(-odds))).astype(np.int8)))


@pytest.mark.parametrize("algorithm", ["random_forest", "hist_gradient_boosting", "logistic_regression"])
def test_decay_helps_where_the_world_drifts(algorithm: str) -> None:
    rows = 4_000
    days = 0.08 * rows * MINUTE_US / 86_400e6
    gains = []
    for seed in range(3):
        samples = drifting(rows, seed)
        plain, recent = (
            train(samples, model_spec(algorithm, weights=weights, calibrate="none", cv_folds=1), key=KEY).scores[
                "log_loss"
            ]
            for weights in ("none", {"half_life_days": days})
        )
        assert plain is not None
        assert recent is not None
        gains.append(plain - recent)
    assert min(gains) > 0.05


class Unweighted(RandomForestClassifier):  # type: ignore[misc]
    """A forest whose fit takes no weights."""

    def fit(self, matrix: Any, label: Any) -> Any:
        return super().fit(matrix, label)


UNWEIGHTED = Algorithm(
    "unweighted", f"{__name__}:Unweighted", lambda _spec, _window: {}, "impurity", version=1, seconds_per_row=1e-5
)


@pytest.mark.parametrize("weights", ["uniqueness", "both", {"half_life_days": 9}])
def test_an_algorithm_that_takes_no_weights_is_refused_by_name(weights: object, tmp_path: Path) -> None:
    def plan_with(weights: object) -> None:
        config = configured(weights, algorithm=f"{__name__}:UNWEIGHTED")
        data = config.data.model_copy(update={"input": str(tmp_path)})
        make_plan(config.model_copy(update={"data": data}))

    message = (
        r"algorithm unweighted cannot weight samples, its `fit` \(tests.test_weights:Unweighted\) takes no "
        "sample_weight: set weights to none, or use an algorithm that can, such as random_forest, "
    )
    with pytest.raises(ConfigError, match=message):
        plan_with(weights)
    with pytest.raises(Exception, match=r"no bars|nothing|No such|no file"):
        plan_with("none")


def test_onedal_is_refused_and_not_chosen_where_rows_are_weighted() -> None:
    small = {"params": {"min_samples_leaf": 1}}
    assert spec_of(configured("both", **small)).engine == "histogram"
    config = configured("both")
    trainer = config.model_trainer.model_copy(update={"engine": "onedal"})
    message = "model_trainer.engine: onedal does not draw rows by weights: set weights to none, or leave engine out"
    with pytest.raises(ConfigError, match=message):
        spec_of(config.model_copy(update={"model_trainer": trainer}))


def trained_by_steps(config: Config, folder: Path) -> dict[str, Any]:
    """Train one model on small bars as a worker does, and return its metadata."""
    bars = small_bars()
    (task,) = plan_tasks([series("BTC")], config)
    info = SeriesInfo("1m", 0, bars["timestamp"][0], bars["timestamp"][-1], {}, "0" * 64, ())
    job = Job(run_id="20240101_000000_00000a", config=config, output=str(folder), versions={})
    row, samples = prepare(task, BarsRow(Bundle(task.series[0], (task,)), info), bars, job)
    assert samples is not None
    outcome = train_task(row, samples, job)
    assert outcome.version, outcome.error
    return read_metadata(job.registry(), task.key, outcome.version)


@pytest.mark.parametrize("trading", [None, {"cost_bps": 5}])
def test_a_weighted_model_goes_all_the_way(trading: dict[str, float] | None, tmp_path: Path) -> None:
    config = configured({"uniqueness": True, "half_life_days": 2})
    trainer = load_config({"model_trainer": {"trading": trading}}).model_trainer.trading
    config = config.model_copy(update={"model_trainer": config.model_trainer.model_copy(update={"trading": trainer})})
    metadata = trained_by_steps(config, tmp_path)
    rows = metadata["split"]["holdout"]["train_rows"]
    assert 0.3 * rows < metadata["weights"]["effective_rows"] < rows
    assert metadata["label"]["uniqueness"] < 0.2


def test_pooled_models_are_weighted_too(tmp_path: Path) -> None:
    """Uniqueness is counted series by series, before the shuffle."""
    config = configured("uniqueness")
    trainer = config.model_trainer.model_copy(update={"group_by": ("timeframe",)})
    config = config.model_copy(update={"model_trainer": trainer})
    job = Job(run_id="20240101_000000_00000a", config=config, output=str(tmp_path), versions={})
    (task,) = plan_tasks([series("A"), series("B")], config)
    tables: list[pa.Table] = []
    for number, one in enumerate(task.series):
        bars = small_bars(symbol=number)
        info = SeriesInfo("1m", 0, bars["timestamp"][0], bars["timestamp"][-1], {}, f"{number}" * 64, ())
        batch = pack(BarsRow(Bundle(one, (task,)), info), bars)
        tables += flat_samples(batch, job=job, caps={}, feature_names=task.spec.feature_names)
    members = {task.key: frozenset(map(str, task.series))}
    outcome = Outcome.from_json(train_group(pa.concat_tables(tables), job=job, members=members)["outcome"][0].as_py())
    assert outcome.version, outcome.error
    metadata = read_metadata(job.registry(), task.key, outcome.version)
    weights, rows = metadata["weights"], metadata["split"]["holdout"]["train_rows"]
    assert weights["uniqueness"] is True
    assert 0.5 * rows < weights["effective_rows"] < rows
