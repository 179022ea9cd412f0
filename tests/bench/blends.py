"""[blends] Whether a blend beats its members: out-of-fold log-loss, paired with each, of the real symbols.

Members and weights are fitted on the same walk-forward folds of the 16 real symbols; their holdouts are never looked
at. Weights of a fold come from the folds before it, and every model is shrunk by a weight of its own, so a member's
loss is that of a model that is this member alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
from threadpoolctl import threadpool_limits

from job.config.settings import Config
from job.learning.blend import Blend
from job.learning.blending import weigh_members
from job.learning.features import resolve_features
from job.learning.fitting import Evaluated, evaluate
from job.learning.fleet import log_loss_delta_by_cluster
from job.learning.metrics import FloatArray, row_log_loss
from job.learning.rows import read_rows, sort_samples
from job.learning.spec import BLEND
from job.learning.splits import walk_forward
from job.learning.training import shrink_all
from tests.bench import skill
from tests.bench.bars import real_files
from tests.bench.choices import FULL, QUICK, Losses, Sizes, bars_of
from tests.bench.table import Table
from transforms.bars import duration_us
from transforms.labels import Direction
from transforms.preparing import Preparation
from transforms.samples import make_samples

MEMBERS: Final = {
    "forest": "random_forest",
    "logistic": "logistic_regression",
    "boosting": "hist_gradient_boosting",
}
BLENDS: Final = (("forest", "logistic"), ("forest", "logistic", "boosting"))
MODELS: Final = (("1m", 1), ("1m", 10), ("5m", 10), ("15m", 10), ("1h", 10))
"""Timeframes, and horizons of `direction`."""


@dataclass(frozen=True)
class Windows:
    """Folds of a symbol for which all of `MEMBERS` were fitted, times of their test rows, and the horizon in bars."""

    evaluated: Sequence[Evaluated]
    times: Any
    horizon: int

    def loss(self, names: Sequence[str]) -> FloatArray:
        """Return the log-loss, out of fold and shrunk, of each row for one member, or for a blend of several."""
        chosen = [list(MEMBERS).index(name) for name in names]
        made = [
            replace(one, p_members=one.p_members[:, chosen], model=Blend.of(dict.fromkeys(names)))
            for one in self.evaluated
        ]
        weighed = weigh_members(made, horizon_bars=self.horizon) if len(names) > 1 else [alone(one) for one in made]
        folds = shrink_all([*weighed, weighed[-1]], fitted=True).folds  # it takes a holdout: there is none here
        return np.concatenate([row_log_loss(one.label, one.p) for one in folds])


def alone(window: Evaluated) -> Evaluated:
    """Return a window with the probabilities of its only member."""
    return replace(window, p_raw=window.p_members[:, 0], p=window.p_members[:, 0])


def windows_of(file: Path, timeframe: str, horizon: int, *, last: int | None) -> Windows:
    label = Direction(horizon=horizon)
    spec = Config().spec_of("analyst")
    bars, how = bars_of(file, last=last), Preparation(source="1m", timeframe=timeframe)
    samples = make_samples(bars, how, features=resolve_features(spec.features), label=label).frame
    rows = read_rows(sort_samples(samples), spec.feature_names)
    blend = spec.model_copy(update={"algorithm": BLEND, "label": label, "params": {"of": [*MEMBERS.values()]}})
    folds = walk_forward(rows.available_at, rows.label_end, test_size=spec.test_size, folds=spec.cv_folds).folds
    with threadpool_limits(limits=1):
        evaluated = [evaluate(rows, fold, blend, n_jobs=1) for fold in folds]
    return Windows(evaluated, np.concatenate([rows.available_at[fold.test] for fold in folds]), horizon)


def compared(file: Path, model: tuple[str, int], *, last: int | None) -> Mapping[tuple[str, ...], dict[str, Losses]]:
    """Return each blend's log-loss less that of each of its members on a symbol's out-of-fold rows, by cluster."""
    timeframe, horizon = model
    windows = windows_of(file, timeframe, horizon, last=last)
    members = {name: windows.loss([name]) for name in MEMBERS}
    return {
        names: {
            name: log_loss_delta_by_cluster(
                windows.times,
                windows.loss(names) - members[name],
                horizon_bars=horizon,
                timeframe_us=duration_us(timeframe),
            )
            for name in names
        }
        for names in BLENDS
    }


def measure(*, quick: bool) -> Table:
    """Fit and score all; no target, this is what the choice of defaults rests on."""
    sizes = QUICK if quick else FULL
    return Table(
        "blends",
        f"{sizes.symbols} real symbols, out-of-fold: winners, change of log-loss against each member, clustered z",
        tuple(lines(sizes)),
    )


def lines(sizes: Sizes) -> Iterator[str]:
    files = real_files(sizes.symbols)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for model in MODELS[: sizes.models]:
            symbols = [*pool.map(partial(compared, model=model, last=sizes.bars), files)]
            for names in BLENDS:
                for name in names:
                    title = f"{model[0]} direction({model[1]})"
                    versus = skill.cell([one[names][name] for one in symbols])
                    yield f"{title:18} {', '.join(names):28} against {name:9} {versus}"
