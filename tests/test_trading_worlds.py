"""What trading scores say of prices whose true returns are known: crashes, outages, spreads, missing bars and drift."""

import math

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom

from job.config.settings import load_config
from job.core.keys import Key
from job.learning.features import resolve_features
from job.learning.metrics import FloatArray
from job.learning.spec import ModelSpec
from job.learning.trading import trading_scores
from job.learning.training import train
from transforms.labels import Direction, TripleBarrier
from transforms.preparing import Preparation
from transforms.samples import make_samples

Scores = dict[str, float | int | None]
START_US = 1_704_067_200_000_000  # 2024-01-01
MINUTE_US = 60_000_000
YEAR_US = 365.25 * 86_400_000_000


def spec_of(label: str) -> ModelSpec:
    """Return a logistic regression, the fastest model there is, with two folds."""
    kind = {"timeframes": ["1h"], "algorithm": "logistic_regression", "label": label}
    return next(iter(load_config({"model_trainer": {"cv_folds": 2, "analyst_models": kind}}).model_specs()))[2]


def bars_of(price: FloatArray, *, step_us: int = MINUTE_US) -> pl.DataFrame:
    """Return bars of a price path of four steps a bar; each opens where the one before closed."""
    steps = np.lib.stride_tricks.sliding_window_view(price, 5)[::4]
    times = pl.Series(START_US + step_us * np.arange(len(steps))).cast(pl.Datetime("us", "UTC"))
    columns = {"open": steps[:, 0], "high": steps.max(axis=1), "low": steps.min(axis=1), "close": steps[:, 4]}
    return pl.DataFrame({"timestamp": times, **columns, "volume": np.ones(len(steps))})


def scores_of(bars: pl.DataFrame, timeframe: str, spec: ModelSpec) -> Scores:
    """Return the trading scores, before costs, of a model trained on bars."""
    how, features = Preparation(source=timeframe, timeframe=timeframe), resolve_features(spec.features)
    samples = make_samples(bars, how, features=features, label=spec.label, market=True)
    trained = train(samples.frame, spec, key=Key("synthetic", "X", timeframe, "analyst"))
    assert trained.market is not None
    return trading_scores(trained.market, label=spec.label, timeframe=timeframe, cost_bps=0.0)


@pytest.mark.parametrize("horizon", [1, 4, 30])
@pytest.mark.parametrize(("up", "side"), [(0.9, 1), (0.1, -1)])
def test_a_crash_and_an_outage_cost_what_a_holder_loses(horizon: int, up: float, side: int) -> None:
    """A minute that falls by 45%, and an outage of an hour after which prices are 30% lower; nothing else moves."""
    crash, outage, rows = 400, 800, 1_200
    path = np.full(4 * rows + 1, 100.0)
    path[4 * crash + 2 :] *= 0.55
    path[4 * (outage + 60) :] *= 0.7
    bars = bars_of(path)
    bars = bars.filter(~pl.int_range(pl.len()).is_between(outage, outage + 59))
    label = Direction(horizon=horizon)
    how, features = Preparation(source="1m", timeframe="1m"), resolve_features(("change_1",))
    market = make_samples(bars, how, features=features, label=label, market=True)
    assert (market.counts["jumps"], market.label_stats["before_jump"]) == (1, horizon)
    signals = market.frame.with_columns(p=pl.when("complete").then(up), p_base=pl.lit(0.5))
    scores = trading_scores(signals, label=label, timeframe="1m", cost_bps=0.0)
    assert scores["gross_return"] is not None
    assert scores["gross_return"] * rows * MINUTE_US / YEAR_US == pytest.approx(side * -0.75, rel=0.01)


def bars_with_a_spread(seed: list[int], rows: int, missing: float) -> pl.DataFrame:
    """Return minutes of a martingale that is traded 4 bps above or below its price, some of them missing."""
    random, spread = np.random.default_rng(seed), 4e-4
    path = np.exp(3.5e-4 * np.concatenate([[0.0], random.standard_normal(4 * rows)]).cumsum())
    bid_or_ask = [pl.Series(1 + spread * random.choice([-1.0, 1.0], rows)) for _ in range(2)]
    bars = bars_of(path).with_columns(pl.col("open") * bid_or_ask[0], pl.col("close") * bid_or_ask[1])
    bars = bars.with_columns(high=pl.col("high") * (1 + spread), low=pl.col("low") * (1 - spread))
    return bars.filter(pl.Series(random.uniform(size=rows) >= missing))


def pays_nothing(scores: list[Scores]) -> bool:
    """Whether the mean result of a trade is within two standard errors of 0, as it is in 95% of draws."""
    edges, signals = (np.array([one[name] or 0.0 for one in scores]) for name in ("edge_bps", "signals"))
    weights = signals / signals.mean()
    mean = float(np.average(edges, weights=weights))
    return abs(mean) <= 2 * float(np.std(weights * (edges - mean), ddof=1)) / math.sqrt(len(scores))


@pytest.mark.slow
@pytest.mark.parametrize("missing", [0.0, 0.2, 0.4, 0.6])
@pytest.mark.parametrize("horizon", [1, 3])
def test_a_spread_pays_nobody_however_many_minutes_are_missing(missing: float, horizon: int) -> None:
    """Closes can be foretold, opens cannot."""
    spec, seed = spec_of(f"direction({horizon})"), [7, round(10 * missing), horizon]
    assert pays_nothing(
        [scores_of(bars_with_a_spread([*seed, run], 6 * 1440, missing), "1m", spec) for run in range(30)]
    )


@pytest.mark.slow
@pytest.mark.parametrize("missing", [0.0, 0.2, 0.4])
def test_a_spread_pays_nobody_at_a_barrier(missing: float) -> None:
    """Signals are drawn; if orders filled at barriers, trades would lose .09 bps where 40% of minutes are missing."""
    label, how, scores = TripleBarrier(horizon=15), Preparation(source="1m", timeframe="1m"), list[Scores]()
    for run in range(30):
        bars = bars_with_a_spread([8, round(10 * missing), run], 20 * 1440, missing)
        samples = make_samples(bars, how, features=resolve_features(("change_1",)), label=label, market=True).frame
        p = np.random.default_rng(run).choice([0.4, 0.6], samples.height)
        told = samples.with_columns(p=pl.when("complete").then(pl.Series(p)), p_base=pl.lit(0.5))
        scores.append(trading_scores(told, label=label, timeframe="1m", cost_bps=0.0))
    assert pays_nothing(scores)


@pytest.mark.slow
def test_drift_is_not_taken_for_skill() -> None:
    """Noise that drifts by a fiftieth of its deviation an hour: of signals by p - 1/2, 19% have a PSR above .95."""
    runs, rows = 200, 330 * 24
    spec, found, beaten = spec_of("direction(10)"), 0, 0
    for seed in range(runs):
        random = np.random.default_rng([5, seed])
        steps = 0.0035 * random.standard_normal(4 * rows) + 0.007 * 0.02 / 4
        scores = scores_of(bars_of(np.exp(np.concatenate([[0.0], steps]).cumsum()), step_us=60 * MINUTE_US), "1h", spec)
        sure, p, lead = (scores[name] for name in ("probabilistic_sharpe", "sharpe_difference_p", "sharpe_difference"))
        assert sure is not None
        assert p is not None
        assert lead is not None
        found += sure > 0.95
        beaten += p < 0.05 and lead > 0
    assert found <= 0.08 * runs
    assert beaten <= binom.ppf(0.999, runs, 0.025)
