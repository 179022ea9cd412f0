"""What is computed by hand, because libraries take longer, has the bits of the libraries."""

import math

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from job.learning.bins import bin_of
from job.learning.matrices import fit_scaler
from job.learning.metrics import roc_auc
from job.learning.rows import BLOCK_ROWS, scaled
from job.learning.times import numbered


@pytest.mark.parametrize("rows", [1, 2, 100, 8_191, 8_193, 34_567])
def test_a_scaler_is_fitted_as_by_scikit_learn(rows: int) -> None:
    random = np.random.default_rng(rows)
    matrix = random.normal(random.normal(0, 3, 6), random.uniform(0.01, 50, 6), (rows + 2, 6)).astype(np.float32)
    matrix[:, 3], matrix[:, 4], matrix[:, 5] = 7.1, 0.0, -0.0  # never vary
    matrix = np.asfortranarray(matrix)[1:-1]  # a view, as training windows are
    own, library = (
        {name: np.asarray(value) for name, value in vars(one).items()}
        for one in (fit_scaler(matrix), StandardScaler().fit(matrix))
    )
    assert [*own] == [*library]  # in one order, which artifacts keep
    for name, value in library.items():
        assert (own[name].dtype, own[name].shape, own[name].tobytes()) == (value.dtype, value.shape, value.tobytes())


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_scaler_takes_values_that_are_not_finite_as_scikit_learn_does(wrong: float) -> None:
    matrix = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(6, 2))
    matrix[3, 1] = wrong
    if np.isnan(wrong):
        assert np.isfinite(fit_scaler(matrix).mean_).all()
    else:
        with pytest.raises(ValueError, match="infinity"):
            fit_scaler(matrix)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_scaled_as_by_the_scaler(dtype: type[np.float32 | np.float64]) -> None:
    matrix = np.asfortranarray(np.random.default_rng(1).normal(3, 50, (BLOCK_ROWS + 100, 3)).astype(np.float32))
    matrix[:, 2] = 7.0  # never varies
    scaler = StandardScaler().fit(matrix[:500])
    assert np.array_equal(scaled(scaler, matrix, dtype), scaler.transform(matrix).astype(dtype))


@pytest.mark.parametrize("times", [[], [5], [1, 1, 2, 7, 7], [3, 1, 3, 2]], ids=str)
def test_distinct_times_are_those_of_numpy(times: list[int]) -> None:
    given = np.array(times, dtype=np.int64)
    for own, expected in zip(numbered(given), np.unique(given, return_inverse=True), strict=True):
        assert own.tolist() == expected.tolist()


@pytest.mark.parametrize("edges", [0, 1, 9, 300])
def test_values_are_in_the_bins_of_numpy(edges: int) -> None:
    random = np.random.default_rng(edges)
    limits = np.sort(random.normal(size=edges))
    limits[::2] = limits[::2].astype(np.float32)
    values = np.concatenate((random.normal(size=100), limits, [math.inf, -math.inf]))
    for given in (values, values.astype(np.float32)):
        assert bin_of(given, limits).tolist() == np.searchsorted(limits, given.astype(np.float64), side="left").tolist()
    assert bin_of(np.array([np.nan]), limits).tolist() == [edges + 1]


def test_the_auc_allows_for_ties() -> None:
    random = np.random.default_rng(2)
    label, p = random.integers(0, 2, 999), random.integers(0, 20, 999) / 20
    up, ups = label == 1, int(label.sum())
    ranks = scipy.stats.rankdata(p)[up].sum() - ups * (ups + 1) / 2
    assert roc_auc(label, p) == float(ranks / (ups * (999 - ups)))
    assert roc_auc(label, p) == pytest.approx(roc_auc_score(label, p), abs=1e-12)
