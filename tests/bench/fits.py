"""How many CPU seconds a worker spends inside estimator fits and predictions, the benchmark's included."""

import os
import time
from collections.abc import Callable, Iterator
from functools import cache, wraps
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import pyarrow as pa

from job.learning.estimators import ALGORITHMS
from job.learning.spec import BLEND
from job.train import steps
from job.worker.messages import Job

FIGURES: Final = "BENCH_FIGURES"
"""Environment variable that names the folder in which processes note figures."""
FITS: Final = "fits-"
"""Beginning of the names of the workers' notes."""

_train_models: Final = steps.train_models


class Stopwatch:
    """Adds up the CPU seconds of this thread within the outermost of nested calls: of fits that have one thread."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._running = False

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function` with its CPU time added to `seconds`."""

        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            if self._running:
                return function(*arguments, **named)
            self._running, started = True, time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds += time.thread_time() - started
                self._running = False

        return call


@cache
def stopwatch() -> Stopwatch:
    """Time, from now on and for good, what this process fits and predicts, whether by an engine or the estimator."""
    from job.learning import fitting

    watch = Stopwatch()
    # All that is timed: the benchmark's class is one of them, and so are those of a blend's members.
    timed = [algorithm for algorithm in ALGORITHMS.values() if algorithm.library is None and algorithm.name != BLEND]
    classes = {algorithm.estimator for algorithm in timed}
    own = ((one, name) for one in classes for name in ("fit", "predict_proba"))
    for owner, name in ((fitting, "fit_scaled"), (fitting, "mean_of_trees"), *own):
        patch.object(owner, name, watch.timed(getattr(owner, name))).start()
    return watch


def train_models(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Do what `job.train.steps.train_models` does, and note how long this worker's fits have taken so far."""
    watch = stopwatch()
    for outcome in _train_models(batch, job=job):
        Path(os.environ[FIGURES], f"{FITS}{os.getpid()}").write_text(str(watch.seconds), encoding="ascii")
        yield outcome
