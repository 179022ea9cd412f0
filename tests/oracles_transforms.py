"""Slow, obvious versions of what transforms/ does, one bar at a time, and bars to try both on."""

import hashlib
import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from transforms.bars import TIME
from transforms.labels import Direction, TripleBarrier

MINUTE = 60_000_000
Row = dict[str, Any]
Floats = np.ndarray[tuple[int], np.dtype[np.float64]]


def bars_frame(rows: Sequence[Row]) -> pl.DataFrame:
    """Make a frame of bars from rows whose `timestamp` is in microseconds."""
    numbers = {name: pl.Float64 for name in ("open", "high", "low", "close", "volume") if not rows or name in rows[0]}
    return pl.DataFrame(rows, schema={"timestamp": pl.Int64, **numbers}).with_columns(pl.col("timestamp").cast(TIME))


def bar_rows(bars: pl.DataFrame) -> list[Row]:
    return bars.with_columns(pl.col("timestamp").to_physical()).to_dicts()


def random_bars(
    seed: int,
    count: int,
    *,
    step: int = MINUTE,
    missing: float = 0.0,
    jumps: int = 0,
    tick: float = 0.0,
    volume: bool = True,
    flow: bool = False,
) -> pl.DataFrame:
    """Random-walk bars; the columns of `FLOW` are there where `flow` asks for them, and change no other.

    A share `missing` of them is left out, half of it in runs of ten; `jumps` doublings or halvings are put in; prices
    are whole multiples of `tick` where that is above 0, which makes ties and flat bars common.
    """
    rng = np.random.default_rng(seed)
    path = np.cumsum(rng.normal(0, 7e-4, (count, 4)), axis=None).reshape(count, 4)
    path += np.cumsum(
        np.where(np.isin(np.arange(count), rng.integers(0, count, jumps)), rng.choice([-0.7, 0.7], count), 0)
    )[:, None]
    price = 100 * np.exp(path)
    price = np.round(price / tick) * tick if tick else price
    columns = {"open": price[:, 0], "high": price.max(axis=1), "low": price.min(axis=1), "close": price[:, 3]}
    columns |= {"volume": np.where(rng.random(count) < 0.1, 0.0, rng.lognormal(3, 1, count))} if volume else {}
    columns |= random_flow(seed, columns) if flow else {}
    frame = pl.DataFrame({"timestamp": 1_699_999_200_000_000 // step * step + step * np.arange(count), **columns})
    lost = rng.random(count) < missing / 2
    for start in np.flatnonzero(rng.random(count) < missing / 20):
        lost[start : start + 10] = True
    return frame.with_columns(pl.col("timestamp").cast(TIME)).filter(~lost)


def random_flow(seed: int, columns: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return the columns of `FLOW` for bars: a mean price within the range, some trades wherever there is volume.

    They have a generator of their own, so that bars with and without them are the same bars.
    """
    rng = np.random.default_rng([seed, 1])
    low, high, volume = columns["low"], columns["high"], columns["volume"]
    return {
        "quote_volume": volume * (low + (high - low) * rng.random(volume.size)),
        "trades": np.where(volume > 0, 1.0 + rng.poisson(volume / 5), 0.0),
        "taker_buy_volume": volume * rng.beta(4, 4, volume.size),
    }


def golden_bars() -> pl.DataFrame:
    """Bars in whole 256ths, the same on every machine and library."""
    at = pl.int_range(600)
    close = 100 + (at * 7919 % 1009) / 256 + (at * at % 251) / 256
    frame = pl.select(timestamp=(at * MINUTE).cast(TIME), close=close, volume=(at * 31 % 17).cast(pl.Float64))
    frame = frame.with_columns(open=pl.col("close").shift(1, fill_value=100.0))
    return frame.select(
        "timestamp",
        "open",
        high=pl.max_horizontal("open", "close") + (at * 13 % 29) / 256,
        low=pl.min_horizontal("open", "close") - (at * 11 % 23) / 256,
        close="close",
        volume="volume",
    )


def digest(values: pl.Series) -> str:
    """Start of the SHA-256 of a column's values and nulls."""
    missing = values.is_null().to_numpy()
    content = values.to_physical().fill_null(0).to_numpy()
    return hashlib.sha256(missing.tobytes() + content.tobytes()).hexdigest()[:16]


def oracle_resample(rows: list[Row], source: int, step: int, offset: int, min_coverage: float) -> list[Row]:
    """Bars of `step` microseconds; `min_coverage` 0 keeps all finished ones."""
    windows: dict[int, list[Row]] = {}
    for row in rows:
        windows.setdefault((row["timestamp"] - offset) // step * step + offset, []).append(row)
    last = max(row["timestamp"] for row in rows)
    return [
        {
            "timestamp": start,
            "open": members[0]["open"],
            "high": max(row["high"] for row in members),
            "low": min(row["low"] for row in members),
            "close": members[-1]["close"],
            "volume": math.fsum(row["volume"] for row in members),
        }
        for start, members in windows.items()
        if last >= start + step - source and len(members) * source >= min_coverage * step
    ]


def oracle_segment(rows: list[Row], step: int, max_fill: int, gaps: str) -> list[Row]:
    made: list[Row] = []
    run = number = 0
    for row in rows:
        if made:
            missing = (row["timestamp"] - made[-1]["timestamp"]) // step - 1 if gaps == "segment" else 0
            close = made[-1]["close"]
            if missing > max_fill:
                run, number = run + 1, number + 1
            else:
                for _ in range(missing):
                    flat = dict.fromkeys(("open", "high", "low", "close"), close)
                    time = made[-1]["timestamp"] + step
                    made.append(
                        {
                            "timestamp": time,
                            **flat,
                            "volume": 0.0,
                            "filled": True,
                            "contiguous_run": run,
                            "segment": number,
                        }
                    )
                if abs(math.log(row["close"] / close)) > 0.5:
                    number += 1
        made.append({**row, "filled": False, "contiguous_run": run, "segment": number})
    return made


def returns(closes: Sequence[float]) -> list[float]:
    return [math.log(after / before) for before, after in itertools.pairwise(closes)]


def ema(values: Sequence[float], weight: float) -> list[float]:
    averages = [values[0]]
    for value in values[1:]:
        averages.append(averages[-1] + weight * (value - averages[-1]))
    return averages


def oracle_window(kind: str, past: list[Row], bars: int) -> float:
    """Value of a feature over the last `bars` bars at the last of `past`."""
    closes: list[float] = [row["close"] for row in past]
    if kind == "volume_ma":
        return _volume_ma(past, bars)
    return statistics.stdev(returns(closes[-bars - 1 :])) if kind == "volatility" else _ma(closes, bars)


def _volume_ma(past: list[Row], bars: int) -> float:
    mean = statistics.fmean(row["volume"] for row in past[-bars:])
    return float(past[-1]["volume"] / mean - 1) if mean else 0.0


def _ma(closes: list[float], bars: int) -> float:
    return closes[-1] / statistics.fmean(closes[-bars:]) - 1


def oracle_feature(name: str, past: list[Row]) -> float:
    """Value of a feature at the last of `past`, all bars of its segment so far."""
    closes: list[float] = [row["close"] for row in past]
    table: dict[str, Callable[[], float]] = {
        **{
            f"change_{bars}": partial(lambda bars: closes[-1] / closes[-1 - bars] - 1, bars)
            for bars in (1, 2, 3, 5, 10)
        },
        "high_low": lambda: float(past[-1]["high"] / past[-1]["low"] - 1),
        "open_close": lambda: float(past[-1]["open"] / past[-1]["close"] - 1),
        **{
            f"{kind}_{bars}": partial(oracle_window, kind, past, bars)
            for kind in ("close_ma", "volatility", "volume_ma")
            for bars in (5, 10, 20)
        },
        "rsi_14": lambda: _oracle_rsi(closes, 14),
        **{name: partial(_oracle_macd, name, closes) for name in ("macd", "macd_signal", "macd_histogram")},
    }
    return table[name]()


def _oracle_rsi(closes: Sequence[float], bars: int) -> float:
    steps = [after - before for before, after in itertools.pairwise(closes)]
    up = ema([max(step, 0.0) for step in steps], 1 / bars)[-1]
    down = ema([max(-step, 0.0) for step in steps], 1 / bars)[-1]
    return 100 * up / (up + down) if up + down else 50.0


def _oracle_macd(name: str, closes: Sequence[float]) -> float:
    line = [fast - slow for fast, slow in zip(ema(closes, 2 / 13), ema(closes, 2 / 27), strict=True)]
    average = ema(line, 2 / 10)[-1]
    value = {"macd": line[-1], "macd_signal": average, "macd_histogram": line[-1] - average}[name]
    return value / closes[-1]


Verdict = tuple[int | None, str | None, int]
"""Label, note, and the row that resolves it."""


def oracle_label(rows: list[Row], at: int, label: Direction | TripleBarrier, step: int) -> Row:
    """`label`, `label_end` in microseconds and `label_note` of row `at`."""
    nothing: Row = {"label": None, "label_end": None}
    last = at + label.horizon
    if rows[at]["filled"]:
        return {**nothing, "label_note": "filled"}
    if last >= len(rows) or rows[last]["contiguous_run"] != rows[at]["contiguous_run"]:
        return {**nothing, "label_note": "horizon"}
    ahead = rows[at + 1 : last + 1]
    entry = rows[at]["close"] if label.entry == "close" else ahead[0]["open"]
    if isinstance(label, Direction):
        value, note, end = _direction(entry, ahead, label)
    else:
        past = [
            row["close"] for row in rows[max(at - label.window, 0) : at + 1] if row["segment"] == rows[at]["segment"]
        ]
        value, note, end = _triple_barrier(entry, ahead, past, label)
    if ahead[end]["segment"] != rows[at]["segment"]:
        return {**nothing, "label_note": "jump"}
    return {"label": value, "label_end": None if value is None else ahead[end]["timestamp"] + step, "label_note": note}


def _direction(entry: float, ahead: list[Row], label: Direction) -> Verdict:
    move, end = math.log(ahead[-1]["close"] / entry), len(ahead) - 1
    if abs(move) <= label.threshold:
        return (0 if label.flat == "down" else None), "tie", end
    return int(move > 0), None, end


def _triple_barrier(entry: float, ahead: list[Row], past: list[float], label: TripleBarrier) -> Verdict:
    sigma = statistics.stdev(returns(past)) if len(past) > label.window else None
    if sigma is None:
        return None, "warmup", len(ahead) - 1
    if sigma == 0:
        return None, "flat_sigma", 0  # whatever the next bar does, it reaches a barrier at the entry
    upper, lower = entry * math.exp(label.k * sigma), entry * math.exp(-label.k * sigma)
    for end, bar in enumerate(ahead):
        if bar["high"] >= upper or bar["low"] <= lower:
            return *_touched(bar, upper, lower), end
    close = ahead[-1]["close"]
    return (None, "tie", len(ahead) - 1) if close == entry else (int(close > entry), "timeout", len(ahead) - 1)


def _touched(bar: Row, upper: float, lower: float) -> tuple[int | None, str | None]:
    if bar["open"] >= upper or bar["open"] <= lower:
        return int(bar["open"] >= upper), None
    if bar["high"] >= upper and bar["low"] <= lower:
        return None, "ambiguous"
    return int(bar["high"] >= upper), None


def oracle_uniqueness(spans: Sequence[tuple[int, int]]) -> list[float]:
    """Mean over a label's bars, `first + 1` to `last`, of 1 / the number of labels that cover the bar."""
    covered = [sum(first < bar <= last for first, last in spans) for bar in range(max(last for _, last in spans) + 1)]
    return [statistics.fmean(1 / covered[bar] for bar in range(first + 1, last + 1)) for first, last in spans]
