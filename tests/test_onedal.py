"""Forests grown by oneDAL are scikit-learn's, as good as its own, the same bits anywhere, and stored without oneDAL."""

import sys
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.metrics import log_loss, roc_auc_score

from job.config.settings import Config, load_config
from job.core.environment import installed, versions
from job.core.synth import write_world
from job.learning.algorithms import GENERAL_FORMATS
from job.learning.estimators import ALGORITHMS
from job.learning.fitting import fit_scaled, probability_of_up
from job.learning.matrices import take
from job.learning.rows import read_rows, scaled, window
from job.learning.splits import walk_forward
from job.learning.training import Trained, predict_proba, train
from job.registry.artifacts import dump, parse
from job.registry.versions import load, read_metadata
from job.storage.files import Storage
from tests.forks import Fresh
from tests.here import run_here
from tests.oracles_training import FEATURES, KEY, made_samples, model_spec
from tests.test_forest import Labels, Matrix, problem
from tests.worlds import samples_for
from transforms.bars import clean

sklearnex = pytest.importorskip("sklearnex.ensemble", reason="scikit-learn-intelex is absent: pip install '.[onedal]'")

LIBRARY = "scikit-learn-intelex"
Window = tuple[Matrix, Labels]
fit: Callable[[RandomForestClassifier, Matrix, Labels], None]
fit = resolve_name(ALGORITHMS["random_forest"].fitters["onedal"].path)


def forest(**params: Any) -> RandomForestClassifier:
    return RandomForestClassifier(**({"n_estimators": 20, "max_depth": 10, "random_state": 0, "n_jobs": 1} | params))


def grown(matrix: Matrix, label: Labels, **params: Any) -> RandomForestClassifier:
    """Return a forest that oneDAL has fitted."""
    model = forest(**params)
    fit(model, matrix, label)
    return model


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"max_depth": None},
        {"max_depth": 1},
        {"max_features": None},
        {"max_features": 0.5},
        {"max_features": "log2"},
        {"min_samples_leaf": 5_000},
    ],
    ids=str,
)
@pytest.mark.parametrize("values", [None, 3])
def test_the_forest_predicts_what_onedals_does(params: dict[str, Any], values: int | None) -> None:
    matrix, label = problem(2_000, values=values)
    theirs = sklearnex.RandomForestClassifier(**forest(**params).get_params()).fit(matrix, label)
    ours = grown(matrix, label, **params)
    assert np.allclose(ours.predict_proba(matrix), theirs.predict_proba(matrix), atol=1e-6)


@pytest.mark.parametrize("max_depth", [None, 4])
def test_nodes_hold_whole_rows_and_those_of_their_children(max_depth: int | None) -> None:
    matrix, label = problem(1_500)
    for estimator in grown(matrix, label, max_depth=max_depth).estimators_:
        tree = estimator.tree_
        up = tree.value[:, 0, 1] * tree.weighted_n_node_samples
        assert np.allclose(up, up.round(), atol=1e-9)
        assert np.allclose(tree.value[:, 0].sum(axis=1), 1)
        inner = tree.children_left >= 0
        assert np.allclose(up[inner], up[tree.children_left[inner]] + up[tree.children_right[inner]])
        assert np.allclose(tree.impurity, 1 - np.square(tree.value[:, 0]).sum(axis=1))
        assert tree.weighted_n_node_samples[0] == len(label)
        assert up[0] / len(label) == pytest.approx(label.mean(), abs=0.06)


@pytest.mark.parametrize("leaf", [0.1, 300, 0.01, 7])
def test_leaves_hold_as_many_rows_as_scikit_learns(leaf: float) -> None:
    matrix, label = problem(4_000)
    sizes = [
        np.mean([estimator.tree_.node_count for estimator in model.estimators_])
        for model in (
            grown(matrix, label, min_samples_leaf=leaf, n_estimators=60),
            forest(min_samples_leaf=leaf, n_estimators=60).fit(matrix, label),
        )
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


def test_it_is_a_plain_forest() -> None:
    matrix, label = problem(500)
    ours, reference = grown(matrix, label), forest().fit(matrix, label)
    assert type(ours) is RandomForestClassifier
    assert set(vars(ours)) == set(vars(reference))
    assert {type(each) for each in ours.estimators_} == {type(reference.estimators_[0])}
    assert set(vars(ours.estimators_[0])) == set(vars(reference.estimators_[0]))
    assert ours.get_params() == reference.get_params()
    assert ours.feature_importances_ == pytest.approx(reference.feature_importances_, abs=0.1)
    assert len({each.tree_.impurity[0] for each in ours.estimators_}) > 10, "each tree draws rows of its own"


def test_the_seed_decides_every_bit() -> None:
    matrix, label = problem(500)
    one, same, other = (grown(matrix, label, random_state=seed).predict_proba(matrix) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def nodes(model: RandomForestClassifier) -> list[Any]:
    states = [estimator.tree_.__getstate__() for estimator in model.estimators_]
    return [(state["nodes"].tolist(), state["values"].tolist()) for state in states]


@pytest.mark.parametrize("leaf", [0.1, 1])
@pytest.mark.parametrize("rows", [60, 5_000])
def test_the_number_of_threads_changes_no_bit(rows: int, leaf: float) -> None:
    matrix, label = problem(rows)
    alone = nodes(grown(matrix, label, min_samples_leaf=leaf))
    for threads in (2, 3, 2, 1):
        assert nodes(grown(matrix, label, min_samples_leaf=leaf, n_jobs=threads)) == alone


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
@pytest.mark.parametrize("threads", [1, 2])
def test_no_more_threads_work_than_are_given(threads: int, fresh: Fresh, tmp_path: Path) -> None:
    """Also aside from the main thread, where scikit-learn-intelex warns that it would take all."""
    script = f"""
import os, threading, warnings
from pkgutil import resolve_name
from sklearn.ensemble import RandomForestClassifier
from tests.test_forest import problem
warnings.simplefilter("ignore")
fit = resolve_name({ALGORITHMS["random_forest"].fitters["onedal"].path!r})
matrix, label = problem(20_000)
def count():
    return len(os.listdir("/proc/self/task"))
def work():
    before = count()
    for _ in range(3):
        fit(RandomForestClassifier(20, max_depth=10, random_state=0, n_jobs={threads}), matrix, label)
    print(count() - before)
work()
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""
    done = fresh(script, tmp_path)
    assert done.returncode == 0, done.stderr
    in_main, aside = map(int, done.stdout.split())
    assert max(in_main, aside) <= threads - 1


@pytest.mark.parametrize("form", GENERAL_FORMATS)
def test_a_forest_loads_where_onedal_is_absent(form: str, fresh: Fresh, tmp_path: Path) -> None:
    matrix, label = problem(800)
    model = grown(matrix, label, max_depth=None)
    data = dump(model, format=form)
    if form == "skops":
        assert data == dump(grown(matrix, label, max_depth=None), format=form)
    (tmp_path / "model").write_bytes(data)
    np.save(tmp_path / "rows.npy", matrix)
    script = f"""
import sys
import numpy as np
assert not {{"sklearnex", "daal4py", "onedal"}} & {{*sys.modules}}
sys.modules |= dict.fromkeys(("sklearnex", "daal4py", "onedal"))
from job.registry.artifacts import parse
data = open("model", "rb").read()
model = parse(data, format={form!r}, where="here", allow_pickle=True)
print(model.predict_proba(np.load("rows.npy")).tobytes().hex())
"""
    done = fresh(script, tmp_path)
    assert done.stdout.strip() == model.predict_proba(matrix).tobytes().hex(), done.stderr
    assert type(parse(data, format=form, where="here", allow_pickle=True)) is RandomForestClassifier


def bits(trained: Trained) -> tuple[Any, ...]:
    everywhere = predict_proba(trained.model, trained.scaler, made_samples(200), FEATURES)
    return trained.scores, trained.metadata, trained.holdout.to_dict(as_series=False), everywhere.tobytes()


@pytest.mark.parametrize("refit", [False, True])
def test_a_model_is_the_same_whatever_its_cpus(*, refit: bool) -> None:
    samples, spec = made_samples(1_000, signal=1.0), model_spec(engine="onedal", refit=refit)
    trained = train(samples, spec, key=KEY, n_jobs=1)
    assert bits(trained) == bits(train(samples, spec, key=KEY, n_jobs=2))
    assert trained.metadata["engine"] == {"name": "onedal", "library": LIBRARY, "version": installed(LIBRARY)}
    assert trained.scores["roc_auc"] > 0.7  # type: ignore[operator]


def test_a_run_stores_forests_of_onedal_and_finds_them_again(tmp_path: Path) -> None:
    write_world(tmp_path / "bars", symbols=1, days=3, seed=3)
    kinds = {"analyst_models": {"timeframes": ["5m"], "n_estimators": 5}, "enable_tactician_models": False}
    trainer = {**kinds, "cv_folds": 1, "model_directory": str(tmp_path / "models")}
    settings = {"data": {"input": str(tmp_path / "bars")}, "model_trainer": trainer}
    onedal, auto = (
        load_config(settings, [f"model_trainer.engine={name}"]).with_absolute_paths() for name in ("onedal", "auto")
    )
    (outcome,) = run_here(onedal).outcomes
    assert outcome.status == "trained", outcome.error
    assert run_here(onedal).counts["current"] == 1
    assert run_here(auto).counts["trained"] == 1
    assert run_here(onedal).counts["current_not_latest"] == 1
    registry = Storage(str(tmp_path / "models"))
    metadata = read_metadata(registry, outcome.key, str(outcome.version))
    assert metadata["engine"]["name"] == "onedal"
    assert metadata["library_versions"] == versions(LIBRARY)
    assert type(load(registry, outcome.key, str(outcome.version))[0]) is RandomForestClassifier


def test_its_extra_trees_are_not_scikit_learns() -> None:
    """Cuts at random are the median for the most part; where they are not, `engines.FOREST` may have company."""
    matrix, label = problem(3_000)
    middle = np.median(matrix, axis=0)

    def halving(kind: Any) -> float:
        trees = [each.tree_ for each in kind(200, random_state=0, n_jobs=1).fit(matrix, label).estimators_]
        return float(np.mean([abs(tree.threshold[0] - middle[tree.feature[0]]) < 0.05 for tree in trees]))

    assert halving(ExtraTreesClassifier) < 0.1
    assert halving(sklearnex.ExtraTreesClassifier) > 0.3


def scores(engine: str, known: Window, fresh: Window, *, seed: int, params: dict[str, Any]) -> tuple[float, float]:
    """Return AUC and log-loss of an engine's forest on rows that it was not fitted on."""
    spec = model_spec(engine=engine, n_estimators=100, random_state=seed, params=params)
    up = probability_of_up(fit_scaled(*known, spec, pooled=False, n_jobs=1), fresh[0])
    return roc_auc_score(fresh[1], up), log_loss(fresh[1], up)


def assert_as_good(
    engines: tuple[str, ...], windows: list[tuple[Window, Window]], *, seeds: int, params: dict[str, Any]
) -> None:
    """Check that scores of engines are those of scikit-learn's own forests, on average over windows and seeds."""
    own, *others = (
        np.mean(
            [scores(name, *window, seed=seed, params=params) for window in windows for seed in range(seeds)], axis=0
        )
        for name in ("sklearn", *engines)
    )
    for engine, (auc, loss) in zip(engines, others, strict=True):
        assert auc == pytest.approx(own[0], abs=0.003), engine
        assert loss == pytest.approx(own[1], abs=0.01), engine


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engines", "params"), [(("histogram", "onedal"), {}), (("onedal",), {"min_samples_leaf": 1})], ids=str
)
def test_as_good_as_scikit_learn_on_made_up_rows(engines: tuple[str, ...], params: dict[str, Any]) -> None:
    window = problem(6_000, features=12), problem(30_000, features=12, seed=1)
    assert_as_good(engines, [window], seeds=6, params=params)


@pytest.fixture(scope="module")
def real_windows(shared_data: Path) -> list[tuple[Window, Window]]:
    """Scaled training rows and holdout of each of sixteen symbols, by the default label and features at 5m."""
    spec = next(spec for _, timeframe, spec in Config().model_specs() if timeframe == "5m")
    windows = []
    for file in sorted((shared_data / "binance_futures_1m").glob("*.feather")):
        raw = pl.read_ipc(file).with_columns(timestamp=pl.col("date").dt.cast_time_unit("us"))
        rows = read_rows(samples_for(clean(raw.drop("date")).bars, "5m", spec), spec.feature_names)
        fold = walk_forward(rows.available_at, rows.label_end, test_size=0.2, folds=1, embargo_us=0).holdout
        scaler, known, label = window(rows, fold.train)
        matrix, known = np.asarray(rows.matrix), np.asarray(known)
        fresh = scaled(scaler, take(matrix, fold.test)), rows.label[fold.test]
        windows.append(((scaled(scaler, known), label), fresh))
    return windows


@pytest.mark.slow
def test_as_good_as_scikit_learn_on_real_rows(real_windows: list[tuple[Window, Window]]) -> None:
    assert_as_good(("histogram", "onedal"), real_windows, seeds=1, params={})
