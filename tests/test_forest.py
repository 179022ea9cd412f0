"""Forests grown from histograms are those of scikit-learn, node for node, given the same draw of rows."""

import pickle
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import skops.io
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.metrics import log_loss
from sklearn.tree import DecisionTreeClassifier

from job.learning.forests import counts, trees
from job.learning.forests import histogram as forests
from job.learning.forests.binning import MAX_BINS, bin_rows
from job.learning.forests.counts import (
    COMPLEX_BITS,
    PACKED_ROWS,
    by_class,
    distinct_rows,
    draw_counts,
    has_rows,
    row_counts,
)
from job.learning.forests.histogram import candidates, grow
from job.learning.forests.probabilities import is_forest, mean_of_trees
from job.learning.forests.trees import TreeParams, bootstrap, grow_batch

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int8]


def problem(rows: int, *, features: int = 6, seed: int = 0, values: int | None = None) -> tuple[Matrix, Labels]:
    """Features, of no more than `values` distinct values each, and labels that the first two decide in part."""
    random = np.random.default_rng(seed)
    matrix = random.standard_normal((rows, features)).astype(np.float32)
    if values is not None:
        matrix = np.round(matrix * values / 8).astype(np.float32)
    log_odds = matrix[:, 0] / matrix[:, 0].std() + (matrix[:, 1] > 0)
    return np.asfortranarray(matrix), (random.uniform(size=rows) < 1 / (1 + np.exp(-log_odds))).astype(np.int8)


def info(tree: Any) -> list[tuple[Any, ...]]:
    """What every node holds, whatever the order of nodes."""
    columns = tree.feature, tree.n_node_samples, tree.weighted_n_node_samples, tree.impurity.round(12)
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("max_depth", "leaf"), [(None, 300), (10, 600), (2, 50), (1, 4_000)])
def test_each_tree_is_scikit_learns_on_the_same_draw(seed: int, max_depth: int | None, leaf: int) -> None:
    matrix, label = problem(9_000, seed=seed, values=100)
    binned, rules = bin_rows(matrix, label), TreeParams(max_depth, leaf, candidates=6)
    grown = grow_batch(binned, 3, rules, np.random.default_rng(seed))
    random = np.random.default_rng(seed)
    drawn = [bootstrap(binned, random) for _ in grown]
    for root, tree in zip(drawn, grown, strict=True):
        weight = np.bincount(root.row, weights=np.add(*by_class(root.counts)), minlength=len(label))
        reference = DecisionTreeClassifier(max_depth=max_depth, min_samples_leaf=leaf, random_state=0)
        reference.fit(matrix, label, sample_weight=weight)
        assert info(tree) == info(reference.tree_)
        rows = matrix[weight > 0]
        assert np.allclose(tree.predict(rows), reference.tree_.predict(rows), atol=1e-12)
        assert tree.max_depth == reference.tree_.max_depth
        assert tree.compute_feature_importances() == pytest.approx(reference.feature_importances_)


def test_a_forest_is_as_good_as_scikit_learns() -> None:
    matrix, label = problem(6_000)
    fresh, outcome = problem(6_000, seed=1)
    settings = {"n_estimators": 60, "max_depth": 10, "min_samples_leaf": 500, "random_state": 0}
    grown, reference = RandomForestClassifier(**settings), RandomForestClassifier(**settings).fit(matrix, label)
    grow(grown, matrix, label)
    losses = [log_loss(outcome, model.predict_proba(fresh)) for model in (grown, reference)]
    assert losses[0] == pytest.approx(losses[1], abs=0.002)
    assert grown.feature_importances_ == pytest.approx(reference.feature_importances_, abs=0.1)
    correlation = np.corrcoef(*(model.predict_proba(fresh)[:, 1] for model in (grown, reference)))
    assert correlation[0, 1] > 0.98


def test_a_grown_forest_is_a_plain_one() -> None:
    matrix, label = problem(500)
    grown = RandomForestClassifier(7, min_samples_leaf=50, random_state=0)
    reference = RandomForestClassifier(7, min_samples_leaf=50, random_state=0).fit(matrix, label)
    grow(grown, matrix, label)
    assert set(vars(grown)) == set(vars(reference))
    assert set(vars(grown.estimators_[0])) == set(vars(reference.estimators_[0]))
    assert grown.get_params() == reference.get_params()
    assert grown.classes_.dtype == reference.classes_.dtype
    assert len(grown.estimators_) == 7
    assert set(grown.predict(matrix)) == {0, 1}


@pytest.mark.parametrize("algorithm", [RandomForestClassifier, ExtraTreesClassifier])
@pytest.mark.parametrize("leaf", [1, 100])
def test_probabilities_are_those_of_scikit_learn(algorithm: type[Any], leaf: int) -> None:
    matrix, label = problem(1_000)
    forest = algorithm(20, min_samples_leaf=leaf, random_state=0).fit(matrix, label)
    assert is_forest(forest)
    for rows in (matrix, np.ascontiguousarray(matrix), matrix[:1], matrix[::3]):
        assert np.array_equal(mean_of_trees(forest, rows), forest.predict_proba(rows)[:, 1])


def test_a_matrix_that_does_not_suit_a_forest_is_refused() -> None:
    matrix, label = problem(200)
    forest = RandomForestClassifier(2, random_state=0).fit(matrix, label)
    with pytest.raises(ValueError, match="X has 5 features, but RandomForestClassifier is expecting 6 features"):
        mean_of_trees(forest, matrix[:, :5])
    with pytest.raises(ValueError, match="Input X contains infinity"):
        mean_of_trees(forest, np.where(matrix > 1, np.inf, matrix))


@pytest.mark.parametrize("copy", ["pickle", "skops"])
def test_a_grown_forest_can_be_stored(copy: str) -> None:
    matrix, label = problem(500)
    grown = RandomForestClassifier(5, min_samples_leaf=50, random_state=0)
    grow(grown, matrix, label)
    if copy == "pickle":
        loaded = pickle.loads(pickle.dumps(grown))
    else:
        data = skops.io.dumps(grown)
        loaded = skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))
    assert np.array_equal(loaded.predict_proba(matrix), grown.predict_proba(matrix))


def test_the_seed_decides_every_bit() -> None:
    matrix, label = problem(500)

    def probabilities(seed: int) -> Any:
        grown = RandomForestClassifier(20, min_samples_leaf=50, random_state=seed)
        grow(grown, matrix, label)
        return grown.predict_proba(matrix)

    assert np.array_equal(probabilities(1), probabilities(1))
    assert not np.array_equal(probabilities(1), probabilities(2))


def test_trees_differ_in_rows_and_candidate_features() -> None:
    matrix, label = problem(2_000, features=9)
    grown = RandomForestClassifier(40, min_samples_leaf=200, random_state=0)
    grow(grown, matrix, label)
    assert len({(tree.tree_.impurity[0], tree.tree_.n_node_samples[0]) for tree in grown.estimators_}) == 40
    roots = [int(tree.tree_.feature[0]) for tree in grown.estimators_]
    assert 0.2 < np.mean([root in {0, 1} for root in roots]) < 0.9


@pytest.mark.parametrize("entries", [1, 3_000, 10**9])
def test_any_batch_size_grows_all_trees(entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forests, "BATCH_ENTRIES", entries)
    matrix, label = problem(1_000)
    grown = RandomForestClassifier(10, min_samples_leaf=100, random_state=0)
    grow(grown, matrix, label)
    assert [tree.tree_.n_node_samples[0] > 550 for tree in grown.estimators_] == [True] * 10


def test_nodes_have_the_same_splits_one_by_one_as_together(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, label = problem(2_000)
    apart, together = (RandomForestClassifier(10, min_samples_leaf=60, random_state=0) for _ in range(2))
    for forest, large in ((apart, 0), (together, len(matrix))):
        monkeypatch.setattr(trees, "LARGE_NODE", large)
        grow(forest, matrix, label)
    for one, other in zip(apart.estimators_, together.estimators_, strict=True):
        assert np.array_equal(one.tree_.__getstate__()["nodes"], other.tree_.__getstate__()["nodes"])


@pytest.mark.parametrize("weighted", [False, True])
def test_counts_of_large_windows_give_the_same_trees(monkeypatch: pytest.MonkeyPatch, *, weighted: bool) -> None:
    matrix, label = problem(2_000)
    weight = np.linspace(0.1, 1.9, 2_000) if weighted else None
    packed, unpacked = (RandomForestClassifier(10, min_samples_leaf=100, random_state=0) for _ in range(2))
    grow(packed, matrix, label, weight)
    monkeypatch.setattr(counts, "PACKED_ROWS", 2_000)
    assert np.iscomplexobj(bin_rows(matrix, label).counts)
    grow(unpacked, matrix, label, weight)
    for one, other in zip(packed.estimators_, unpacked.estimators_, strict=True):
        assert np.array_equal(one.tree_.value, other.tree_.value)
        assert np.array_equal(one.tree_.threshold, other.tree_.threshold)
        assert np.array_equal(one.tree_.n_node_samples, other.tree_.n_node_samples)


@pytest.mark.parametrize(("packed", "rows"), [(True, 1), (True, PACKED_ROWS - 1), (False, 2**COMPLEX_BITS - 1)])
def test_counts_are_exact(monkeypatch: pytest.MonkeyPatch, rows: int, *, packed: bool) -> None:
    """One row that is drawn as often as there may be rows, and so many rows that are drawn once."""
    monkeypatch.setattr(counts, "PACKED_ROWS", PACKED_ROWS * packed)
    of_one_draw = draw_counts(np.array([0, 1], dtype=np.int8))
    assert np.iscomplexobj(of_one_draw) is not packed
    for draws, times, distinct in ((rows, 1, 1), (1, rows, rows)):
        sums = row_counts(of_one_draw, np.array([draws, draws])) * times
        assert np.array_equal(by_class(sums), [[rows, 0], [0, rows]])
        assert distinct_rows(sums).tolist() == [distinct, distinct]
        assert has_rows(sums, distinct).all()
        assert not has_rows(sums, distinct + 1).any()


@pytest.mark.parametrize("constant", [slice(2, 6), slice(0, 6)])
def test_constant_features_are_never_cut(constant: slice) -> None:
    matrix, label = problem(400)
    matrix[:, constant] = 1.5
    grown = RandomForestClassifier(10, min_samples_leaf=40, random_state=0)
    grow(grown, matrix, label)
    assert not grown.feature_importances_[constant].any()
    share = grown.predict_proba(matrix)[:, 1].mean()
    assert share == pytest.approx(label.mean(), abs=0.05)


def test_leaves_hold_enough_rows_and_depth_is_kept() -> None:
    matrix, label = problem(3_000)
    grown = RandomForestClassifier(30, min_samples_leaf=100, max_depth=3, random_state=0)
    grow(grown, matrix, label)
    for estimator in grown.estimators_:
        tree = estimator.tree_
        assert tree.n_node_samples[tree.children_left == -1].min() >= 100
        assert tree.max_depth == 3


def test_a_node_of_one_class_is_a_leaf() -> None:
    matrix, _ = problem(1_000, values=100)
    grown = RandomForestClassifier(10, min_samples_leaf=20, max_features=None, random_state=0)
    grow(grown, matrix, (matrix[:, 0] > 0).astype(np.int8))
    assert [estimator.tree_.node_count for estimator in grown.estimators_] == [3] * 10


@pytest.mark.parametrize("wanted", ["sqrt", "log2", None, 3, 0.5, 0.01])
def test_candidates_are_counted_as_scikit_learn_does(wanted: Any) -> None:
    matrix, label = problem(50, features=11)
    assert candidates(wanted, 11) == DecisionTreeClassifier(max_features=wanted).fit(matrix, label).max_features_


@settings(max_examples=100, deadline=None)
@given(arrays(np.float32, st.integers(1, 700), elements=st.floats(-1e6, 1e6, width=32)))
def test_bins_are_what_thresholds_tell_apart(column: npt.NDArray[np.float32]) -> None:
    binned = bin_rows(column[:, None], np.zeros(len(column), dtype=np.int8))
    edges, codes = binned.edges[0], binned.codes[0]
    assert len(edges) < MAX_BINS
    assert (np.diff(edges) > 0).all()
    for position, edge in enumerate(edges):
        assert np.array_equal(codes <= position, column <= edge)


@pytest.mark.parametrize(("distinct", "edges"), [(1, 0), (2, 1), (256, 255), (5_000, 255)])
def test_few_values_are_all_told_apart(distinct: int, edges: int) -> None:
    column = np.repeat(np.arange(distinct, dtype=np.float32), 3)
    (found,) = bin_rows(column[:, None], np.zeros(len(column), dtype=np.int8)).edges
    assert len(found) == edges
    counts = np.bincount(np.searchsorted(found, column))
    assert counts.max() <= np.ceil(len(column) / (edges + 1)) + 3
