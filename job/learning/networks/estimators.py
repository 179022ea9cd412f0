"""The networks as classifiers by scikit-learn's conventions, for features that a `StandardScaler` has scaled."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import scipy
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from torch import nn

from job.learning.networks import optimizing
from job.learning.networks.modules import Gru, Mlp, TabM, Tcn
from job.learning.networks.optimizing import Rows
from job.learning.sequences import Sequences
from job.learning.splits import Fold

FloatArray = npt.NDArray[np.float64]

BUILDING: Final = Lock()
"""Held while a module draws its first weights: PyTorch gives it its global generator only."""
DEVICES: Final = ("cpu", "cuda", "auto")
INTEGERS: Final[dict[str, tuple[int, int]]] = {
    "width": (1, 4_096),
    "blocks": (1, 64),
    "members": (1, 1_024),
    "sequence_bars": (2, 4_096),
    "epochs": (1, 100_000),
    "patience": (1, 100_000),
    "batch_rows": (1, 2**31),
    "random_state": (0, 2**32),
}
"""Least and greatest value of each parameter that is a whole number."""
NUMBERS: Final[dict[str, tuple[float, float]]] = {"learning_rate": (1e-9, 10.0), "weight_decay": (0.0, 1e3)}
"""Least and greatest value of each other parameter."""


@dataclass(eq=False, repr=False, kw_only=True)
class Network(ClassifierMixin, BaseEstimator, ABC):  # type: ignore[misc]  # scikit-learn has no types
    """A classifier of two classes, 0 and 1, around a module of `networks.modules`.

    Parameters of all networks:
        width: numbers that stand for a row inside the network.
        epochs: passes over the training rows at most.
        patience: epochs without a lower validation loss after which it stops.
        batch_rows: rows per step.
        learning_rate, weight_decay: of AdamW.
        device: what fits it, `cpu`, `cuda`, or `auto`, a GPU if this process has one. It always predicts on the CPU.
        random_state: decides the first weights and the order of rows.

    Attributes: `classes_`, `n_features_in_`, `module_`, and `fit_`: `epochs`, those that the kept weights saw,
    `device`, and `loss` per epoch, which for validation begins before the first.
    """

    width: int = 32
    epochs: int = 30
    patience: int = 4
    batch_rows: int = 512
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    device: str = "cpu"
    random_state: int = 0

    @abstractmethod
    def module(self, features: int) -> nn.Module:
        """Return the module that the parameters describe."""

    def fit(
        self,
        rows: Rows,
        label: npt.NDArray[np.integer[Any]],
        sample_weight: FloatArray | None = None,
        *,
        validation: Fold | None = None,
    ) -> Self:
        """Fit on rows in time order; see `networks.optimizing.fit` for `validation`, positions among them."""
        rows = self._as_rows(rows)
        use_gpu = self.device == "cuda" or (self.device == "auto" and torch.cuda.is_available())
        device = torch.device("cuda" if use_gpu else "cpu")
        self.classes_, self.n_features_in_ = np.array([0, 1]), rows.shape[1]
        with BUILDING, torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.random_state)
            module = self.module(self.n_features_in_).to(device)
        weight = np.ones(len(label)) if sample_weight is None else sample_weight
        up, weights = (torch.from_numpy(np.array(one, np.float32)).to(device) for one in (label == 1, weight))
        examples = optimizing.Examples(*optimizing.view_of(rows, device), up, weights)
        schedule = optimizing.Schedule(
            self.epochs, self.patience, self.batch_rows, self.learning_rate, self.weight_decay
        )
        with optimizing.one_thread():
            self.fit_ = optimizing.fit(module, examples, schedule, validation=validation, seed=self.random_state)
        self.module_ = module.to("cpu")
        return self

    def predict_proba(self, rows: Rows) -> FloatArray:
        """Return the probabilities of both classes, float64 [rows, 2]; a row's bits do not depend on other rows."""
        if not len(rows):
            return np.empty((0, 2))
        view, starts = optimizing.view_of(self._as_rows(rows), torch.device("cpu"))
        members = optimizing.log_odds(self.module_, view, starts).numpy().astype(np.float64)
        up = scipy.special.expit(members).mean(axis=1)
        return np.column_stack([1 - up, up])

    def predict(self, rows: Rows) -> npt.NDArray[np.int64]:
        """Return the more probable class of each row."""
        return (self.predict_proba(rows)[:, 1] > 0.5).astype(np.int64)

    def __post_init__(self) -> None:
        """Raise ValueError where a parameter is out of its range."""
        for name, value in self.get_params(deep=False).items():
            if name == "device":
                if value not in DEVICES:
                    raise ValueError(f"device: expected {', '.join(DEVICES)}, got {value!r:.40}")
                continue
            low, high = INTEGERS[name] if name in INTEGERS else NUMBERS[name]
            kinds = (int,) if name in INTEGERS else (int, float)
            if type(value) not in kinds or not low <= value <= high:
                raise ValueError(f"{name}: expected a number from {low:g} to {high:g}, got {value!r:.40}")

    def _as_rows(self, rows: Rows) -> Rows:
        return rows


@dataclass(eq=False, repr=False, kw_only=True)
class MlpClassifier(Network):
    """A multilayer perceptron with so many `blocks`, hidden layers."""

    blocks: int = 2

    def module(self, features: int) -> nn.Module:
        """Return the module that the parameters describe."""
        return Mlp(features, width=self.width, blocks=self.blocks)


@dataclass(eq=False, repr=False, kw_only=True)
class TabMClassifier(Network):
    """An ensemble of so many `members`, perceptrons of `blocks` hidden layers that share most of their weights."""

    blocks: int = 2
    members: int = 16

    def module(self, features: int) -> nn.Module:
        """Return the module that the parameters describe."""
        return TabM(features, width=self.width, blocks=self.blocks, members=self.members)


@dataclass(eq=False, repr=False, kw_only=True)
class SequenceNetwork(Network, ABC):
    """A network that sees a row together with the bars before it, `sequence_bars` in all.

    It takes `Sequences`. A plain matrix is taken for bars that are neighbors, before which all features are 0.
    """

    sequence_bars: int = 32

    def _as_rows(self, rows: Rows) -> Rows:
        return rows if isinstance(rows, Sequences) else Sequences.of_run(rows, self.sequence_bars)


@dataclass(eq=False, repr=False, kw_only=True)
class GruClassifier(SequenceNetwork):
    """A recurrent network."""

    def module(self, features: int) -> nn.Module:
        """Return the module that the parameters describe."""
        return Gru(features, width=self.width)


@dataclass(eq=False, repr=False, kw_only=True)
class TcnClassifier(SequenceNetwork):
    """A temporal convolutional network."""

    def module(self, features: int) -> nn.Module:
        """Return the module that the parameters describe."""
        return Tcn(features, width=self.width, bars=self.sequence_bars)
