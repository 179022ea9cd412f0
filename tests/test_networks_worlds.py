"""Networks find most of what can be had at one minute over 30 days, and nothing in noise."""

import polars as pl
import pytest
from scipy.stats import binom

pytest.importorskip("torch", reason="torch is absent, which networks need: pip install '.[torch]'")
pytest.importorskip("tabm", reason="tabm is absent, which networks need: pip install '.[torch]'")

from job.learning.estimators import sequence_bars
from job.learning.features import resolve_features
from job.learning.networks.artifact import NETWORKS
from job.learning.spec import ModelSpec
from job.learning.training import Trained
from tests.oracles_worlds import best_rate
from tests.worlds import in_two_processes, model_of, rule_for, specs, world
from transforms.labels import Direction
from transforms.preparing import Preparation
from transforms.samples import make_samples

pytestmark = [pytest.mark.torch, pytest.mark.slow]

HORIZON = 10
NOISE_SYMBOLS = 4


def spec_of(name: str) -> ModelSpec:
    """Return the defaults of a network, with a single fold: it is the holdout that is looked at."""
    default = next(spec for kind, _, spec in specs() if kind == "analyst")
    update = {"algorithm": name, "label": Direction(horizon=HORIZON), "cv_folds": 1, "engine": "sklearn"}
    return default.model_copy(update=update)


def trained(bars: pl.DataFrame, name: str, timeframe: str, symbol: int) -> Trained:
    spec = spec_of(name)
    how, features = Preparation(source="1m", timeframe=timeframe), resolve_features(spec.features)
    made = make_samples(bars, how, features=features, label=spec.label, sequence_bars=sequence_bars(spec))
    return model_of(made.frame, symbol, "analyst", timeframe, spec)


def hits(name: str) -> tuple[float, float, int]:
    """Return how often a network and the rule are right in the holdout, and its rows."""
    bars = world(0, days=30, kind="signal")
    rows = trained(bars, name, "1m", 0).holdout.join(rule_for(bars, "1m", HORIZON), on="available_at")
    rows = rows.drop_nulls("rule")
    model = ((rows["p"] > 0.5).cast(pl.Int8) == rows["label"]).mean()
    rule = (rows["rule"] == rows["label"]).mean()
    assert isinstance(model, float)
    assert isinstance(rule, float)
    return model, rule, rows.height


def test_networks_find_most_of_the_signal() -> None:
    for name, (model, rule, rows) in zip(NETWORKS, in_two_processes(hits, NETWORKS), strict=True):
        assert rule > 0.53, name
        assert model - 0.5 >= 0.7 * (rule - 0.5), name
        # Labels overlap by ten bars, so as many rows count once.
        assert model <= best_rate(0.65, HORIZON) + 4 * (0.25 * HORIZON / rows) ** 0.5, name


def lower_ends(name: str) -> list[float]:
    """Return the lower ends of the skill's intervals on some symbols of noise."""
    found = []
    for symbol in range(NOISE_SYMBOLS):
        bars = world(symbol, days=12, kind="noise")
        low = trained(bars, name, "5m", symbol).scores["skill_low"]
        assert low is not None
        found.append(low)
    return found


def test_networks_find_nothing_in_noise() -> None:
    lows = [low for one in in_two_processes(lower_ends, NETWORKS) for low in one]
    assert len(lows) == NOISE_SYMBOLS * len(NETWORKS)
    assert sum(low > 0 for low in lows) <= binom.ppf(0.99, len(lows), 0.025), lows
