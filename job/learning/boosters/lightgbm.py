"""LightGBM's boosted trees as an estimator, and its text as an artifact."""

import socket
from functools import cached_property
from ipaddress import ip_address
from numbers import Integral
from typing import Any, ClassVar, Final

import lightgbm
import numpy as np
import numpy.typing as npt
from sklearn.utils._param_validation import Interval

from job.learning.boosters.checks import MOST_LEAVES
from job.learning.boosters.estimator import CONSTRAINTS, Matrix, NativeModel
from job.learning.boosters.lightgbm_text import check, stored
from job.learning.matrices import Workers

FIXED: Final = {
    "objective": "binary",
    "deterministic": True,
    # Chosen, not timed: choosing by itself gives other sums from run to run, and takes a minute for a second's work
    # where the process may not use all cores.
    "force_col_wise": True,
    # Beyond 200,000 rows it bins by a random sample of them: the one that the seed 42 draws, whatever the seed.
    "data_random_seed": 175,
    "verbosity": -1,
}


class LightGBM(NativeModel):
    """Gradient boosting of log-loss over histograms; the same bits whatever `n_jobs`.

    Parameters are named as LightGBM's own classifier names them; `max_depth` None is no limit, and with `subsample`
    below 1 each tree draws rows of its own.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **CONSTRAINTS,
        "num_leaves": [Interval(Integral, 2, MOST_LEAVES, closed="both")],
        "min_child_samples": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        *,
        n_estimators: int = 100,
        num_leaves: int = 4,
        max_depth: int | None = None,
        learning_rate: float = 0.02,
        min_child_samples: int = 20,
        reg_alpha: float = 0.0,
        reg_lambda: float = 10.0,
        subsample: float = 1.0,
        colsample_bytree: float = 1.0,
        max_bin: int = 255,
        random_state: int = 0,
        n_jobs: int = 1,
    ) -> None:
        self.n_estimators = n_estimators
        self.num_leaves = num_leaves
        self.max_depth = max_depth
        self.learning_rate = learning_rate
        self.min_child_samples = min_child_samples
        self.reg_alpha = reg_alpha
        self.reg_lambda = reg_lambda
        self.subsample = subsample
        self.colsample_bytree = colsample_bytree
        self.max_bin = max_bin
        self.random_state = random_state
        self.n_jobs = n_jobs

    def _grow(
        self,
        matrix: Matrix,
        label: npt.NDArray[np.int8],
        weight: npt.NDArray[np.float64] | None,
        workers: Workers | None = None,
    ) -> bytes:
        network: dict[str, Any] = {}
        if workers is not None:
            with socket.socket() as free:  # each fit has ports of its own: the last one's may not be free yet
                free.bind(("", 0))
                port = free.getsockname()[1]
            # Of the loopback's addresses, it knows this one alone as its own.
            host = "127.0.0.1" if ip_address(workers.host).is_loopback else workers.host
            machines = [place for place in workers.gather(f"{host}:{port}" if len(matrix) else "") if place]
            if not len(matrix):
                return b""
            if len(machines) > 1:
                network = {
                    "machines": ",".join(machines),
                    "num_machines": len(machines),
                    "local_listen_port": port,
                    "tree_learner": "data",
                    "pre_partition": True,
                }
        parameters = FIXED | {
            "num_leaves": self.num_leaves,
            "max_depth": self.max_depth or -1,
            "learning_rate": self.learning_rate,
            "min_data_in_leaf": self.min_child_samples,
            "lambda_l1": self.reg_alpha,
            "lambda_l2": self.reg_lambda,
            "bagging_fraction": self.subsample,
            "bagging_freq": int(self.subsample < 1),
            "feature_fraction": self.colsample_bytree,
            "max_bin": self.max_bin,
            "seed": self.random_state,
            "num_threads": self.n_jobs,
            **network,
        }
        rows = lightgbm.Dataset(matrix, label, weight=weight, params=parameters)
        booster = lightgbm.train(parameters, rows, self.n_estimators)
        if network:
            booster.free_network()
        return stored(booster.model_to_string())

    def _check(self, artifact: bytes) -> int:
        return check(artifact)

    @cached_property
    def _booster(self) -> lightgbm.Booster:
        return lightgbm.Booster(model_str=self.artifact_.decode("ascii"))

    def _probability_of_up(self, matrix: Matrix) -> npt.NDArray[np.float64]:
        return np.asarray(self._booster.predict(matrix, num_threads=1), np.float64)


def parse(data: bytes) -> LightGBM:
    """Return the model of an artifact, whose structure is checked before LightGBM sees it.

    Raises:
        ValueError: it is unsound.
    """
    return LightGBM().restore(data, check(data))
