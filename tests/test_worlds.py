"""No skill where none can be had, most of what can be had where there is some, and leaks that are known to show."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from scipy.stats import binom

from job.learning.splits import Fold, Splits
from tests.oracles_worlds import best_rate
from tests.worlds import DETECTOR, everything_for, in_two_processes, model_of, rule_for, samples_for, specs, world
from transforms.labels import Direction

SYMBOLS = 12
LEAK_SYMBOLS = 12
FIRST_LEAK_SYMBOL = 100


def noise_models(symbol: int) -> list[tuple[str, float | None, bool]]:
    """Return kind, lower end of the skill's interval, and whether it is underpowered, of the default models."""
    bars = world(symbol, days=30, kind="noise")
    found = []
    for kind, timeframe, spec in specs():
        scores = model_of(samples_for(bars, timeframe, spec), symbol, kind, timeframe, spec).scores
        found.append((f"{kind} {timeframe}", scores["skill_low"], bool(scores["underpowered"])))
    return found


@pytest.mark.slow
def test_noise_shows_no_skill() -> None:
    models = [model for symbol in in_two_processes(noise_models, range(SYMBOLS)) for model in symbol]
    assert len(models) >= 60
    above = [name for name, low, _ in models if low is not None and low > 0]
    assert len(above) <= binom.ppf(0.99, len(models), 0.025), above


def models_that_see_all(symbol: int) -> list[tuple[str, float | None]]:
    """Return kind and lower end of the skill's interval of models with all packs and every kind of context."""
    found = []
    for kind, timeframe, spec in specs():
        if timeframe == "1m":  # as good at 5m, and in a tenth of the time
            continue
        samples, seeing = everything_for(symbol, timeframe, spec, days=30)
        assert len(seeing.features) > 250
        scores = model_of(samples, symbol, kind, timeframe, seeing).scores
        found.append((f"{kind} {timeframe}", scores["skill_low"]))
    return found


@pytest.mark.slow
def test_noise_shows_no_skill_to_models_that_see_all() -> None:
    models = [model for symbol in in_two_processes(models_that_see_all, range(SYMBOLS)) for model in symbol]
    above = [name for name, low in models if low is not None and low > 0]
    assert len(models) == 3 * SYMBOLS
    assert len(above) <= binom.ppf(0.99, len(models), 0.025), above


def detector_auc_of_all(symbol: int) -> float:
    """Return the same as `detector_auc` of a forest that sees all packs and every kind of context."""
    _, timeframe, default = next(one for one in specs() if one[1] == "5m")
    samples, spec = everything_for(FIRST_LEAK_SYMBOL + symbol, timeframe, default, days=10)
    auc = model_of(samples, symbol, "analyst", timeframe, spec.model_copy(update=DETECTOR)).scores["roc_auc"]
    assert auc is not None
    return auc


@pytest.mark.slow
def test_a_forest_that_remembers_every_row_finds_nothing_in_all_packs_and_contexts() -> None:
    assert not leaks(in_two_processes(detector_auc_of_all, range(10)))


def detector_auc(symbol: int, leak: str = "") -> float:
    """Return the holdout AUC of a forest that remembers every row, on 10 days of noise with a leak planted."""
    bars = world(FIRST_LEAK_SYMBOL + symbol, days=10, kind="noise")
    _, timeframe, default = next(one for one in specs() if one[1] == "5m")
    spec = default.model_copy(update=DETECTOR)
    samples = (
        LEAKS[leak](bars, samples_for(bars, timeframe, spec)) if leak in LEAKS else samples_for(bars, timeframe, spec)
    )
    with pytest.MonkeyPatch.context() as patch:
        if leak == "shuffled split":
            patch.setattr("job.learning.rows.walk_forward", shuffled_split)
        auc = model_of(samples, symbol, "analyst", timeframe, spec).scores["roc_auc"]
    assert auc is not None
    return auc


def shuffled_split(available_at: npt.NDArray[np.int64], *_: Any, **__: Any) -> Splits:
    """Split rows at random, as a careless call of a library would: labels overlap, so neighbours tell."""
    rows = np.random.default_rng(0).permutation(len(available_at))
    cut = int(0.8 * len(rows))
    fold = Fold(train=np.sort(rows[:cut]), test=np.sort(rows[cut:]))
    return Splits(folds=(fold,), holdout=fold)


def centred_window(bars: pl.DataFrame, samples: pl.DataFrame) -> pl.DataFrame:
    """Put a mean that is centred on its bar, and so knows the next two closes, in place of a trailing one."""
    closes = bars.group_by_dynamic("timestamp", every="5m").agg(pl.col("close").last())
    centred = pl.col("close") / pl.col("close").rolling_mean(5, center=True) - 1
    means = closes.select("timestamp", close_ma_5=centred.cast(pl.Float32))
    return samples.drop("close_ma_5").join(means, on="timestamp").drop_nulls()


def unfinished_hour(bars: pl.DataFrame, samples: pl.DataFrame) -> pl.DataFrame:
    """Give every bar the change over the hour that it lies in, which is known at the hour's end only."""
    hours = bars.group_by_dynamic("timestamp", every="1h").agg(
        change_1=(pl.col("close").last() / pl.col("open").first() - 1).cast(pl.Float32)
    )
    return samples.drop("change_1").sort("timestamp").join_asof(hours, on="timestamp", strategy="backward")


LEAKS: dict[str, Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]] = {
    "centred window": centred_window,
    "unfinished hour": unfinished_hour,
}


def leaks(aucs: list[float]) -> bool:
    """Whether the mean AUC is further from a half than three standard errors."""
    error = float(np.std(aucs, ddof=1)) / len(aucs) ** 0.5
    return bool(abs(float(np.mean(aucs)) - 0.5) > 3 * error)


def test_a_forest_that_remembers_every_row_finds_nothing_in_noise() -> None:
    assert not leaks([detector_auc(symbol) for symbol in range(LEAK_SYMBOLS)])


@pytest.mark.parametrize("leak", ["shuffled split", *LEAKS])
def test_planted_leaks_are_found(leak: str) -> None:
    assert leaks([detector_auc(symbol, leak) for symbol in range(4)])


def hits(job: tuple[int, int, str, str]) -> tuple[int, int, int]:
    """Return rows, and how many of them the model and the rule foretold, in one symbol's holdout."""
    symbol, days, kind, timeframe = job
    bars = world(symbol, days=days, kind="signal")
    _, _, default = next(one for one in specs() if one[0] == kind)
    spec = default.model_copy(update={"label": Direction(horizon=10)})
    holdout = model_of(samples_for(bars, timeframe, spec), symbol, kind, timeframe, spec).holdout
    rows = holdout.join(rule_for(bars, timeframe, 10), on="available_at").drop_nulls("rule")
    model = ((rows["p"] > 0.5).cast(pl.Int8) == rows["label"]).sum()
    return rows.height, int(model), int((rows["rule"] == rows["label"]).sum())


def assert_most_is_found(found: Sequence[tuple[int, int, int]]) -> None:
    rows, model, rule = (sum(column) for column in zip(*found, strict=True))
    assert rule / rows > 0.53
    assert model / rows - 0.5 >= 0.8 * (rule / rows - 0.5)
    rolling_std = float(np.std([one[1] / one[0] for one in found], ddof=1)) / len(found) ** 0.5
    assert model / rows <= best_rate(0.65, 10) + 4 * rolling_std


@pytest.mark.parametrize(("kind", "timeframe"), [("analyst", "1m"), ("analyst", "5m"), ("tactician", "1m")])
def test_most_of_the_signal_is_found_in_30_days(kind: str, timeframe: str) -> None:
    assert_most_is_found([hits((symbol, 30, kind, timeframe)) for symbol in range(3)])


@pytest.mark.slow
@pytest.mark.parametrize(("timeframe", "days"), [("1m", 90), ("5m", 120), ("15m", 240), ("1h", 240)])
def test_most_of_the_signal_is_found_in_months(timeframe: str, days: int) -> None:
    assert_most_is_found(in_two_processes(hits, [(symbol, days, "analyst", timeframe) for symbol in range(8)]))
