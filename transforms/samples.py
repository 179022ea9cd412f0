"""Samples: features and label of one series at one timeframe, one row for each bar to train on or to predict."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import polars as pl

from transforms.bars import PRICES
from transforms.clock import add_clock
from transforms.context import Beside
from transforms.features.compute import add_features, warmup_bars
from transforms.features.feature import Feature
from transforms.labels import Label
from transforms.preparing import Preparation, closed
from transforms.segments import positions
from transforms.states import STATES, judge, rows_from, rows_of

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]

UNIQUENESS: Final = "uniqueness"
"""Column that `make_samples` adds on `unique`."""
MOST_LACKING: Final = 0.1
"""Share of bars beyond which a column beside the features is left out: it would cost the model more than it tells."""
_NOTED: Final = ("tie", "timeout", "ambiguous")

MARKET: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    **dict.fromkeys(PRICES, pl.Float64),
    "filled": pl.Boolean,
    "contiguous_run": pl.UInt32,
    "segment": pl.UInt32,
    "barrier": pl.Float64,
    "complete": pl.Boolean,
}
"""Columns that `make_samples` adds on `market`."""


@dataclass(frozen=True)
class Samples:
    """Result of `make_samples`.

    `frame` has timestamp, available_at (when the bar closed), label Int8, label_end and one Float32 column per feature.
    Where the market was asked for, it has every bar at or after `start`, label null but for those of state `used`, and
    `MARKET`: open, high, low, close, filled, contiguous_run, segment, barrier, and `complete`: a real bar whose
    features are warmed up and finite, so that a model can score it, with a label or without.

    Where sequences were asked for, a bar is a sample, or `complete`, only where all bars of its sequence have features:
    as many bars before it, filled ones included, of the same segment; it counts as `warmup` otherwise. Then `frame` has
    these bars, too, also those before `start`, with `complete` and a null label: every sample's sequence is the rows
    that end with it.

    `counts`: `unfinished` and `low_coverage` of all bars given; of the bars at or after `start`: `bars` (real ones),
    `filled`, `segments`, `jumps`, and what became of the real ones: `warmup` (features not warmed up), `not_finite`,
    `no_label`, `used`. The last four add up to `bars`.

    `label_stats`: `definition`, `entry`; `tie`, `timeout`, `ambiguous`: shares of the rows with features; `filled`:
    share of all bars at or after `start`; `before_jump`: how many rows with features have no label because of a jump,
    so that log-loss knows nothing of it; `barrier_bps`: median width of the triple barrier; `uniqueness`: mean of the
    labels' uniqueness; `effective`: its sum. A number for which there are no rows is None.

    `left_out`: columns beside the features that are not in `frame`, since too many bars lack them.

    `never_finite`: where no row is used, the columns that are finite at no warm bar.
    """

    frame: pl.DataFrame
    counts: dict[str, int]
    label_stats: dict[str, Any]
    left_out: tuple[str, ...] = ()
    never_finite: tuple[str, ...] = ()


@dataclass(frozen=True)
class UnlabeledSamples:
    """Result of `make_features`: `frame` has timestamp, available_at and one Float32 column per feature.

    Where sequences were asked for, it has the bars that stand in them, too, and `complete`, as `Samples` does.
    `counts` are those of `Samples`; `no_label` is 0.
    """

    frame: pl.DataFrame
    counts: dict[str, int]


def make_samples(
    bars: pl.DataFrame,
    how: Preparation,
    *,
    features: Sequence[Feature],
    label: Label,
    start: datetime | None = None,
    market: bool = False,
    unique: bool = False,
    beside: Sequence[Beside] = (),
    sequence_bars: int = 1,
) -> Samples:
    """Turn clean bars into samples of a model's timeframe.

    Bars before `start` warm the features up and give no sample. With `market` the others are there too: prices are what
    trading is scored by, and no model sees them. With `unique` there is a column `uniqueness`, Float64, see below; null
    where a row has no label. It is counted over all labels of the series, also those after a row's own.

    What stands `beside` the features is seen by the model, too; a column of it that more than a tenth of the bars lack
    which could be samples is left out. With `sequence_bars` beyond 1 the model sees so many bars at once, the last of
    which is the sample's own.

    Raises:
        ValueError: the bars cannot become bars of that timeframe, or a feature lacks its input.
    """
    prepared, counts = how.of(bars)
    labeled = label.apply(_featured(prepared, how, features, beside, exact=False), how.timeframe)
    # Columns beside the features that too many bars lack which could be samples.
    others = [name for one in beside for name in one.names]
    given = rows_from(labeled, start)[1].select("filled", "cold", *others)
    lacking = given.filter(~pl.col("filled") & ~pl.col("cold")).select(pl.col(others).is_null().mean())
    left_out = tuple(name for name in others if (lacking[name][0] or 0) > MOST_LACKING)
    names = [name for name in _names(features, beside) if name not in left_out]
    judged = judge(labeled, names, sequence_bars, unlabeled=pl.col("label").is_null())
    seen, span = rows_from(judged, start, sequence_bars)
    shares = uniqueness(span, how.timeframe)
    counts, label_stats = counts | _counts(span), _label_stats(label, span, shares)
    never: list[str] = []
    if counts["not_finite"] and not counts["used"]:
        warm = span.filter(~pl.col("filled") & ~pl.col("cold")).select(pl.col(names).is_finite().any(ignore_nulls=True))
        never = [name for name in names if not warm[name][0]]
    columns = ("timestamp", "available_at", "label", "label_end", *names)
    if unique:
        used = np.full(seen.height, np.nan)
        used[(seen["state"] == "used").to_numpy()] = shares
        seen, columns = seen.with_columns(pl.Series(UNIQUENESS, used).fill_nan(None)), (*columns, UNIQUENESS)
    if market or sequence_bars > 1:
        known = [pl.when(pl.col("state") == "used").then(name).alias(name) for name in ("label", "label_end")]
        seen = seen.with_columns(*known)
    columns = (*columns, *(name for name in MARKET if market and name != "complete"))
    frame = rows_of(seen, how.timeframe, *columns, market=market, sequences=sequence_bars > 1)
    return Samples(frame, counts, label_stats, left_out, tuple(never))


def make_features(
    bars: pl.DataFrame,
    how: Preparation,
    *,
    features: Sequence[Feature],
    start: datetime | None = None,
    beside: Sequence[Beside] = (),
    sequence_bars: int = 1,
) -> UnlabeledSamples:
    """Turn clean bars into the features of every bar of a model's timeframe that can be predicted.

    These are the finished, valid bars past the long warm-up, so that where the bars begin makes no difference above
    1e-9; whether a label is known, or ever will be, does not matter. Bars before `start` warm the features up.

    Raises:
        ValueError: as `make_samples`.
    """
    prepared, counts = how.of(bars)
    featured = _featured(prepared, how, features, beside, exact=True)
    names = _names(features, beside)
    judged = judge(featured, names, sequence_bars, unlabeled=pl.lit(value=False))
    seen, span = rows_from(judged, start, sequence_bars)
    frame = rows_of(seen, how.timeframe, "timestamp", "available_at", *names, sequences=sequence_bars > 1)
    return UnlabeledSamples(frame, counts | _counts(span))


def _featured(
    prepared: pl.DataFrame, how: Preparation, features: Sequence[Feature], beside: Sequence[Beside], *, exact: bool
) -> pl.DataFrame:
    """Add features, the columns beside them, and `cold`: whether a bar comes before the warm-up's end."""
    inputs = {column for feature in features for column in feature.inputs}
    made = add_features(add_clock(prepared, inputs, zone=how.zone, gaps=how.gaps), features)
    cold = pl.Series("cold", positions(made["segment"]) < warmup_bars(features, exact=exact))
    if not beside:
        return made.with_columns(cold)
    times = closed(prepared, how.timeframe)["available_at"]
    return made.with_columns(cold, *(column for one in beside for column in one.at(times).iter_columns()))


def _names(features: Sequence[Feature], beside: Sequence[Beside]) -> list[str]:
    return [*(feature.name for feature in features), *(name for one in beside for name in one.names)]


def _counts(span: pl.DataFrame) -> dict[str, int]:
    """Counts over rows in time order; a segment that is cut at the first row counts as one that starts there."""
    states = {name: int((span["state"] == name).sum()) for name in STATES.categories}
    cuts = {name: int(span[name][-1] - span[name][0]) if span.height else 0 for name in ("contiguous_run", "segment")}
    segments = cuts["segment"] + 1 if span.height else 0
    jumps = cuts["segment"] - cuts["contiguous_run"]
    return {"bars": span.height - states["filled"], "segments": segments, "jumps": jumps} | states


def _label_stats(label: Label, span: pl.DataFrame, unique: Floats) -> dict[str, Any]:
    judged = span["label_note"].filter(span["state"].is_in(["no_label", "used"]))
    widths = span["barrier"].filter(span["state"] == "used").drop_nulls().to_numpy()
    notes = {note: judged.eq_missing(note).mean() for note in _NOTED}
    return {
        "definition": label.definition(),
        "entry": label.entry,
        **notes,
        "filled": span["filled"].mean(),
        "before_jump": int((judged == "jump").sum()),
        "barrier_bps": 1e4 * float(np.median(widths)) if widths.size else None,
        "uniqueness": float(unique.mean()) if unique.size else None,
        "effective": float(unique.sum()),
    }


def uniqueness(span: pl.DataFrame, timeframe: str) -> Floats:
    """Mean, over the bars that a label waits for, of 1 / the number of labels that wait for the same bar.

    One value a row with state `used`. A label waits for the bars after its own up to the one that resolves it. (López
    de Prado, Advances in Financial Machine Learning, ch. 4.)
    """
    times = span["timestamp"].to_physical().to_numpy()
    first = np.flatnonzero((span["state"] == "used").to_numpy())
    closes = closed(span, timeframe)["available_at"].to_physical().to_numpy()
    last = np.searchsorted(closes, span["label_end"].to_physical().gather(first).to_numpy())
    began, ended = (np.bincount(rows + 1, minlength=times.size + 1) for rows in (first, last))
    waiting = np.cumsum(began - ended)
    shares = np.cumsum(1.0 / np.maximum(waiting, 1))
    mean: Floats = (shares[last] - shares[first]) / (last - first)
    return mean
