"""Trading scores: a broker's statement as oracle, worked examples of the literature, and what training keeps of it."""

import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from job.learning.metrics import shrink
from job.learning.positions import Ledger, Market, Trades, keep_ledger, make_trades, read_market, signals
from job.learning.sharpe import expected_best_sharpe, probabilistic_sharpe, sharpe_error, sharpe_scores
from job.learning.trading import daily_returns, drawdown, keep_books, score_books, trading_scores
from tests.oracles_trading import statement
from transforms.bars import PRICES
from transforms.labels import Direction, Label, TripleBarrier

Floats = npt.NDArray[np.float64]
MINUTE_US = 60_000_000
DAY_US = 86_400_000_000
START_US = 1_704_067_200_000_000  # 2024-01-01
LABELS = (
    Direction(horizon=1),
    Direction(horizon=4),
    Direction(horizon=50),
    TripleBarrier(horizon=1),
    TripleBarrier(horizon=5),
    TripleBarrier(horizon=5, entry="next_open"),
)


BASE = 0.4


def made_bars(
    seed: int, rows: int, *, step_us: int = MINUTE_US, cuts: float = 0.05, missing: float = 0.0
) -> pl.DataFrame:
    """Return bars of a random walk that opens away from its last close now and then.

    Half of the `cuts`, a share of bars, are gaps, the others jumps; the share `missing` of bars is filled.
    """
    random = np.random.default_rng(seed)
    close = np.exp(0.01 * random.standard_normal(rows).cumsum())
    opened = np.concatenate(([1.0], close[:-1])) * np.exp(0.01 * random.standard_normal(rows))
    rolling_std = np.exp(0.01 * np.abs(random.standard_normal((2, rows))))
    kind = random.integers(0, 10, rows)
    bars = pl.DataFrame(
        {
            "timestamp": pl.Series(START_US + step_us * np.arange(rows)).cast(pl.Datetime("us", "UTC")),
            "open": opened,
            "high": np.maximum(opened, close) * rolling_std[0],
            "low": np.minimum(opened, close) / rolling_std[1],
            "close": close,
            **cut_at_random(random, rows, cuts, missing),
            "barrier": pl.Series(0.015 * random.uniform(size=rows)) * pl.Series(np.where(kind == 1, 0.0, 1.0)),
            "p": random.uniform(size=rows).round(1),
            "p_base": np.full(rows, BASE),
        }
    ).with_columns(
        p=pl.when(pl.Series(kind == 2)).then(None).otherwise("p"),
        barrier=pl.when(pl.Series(kind == 3)).then(None).otherwise("barrier"),
        close=pl.when(~pl.col("filled")).then("close").forward_fill(),
    )
    return bars.with_columns(pl.when("filled").then("close").otherwise(name).alias(name) for name in PRICES)


def cut_at_random(random: np.random.Generator, rows: int, cuts: float, missing: float) -> dict[str, Any]:
    """Return `filled`, `contiguous_run` and `segment` of so many bars; the first of a run is never filled."""
    cut, gap = random.uniform(size=rows) < cuts, random.uniform(size=rows) < 0.5
    filled = (random.uniform(size=rows) < missing) & ~cut
    filled[0] = False
    return {
        "filled": filled,
        "contiguous_run": pl.Series((cut & gap).cumsum()).cast(pl.UInt32),
        "segment": pl.Series(cut.cumsum()).cast(pl.UInt32),
    }


def read_real(bars: pl.DataFrame, label: Label) -> tuple[Market, Trades, Ledger]:
    """Return the market of one series' bars, what is traded there on its signals, and what it earns."""
    market, real = read_market(bars.with_columns(series=pl.lit("")), label.horizon), bars.filter(~pl.col("filled"))
    trades = make_trades(real, signals(real), market, label)
    return market, trades, keep_ledger(market, trades, label.horizon)


def flat_bars(opens: list[float], p: list[float | None], **columns: Any) -> pl.DataFrame:
    """Return bars that close where the next one opens, with nothing in between."""
    closes = [*opens[1:], opens[-1]]
    frame = pl.DataFrame(
        {
            "timestamp": pl.Series(START_US + MINUTE_US * np.arange(len(opens))).cast(pl.Datetime("us", "UTC")),
            "open": opens,
            "high": np.maximum(opens, closes),
            "low": np.minimum(opens, closes),
            "close": closes,
            "filled": [False] * len(opens),
            "contiguous_run": pl.Series([0] * len(opens), dtype=pl.UInt32),
            "segment": pl.Series([0] * len(opens), dtype=pl.UInt32),
            "barrier": pl.Series([None] * len(opens), dtype=pl.Float64),
            "p": pl.Series(p, dtype=pl.Float64),
            "p_base": [0.5] * len(opens),
        }
    )
    return frame.with_columns(**{name: pl.Series(values) for name, values in columns.items()})


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 60),
    st.sampled_from(LABELS),
    st.sampled_from([0.0, 0.1, 0.6]),
    st.sampled_from([0.0, 0.3, 0.8]),
)
def test_the_ledger_is_the_brokers(seed: int, rows: int, label: Label, cuts: float, missing: float) -> None:
    bars = made_bars(seed, rows, cuts=cuts, missing=missing)
    market, trades, ledger = read_real(bars, label)
    told = statement(bars, label)
    assert ledger.position == pytest.approx(told.position)
    assert ledger.gross == pytest.approx(told.gross)
    assert ledger.turnover == pytest.approx(told.turnover)
    made = trades.side * (trades.price / market.open[trades.row + 1] - 1)
    assert dict(zip(trades.row.tolist(), made.tolist(), strict=True)) == pytest.approx(told.trades)


def test_a_worked_example() -> None:
    """Two signals up, one down, horizon 2; the position is +1/2, +1, 0 and -1/2 at the opens of bars 1 to 4.

    Bar 1 gains 10% of 1/2; bar 2 loses 50% of 1; bar 3 earns nothing; bar 4, the last, goes nowhere. At the opens
    1/2 is bought twice, then one half sold for the first trade and one sold short, then a half sold to end the second;
    the last close buys back a half.
    """
    bars = flat_bars([100.0, 100.0, 110.0, 55.0, 66.0], [0.6, 0.9, 0.4, None, None])
    label = Direction(horizon=2)
    _, _, ledger = read_real(bars, label)
    assert ledger.position.tolist() == [0.0, 0.5, 1.0, 0.0, -0.5]
    assert ledger.gross == pytest.approx([0.0, 0.05, -0.5, 0.0, 0.0])
    assert ledger.turnover.tolist() == [0.0, 0.5, 0.5, 1.0, 1.0]
    scores = trading_scores(bars, label=label, timeframe="1m", cost_bps=100.0)
    years = 5 * MINUTE_US / (365.25 * DAY_US)
    assert scores["signals"] == 3
    assert scores["hit_rate"] == 0.0
    assert scores["edge_bps"] == pytest.approx(1e4 * ((55 / 100 - 1) + (66 / 110 - 1) - (66 / 55 - 1)) / 3)
    assert scores["turnover"] == pytest.approx(3.0 / years)
    assert scores["gross_return"] == pytest.approx(-0.45 / years)
    assert scores["net_return"] == pytest.approx((-0.45 - 0.01 * 3.0) / years)
    assert scores["bars_a_year"] == pytest.approx(5 / years)
    assert scores["max_drawdown"] == pytest.approx(0.505 + 0.01 + 0.01 + 0.005 - 0.005, abs=1e-9)


BARRIER = math.log(1.1)


@pytest.mark.parametrize(
    ("prices", "left_at"),
    [
        ((101.0, 115.0, 99.0), 102.0),
        ((101.0, 105.0, 80.0), 102.0),
        ((101.0, 115.0, 80.0), 102.0),
        ((120.0, 125.0, 119.0), 102.0),
        ((101.0, 105.0, 99.0), 90.0),
    ],
    ids=["upper", "lower", "both", "gap", "timeout"],
)
@pytest.mark.parametrize(("up", "side"), [(0.9, 1), (0.1, -1)])
def test_a_trade_ends_at_the_open_after_a_touch(
    prices: tuple[float, float, float], left_at: float, up: float, side: int
) -> None:
    open_, high, low = prices
    bars = flat_bars(
        [100.0, 100.0, open_, 102.0, 90.0, 90.0],
        [up, None, None, None, None, None],
        high=[100.0, 100.0, high, 102.0, 90.0, 90.0],
        low=[100.0, 100.0, low, 102.0, 90.0, 90.0],
        close=[100.0, 100.0, 102.0, 102.0, 90.0, 90.0],
        barrier=[BARRIER] * 6,
    )
    scores = trading_scores(bars, label=TripleBarrier(horizon=3), timeframe="1m", cost_bps=0.0)
    assert scores["signals"] == 1
    assert scores["edge_bps"] == pytest.approx(1e4 * side * (left_at / 100 - 1))


def test_a_trade_that_makes_nothing_is_no_hit() -> None:
    scores = trading_scores(flat_bars([100.0] * 4, [0.9] * 4), label=Direction(horizon=2), timeframe="1m", cost_bps=0.0)
    assert (scores["signals"], scores["hit_rate"], scores["edge_bps"]) == (3, 0.0, 0.0)


def test_a_trade_whose_first_open_is_beyond_a_barrier_ends_at_the_next() -> None:
    bars = flat_bars([100.0, 120.0, 130.0], [0.9, None, None], close=[100.0, 130.0, 130.0], barrier=[BARRIER] * 3)
    scores = trading_scores(bars, label=TripleBarrier(horizon=2), timeframe="1m", cost_bps=5.0)
    assert (scores["signals"], scores["hit_rate"]) == (1, 1.0)
    assert scores["edge_bps"] == pytest.approx(1e4 * (130 / 120 - 1))


@pytest.mark.parametrize("barrier", [0.0, None])
def test_a_signal_without_barriers_is_not_traded(barrier: float | None) -> None:
    bars = flat_bars([100.0, 120.0, 130.0], [0.9, None, None], barrier=pl.Series([barrier] * 3, dtype=pl.Float64))
    scores = trading_scores(bars, label=TripleBarrier(horizon=2), timeframe="1m", cost_bps=5.0)
    assert (scores["signals"], scores["turnover"], scores["hit_rate"], scores["edge_bps"]) == (0, 0.0, None, None)


def test_positions_are_held_over_a_gap_to_the_first_open_after_it() -> None:
    opens = [100.0, 101.0, 102.0, 50.0, 50.0]
    bars = flat_bars(opens, [0.9] * 5, close=[101.0, 102.0, 103.0, 50.0, 50.0])
    bars = bars.with_columns(pl.Series(name, [0, 0, 0, 1, 1], pl.UInt32) for name in ("contiguous_run", "segment"))
    _, trades, ledger = read_real(bars, Direction(horizon=4))
    assert trades.row.tolist() == [0, 1, 3]  # the signal of the last bar before the gap comes too late
    assert ledger.position.tolist() == [0.0, 0.25, 0.5, 0.0, 0.25]
    assert ledger.gross == pytest.approx([0.0, 0.25 * (102 / 101 - 1), 0.5 * (50 / 102 - 1), 0.0, 0.0])
    assert ledger.turnover.tolist() == [0.0, 0.25, 0.25, 0.5, 0.25 + 0.25]


@pytest.mark.parametrize("label", [Direction(horizon=4), TripleBarrier(horizon=4)], ids=str)
def test_a_bar_that_loses_45_percent_costs_45_percent(label: Label) -> None:
    opens = [100.0] * 5 + [55.0] * 4
    bars = flat_bars(opens, [0.9] * 4 + [None] * 5, barrier=[BARRIER] * 9)
    bars = bars.with_columns(segment=pl.Series([0] * 4 + [1] * 5, dtype=pl.UInt32))  # bar 4 opens at 100, closes at 55
    _, trades, ledger = read_real(bars, label)
    assert ledger.position.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert ledger.gross == pytest.approx([*[0.0] * 4, -0.45, *[0.0] * 4])
    assert trades.held.tolist() == [4, 4, 4, 4]


def test_nobody_trades_at_the_price_of_a_filled_bar() -> None:
    opens = [100.0, 101.0, 101.0, 104.0, 105.0, 106.0]
    bars = flat_bars(opens, [0.9, None, None, None, None, None], filled=[False, True, True, False, True, False])
    market, trades, ledger = read_real(bars, Direction(horizon=3))
    assert (market.open[trades.row + 1].tolist(), trades.price.tolist()) == ([104.0], [106.0])
    assert ledger.gross == pytest.approx([0.0, (106 / 104 - 1) / 3, 0.0])
    assert read_real(bars, Direction(horizon=2))[1].row.size == 0  # its time is over before there is a price


@pytest.mark.parametrize("label", LABELS, ids=str)
def test_the_future_changes_no_position(label: Label) -> None:
    bars = made_bars(3, 60, cuts=0.0)
    changed = pl.concat([bars[:40], bars[40:].with_columns(pl.col("open", "high", "low", "close") * 3, p=pl.lit(0.9))])
    first, second = (read_real(each, label)[2].position[:40] for each in (bars, changed))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("label", [Direction(horizon=4), TripleBarrier(k=1.5, horizon=5)], ids=str)
@pytest.mark.parametrize("p", [0.1, 0.9, None])
def test_a_martingale_pays_no_position(label: Label, p: float | None) -> None:
    random = np.random.default_rng(1)
    edges = []
    for seed in range(40):
        bars = made_bars(seed, 2_000, cuts=0.01)
        price = np.exp(np.concatenate(([0.0], (0.02 * random.standard_normal(8_000) - 0.0002).cumsum())))
        path = np.lib.stride_tricks.sliding_window_view(price, 5)[::4]
        martingale = {"open": path[:, 0], "close": path[:, 4], "high": path.max(axis=1), "low": path.min(axis=1)}
        signals = pl.Series(random.uniform(size=2_000) if p is None else np.full(2_000, p))
        bars = bars.with_columns(**{name: pl.Series(values) for name, values in martingale.items()}, p=signals)
        bars = bars.with_columns(barrier=pl.lit(0.06))
        scores = trading_scores(bars, label=label, timeframe="1m", cost_bps=0.0)
        assert scores["gross_return"] is not None
        edges.append(scores["gross_return"])
    assert abs(np.mean(edges)) < 3 * np.std(edges) / math.sqrt(40)


def test_costs_are_paid_on_what_changes_hands() -> None:
    bars, label = made_bars(5, 500), Direction(horizon=4)
    free, dear = (trading_scores(bars, label=label, timeframe="1m", cost_bps=cost) for cost in (0.0, 7.0))
    assert free["net_return"] == pytest.approx(free["gross_return"])
    assert dear["net_return"] == pytest.approx(dear["gross_return"] - 7e-4 * dear["turnover"])  # type: ignore[operator]
    for name in ("gross_return", "turnover", "edge_bps", "hit_rate"):
        assert dear[name] == free[name]


@pytest.mark.parametrize("cuts", [0.0, 0.05])
def test_several_series_share_the_capital_and_their_order_does_not_matter(cuts: float) -> None:
    bars = [made_bars(seed, 300, cuts=cuts).with_columns(series=pl.lit(f"x/{seed}")) for seed in (1, 2)]
    label = Direction(horizon=4)
    require_disjoint = [trading_scores(each, label=label, timeframe="1m", cost_bps=5.0) for each in bars]
    both = pl.concat(bars)
    together = trading_scores(both, label=label, timeframe="1m", cost_bps=5.0)
    assert together == trading_scores(
        both.sample(fraction=1, shuffle=True, seed=3), label=label, timeframe="1m", cost_bps=5.0
    )
    for name in ("gross_return", "net_return", "turnover"):
        assert together[name] == pytest.approx((require_disjoint[0][name] + require_disjoint[1][name]) / 2)  # type: ignore[operator]
    assert together["signals"] == require_disjoint[0]["signals"] + require_disjoint[1]["signals"]  # type: ignore[operator]
    assert together["days"] == require_disjoint[0]["days"]


@pytest.mark.parametrize(("days", "known"), [(59, False), (60, True)])
def test_sharpe_wants_sixty_days(days: int, *, known: bool) -> None:
    bars = made_bars(2, 24 * days, step_us=3_600_000_000)
    scores = trading_scores(bars, label=Direction(horizon=4), timeframe="1h", cost_bps=1.0, versions_scored=3)
    assert scores["days"] == days
    for name in ("sharpe", "sharpe_low", "sharpe_high", "probabilistic_sharpe", "deflated_sharpe"):
        assert (scores[name] is not None) is known
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


@pytest.mark.parametrize("week", [7, 5])
def test_sharpe_is_that_of_daily_net_returns(week: int) -> None:
    days, label = 98, Direction(horizon=4)
    bars = made_bars(2, 24 * days, step_us=3_600_000_000).filter(pl.col("timestamp").dt.weekday() <= week)
    told = statement(bars, label)
    net = np.array(told.gross) - 1e-4 * np.array(told.turnover)
    daily = net.reshape(-1, 24).sum(axis=1)
    years = (days - (7 - week)) / 365.25  # it begins on a Monday and ends on the last day of trading
    scores = trading_scores(bars, label=label, timeframe="1h", cost_bps=1.0, versions_scored=3)
    assert scores["sharpe"] == pytest.approx(daily.mean() / daily.std(ddof=1) * math.sqrt(len(daily) / years))
    assert scores["bars_a_year"] == pytest.approx(bars.height / years)
    assert scores["max_drawdown"] == pytest.approx(drawdown(np.cumsum(net)).max())
    assert scores["sharpe_low"] < scores["sharpe"] < scores["sharpe_high"]  # type: ignore[operator]
    assert scores["deflated_sharpe"] < scores["probabilistic_sharpe"]  # type: ignore[operator]


@pytest.mark.parametrize(("days", "week", "periods"), [(98, 7, 33), (98, 5, 35), (36, 7, 36), (1, 7, 1), (37, 7, 19)])
def test_returns_over_time_are_those_of_the_statement_by_period(days: int, week: int, periods: int) -> None:
    label = Direction(horizon=4)
    bars = made_bars(2, 24 * days, step_us=3_600_000_000).filter(pl.col("timestamp").dt.weekday() <= week)
    told = statement(bars, label)
    net = pl.Series(told.gross) - 1e-4 * pl.Series(told.turnover)
    by_day = bars.select(day=pl.col("timestamp").dt.date(), net=net).group_by("day", maintain_order=True).sum()
    each = math.ceil(by_day.height / 36)
    books = keep_books(bars, label=label, timeframe="1h", cost_bps=1.0)
    found = daily_returns(books)
    parts = [by_day[first : first + each] for first in range(0, by_day.height, each)]
    assert found["dates"] == [part["day"][0].isoformat() for part in parts]
    assert found["net"] == pytest.approx([part["net"].sum() for part in parts], abs=5.1e-7)
    assert len(found["net"]) == len(found["base_net"]) == periods
    scores = score_books(books, versions_scored=1)
    for name, total in (("net", scores["net_return"]), ("base_net", scores["base_net_return"])):
        assert sum(found[name]) == pytest.approx(total * books.years, abs=36 * 5e-7)  # type: ignore[operator]


def test_the_book_of_the_base_rate_stands_beside_it() -> None:
    """The same bars, costs and rules, whenever there is a p, on the side of the base rate: here, below one half."""
    bars, label = made_bars(2, 24 * 90, step_us=3_600_000_000, missing=0.1), Direction(horizon=4)
    scores = trading_scores(bars, label=label, timeframe="1h", cost_bps=1.0)
    always = bars.with_columns(p=pl.when(pl.col("p").is_not_null()).then(0.1))
    base = trading_scores(always, label=label, timeframe="1h", cost_bps=1.0)
    assert (scores["base_net_return"], scores["base_sharpe"]) == (base["net_return"], base["sharpe"])
    for name in ("sharpe", "base_sharpe", "sharpe_difference", "sharpe_difference_low", "sharpe_difference_high"):
        assert scores[name] is not None
    assert scores["sharpe_difference"] == pytest.approx(scores["sharpe"] - scores["base_sharpe"], rel=0.01)  # type: ignore[operator]
    assert scores["sharpe_difference_low"] < scores["sharpe_difference"] < scores["sharpe_difference_high"]  # type: ignore[operator]
    assert 0 < scores["sharpe_difference_p"] <= 1  # type: ignore[operator]
    assert base["sharpe_difference"] is None  # it is the same book


def test_half_a_chance_as_base_rate_trades_on_nothing() -> None:
    bars = made_bars(2, 24 * 90, step_us=3_600_000_000).with_columns(p_base=pl.lit(0.5))
    scores = trading_scores(bars, label=Direction(horizon=4), timeframe="1h", cost_bps=1.0)
    assert (scores["base_net_return"], scores["base_sharpe"], scores["sharpe_difference"]) == (0.0, None, None)


def test_p_that_is_shrunk_to_the_base_rate_is_no_signal() -> None:
    base = np.random.default_rng(1).uniform(0.3, 0.7, 1_000)
    p = shrink(np.random.default_rng(2).uniform(size=1_000), base, 0.0)
    assert not signals(pl.DataFrame({"p": p, "p_base": base})).any()
    assert signals(pl.DataFrame({"p": [0.5, 0.55, None, 0.45], "p_base": [0.5] * 4})).tolist() == [0, 1, 0, -1]


def test_a_version_that_never_trades_has_no_sharpe() -> None:
    bars = made_bars(2, 24 * 70, step_us=3_600_000_000).with_columns(p=pl.lit(BASE))
    scores = trading_scores(bars, label=Direction(), timeframe="1h", cost_bps=1.0)
    assert (scores["sharpe"], scores["signals"], scores["net_return"], scores["max_drawdown"]) == (None, 0, 0.0, 0.0)


@pytest.mark.parametrize(("sharpe", "periods", "error"), [(0.5, 12, 0.306), (1.0, 24, 0.250), (3.0, 500, 0.105)])
def test_standard_error_of_normal_returns_is_that_of_lo(sharpe: float, periods: int, error: float) -> None:
    """Lo (2002), table 1, which divides by the number of returns."""
    assert sharpe_error(sharpe, days=periods + 1, skew=0.0, kurtosis=3.0) == pytest.approx(error, abs=5e-4)


def test_probabilistic_sharpe_of_the_published_example() -> None:
    """Bailey and López de Prado (2012): 24 months, Sharpe ratio .458 a month; .982 if they were normal, .913 as is."""
    for skew, kurtosis, probability in ((0.0, 3.0, 0.982), (-2.448, 10.164, 0.913)):
        error = sharpe_error(0.458, days=24, skew=skew, kurtosis=kurtosis)
        assert probabilistic_sharpe(0.458, 0.0, error=error) == pytest.approx(probability, abs=5e-4)


@pytest.mark.parametrize(
    ("trials", "skew", "kurtosis", "deflated"),
    [(100, -3.0, 10.0, 0.9004), (46, -3.0, 10.0, 0.9505), (88, 0.0, 3.0, 0.9505)],
)
def test_deflated_sharpe_of_the_published_example(trials: int, skew: float, kurtosis: float, deflated: float) -> None:
    """Bailey and López de Prado (2014): 2.5 a year over 1250 days, the trials' variance 1/2 a year, 250 days a year."""
    benchmark = expected_best_sharpe(trials, variance=0.5 / 250)
    sharpe = 2.5 / math.sqrt(250)
    error = sharpe_error(sharpe, days=1250, skew=skew, kurtosis=kurtosis)
    assert probabilistic_sharpe(sharpe, benchmark, error=error) == pytest.approx(deflated, abs=5e-5)


def test_the_best_sharpe_to_expect_of_the_published_example() -> None:
    assert expected_best_sharpe(100, variance=0.5 / 250) == pytest.approx(0.1132, abs=5e-5)


def test_the_best_of_many_is_what_many_draws_give() -> None:
    random = np.random.default_rng(0)
    drawn = random.standard_normal((4_000, 50)).max(axis=1).mean() * 0.1
    assert expected_best_sharpe(50, variance=0.01) == pytest.approx(drawn, rel=0.02)
    assert expected_best_sharpe(1, variance=0.01) == 0.0


def test_scores_of_skewed_days_are_the_formulas_written_out() -> None:
    daily = 0.01 * (np.random.default_rng(3).gamma(1.0, 1.0, 80) - 0.9)
    centred, sharpe = daily - daily.mean(), daily.mean() / daily.std(ddof=1)
    variance = np.square(centred).mean()
    skew, kurtosis = (centred**3).mean() / variance**1.5, (centred**4).mean() / variance**2
    error = math.sqrt((1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2) / 79)
    best = (
        1 / math.sqrt(79) * (0.42278434 * 1.06757052 + 0.57721566 * 1.62057689)
    )  # normal quantiles of 6/7, 1 - 1/(7e)
    found = sharpe_scores(daily, days_per_year=252.0, versions_scored=7)
    year = math.sqrt(252)
    assert found == pytest.approx(
        {
            "sharpe": sharpe * year,
            "sharpe_low": (sharpe - 1.95996398 * error) * year,
            "sharpe_high": (sharpe + 1.95996398 * error) * year,
            "probabilistic_sharpe": (1 + math.erf(sharpe / error / math.sqrt(2))) / 2,
            "deflated_sharpe": (1 + math.erf((sharpe - best) / error / math.sqrt(2))) / 2,
            "expected_best_sharpe": best * year,
        },
        rel=1e-5,
    )


def test_the_interval_covers_the_true_sharpe() -> None:
    random, runs, true = np.random.default_rng(5), 400, 0.1
    missed = 0
    for _ in range(runs):
        daily = random.gamma(2.0, 1.0, 250) / math.sqrt(2)
        daily = 0.01 * (daily - math.sqrt(2) + true)
        found = sharpe_scores(daily, days_per_year=365.25, versions_scored=1)
        assert found["sharpe_low"] is not None
        assert found["sharpe_high"] is not None
        missed += not found["sharpe_low"] <= true * math.sqrt(365.25) <= found["sharpe_high"]
    assert 0.02 * runs <= missed <= 0.085 * runs


@pytest.mark.parametrize(("returns", "depth"), [([0.1, 0.2], 0.0), ([-0.1, 0.05, -0.2], 0.25), ([0.3, -0.1, 0.5], 0.1)])
def test_max_drawdown(returns: list[float], depth: float) -> None:
    assert drawdown(np.cumsum(returns)).max() == pytest.approx(depth)


@pytest.mark.parametrize("others", [3, 4, 30])
def test_versions_that_are_alike_deflate_less_than_independent_ones(others: int) -> None:
    """Their spread tells how alike they are, once it is known of five: the best of 31 is no better than it shows."""
    rng = np.random.default_rng(8)
    daily = 0.01 * rng.normal(size=(400, 1)) + 0.002 * rng.normal(size=(400, others + 1))
    sharpes = (daily.mean(axis=0) / daily.std(axis=0, ddof=1) * math.sqrt(252)).tolist()
    known, unknown = (
        sharpe_scores(daily[:, 0], days_per_year=252.0, versions_scored=31, other_sharpes=other)
        for other in (sharpes[1:], ())
    )
    assert unknown["expected_best_sharpe"] == pytest.approx(expected_best_sharpe(31, variance=252 / 399))
    if others < 4:
        assert known == unknown
        return
    spread = float(np.var(sharpes, ddof=1))
    assert known["expected_best_sharpe"] == pytest.approx(expected_best_sharpe(31, variance=spread))
    assert (known["expected_best_sharpe"] or 1) < 0.5 * (unknown["expected_best_sharpe"] or 0)
    assert (known["deflated_sharpe"] or 0) > (unknown["deflated_sharpe"] or 1)
    assert known["probabilistic_sharpe"] == unknown["probabilistic_sharpe"]
