"""Fits of one model over many series, each on what was known at some time."""

from collections.abc import Iterable

import numpy as np
import polars as pl

from job.learning.fitting import fit_on
from job.learning.pooled import PoolFit
from job.learning.rows import read_rows, sort_samples
from job.learning.spec import ModelSpec
from job.learning.splits import is_known
from job.learning.threads import OPENMP_ROWS, limited_threads


def fit_pool(
    samples: pl.DataFrame, spec: ModelSpec, times: Iterable[int], *, embargo_us: int, n_jobs: int
) -> tuple[PoolFit, ...]:
    """Fit one model for each of `times` (µs), on all samples that were known then, label and embargo included.

    `samples` are as `train` takes them, all with a label. There is no fit where none or only labels of one class were
    known.
    """
    rows = read_rows(sort_samples(samples), spec.feature_names)
    fits = []
    with limited_threads(n_jobs if samples.height >= OPENMP_ROWS else 1):
        for time in times:
            index = np.flatnonzero(is_known(rows.available_at, rows.label_end, time, embargo_us))
            if len(np.unique(rows.label[index])) == 2:
                model, scaler = fit_on(rows, index, spec, n_jobs=n_jobs)
                fits.append(PoolFit(time, model, scaler, len(index)))
    return tuple(fits)
