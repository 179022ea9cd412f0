"""Labels: what a model learns to predict. The only module that looks forward.

A label is up (1) or down (0), and is known at `label_end`, when the bar that resolved it closed. Whether a row has a
label may depend on which bars exist after that, as the whole horizon must lie inside one contiguous run of bars, but
never on the prices of these bars.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, get_args

import numpy as np
import polars as pl

from transforms.bars import duration_us
from transforms.grids import Ints
from transforms.segments import positions
from transforms.windows import rolling_std, window_sum

Entry = Literal["close", "next_open"]
Flat = Literal["drop", "down"]

NOTES: Final = pl.Enum(["filled", "horizon", "jump", "warmup", "flat_sigma", "ambiguous", "tie", "timeout"])
"""Why a row has no label, or what is odd about the one it has.

    filled      the bar was made to fill a gap, and is no sample
    horizon     the horizon does not lie wholly inside one contiguous run of bars
    jump        a jump comes before or with the bar that would resolve the label
    warmup      the segment has too few bars before for the volatility
    flat_sigma  the price did not move in the window of the volatility
    ambiguous   one bar touched both barriers
    tie         the return is within the threshold, or zero at the timeout
    timeout     no barrier was touched; the sign of the return is the label
"""


class Label(ABC):
    """Definition of a label; `apply` adds the label to bars.

    An implementation is a frozen dataclass whose fields are the label's parameters, all of them JSON values, and whose
    `resolve` returns the label of each row.

    Attributes:
        kind: name in `LABELS`; by default, for a class that is defined elsewhere, its import path.
        version: raised whenever the same parameters give other labels.
        horizon: bars after the row within which the label is resolved.
        entry: the price that returns count from: the row's close, or the next bar's open.
    """

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    horizon: int
    entry: Entry = "close"

    def __init_subclass__(cls) -> None:
        if "kind" not in vars(cls):
            cls.kind = f"{cls.__module__}:{cls.__qualname__}"

    def definition(self) -> dict[str, Any]:
        """Return kind and parameters as JSON values, from which an equal label can be made."""
        return {"kind": self.kind, **vars(self)}

    def apply(self, bars: pl.DataFrame, timeframe: str) -> pl.DataFrame:
        """Add the label to bars as `transforms.bars.segment` gives them.

        Adds:
            label       Int8      1 up, 0 down, null none
            label_end   Datetime  close time of the bar that resolved the label, null where there is none
            label_note  Enum      see `NOTES`, null for a plain label
            barrier     Float64   distance of the triple barrier as a log return, else null
        """
        # Steps of the last rows may point past the end: the clip keeps `gather` inside, and the note `horizon` drops
        # these rows.
        at = (pl.int_range(pl.len(), dtype=pl.Int64) + pl.col("steps")).clip(upper_bound=bars.height - 1)
        no_label_reason = _first_note(
            filled=pl.col("filled"),
            horizon=pl.col("contiguous_run").ne_missing(pl.col("contiguous_run").shift(-self.horizon)),
            jump=pl.col("segment") != pl.col("segment").gather(at),
        )
        after = pl.col("timestamp") + pl.duration(microseconds=duration_us(timeframe))
        close_time = pl.col("available_at") if "available_at" in bars.columns else after
        resolved = bars.hstack(self.resolve(bars)).with_columns(
            no_label_reason=no_label_reason, label_end=close_time.gather(at)
        )
        clear = pl.col("no_label_reason").is_null()
        return resolved.select(
            *bars.columns,
            label=pl.when(clear).then("label"),
            label_end=pl.when(clear & pl.col("label").is_not_null()).then("label_end"),
            label_note=pl.coalesce("no_label_reason", "note"),
            barrier="barrier",
        )

    def entry_price(self) -> pl.Expr:
        """Price that returns count from."""
        return pl.col("close") if self.entry == "close" else pl.col("open").shift(-1)

    @abstractmethod
    def resolve(self, bars: pl.DataFrame) -> pl.DataFrame:
        """Return one row for each bar, as if all bars lay in one segment: `apply` drops labels whose horizon is cut.

        Columns:
            label    Int8     1 up, 0 down, null none
            steps    Int64    from 1 to `horizon`, to the bar that resolves the label and whose close makes it known
            note     Enum     one of `NOTES` or null
            barrier  Float64  distance of the barriers as a log return, or null
        """

    def check(self) -> None:
        """Raise ValueError where horizon or entry is out of range."""
        self.require(met=self.horizon >= 1, what=f"horizon must be at least 1 bar, got {self.horizon}")
        self.require(met=self.entry in get_args(Entry), what=f"entry must be close or next_open, got {self.entry!r}")

    def require(self, *, met: bool, what: str) -> None:
        """Raise ValueError where a parameter is out of range."""
        if not met:
            raise ValueError(f"label {self.kind}: {what}")


@dataclass(frozen=True)
class Direction(Label):
    """Sign of ln(close `horizon` bars later / entry).

    A return within ±`threshold` has no label (`flat="drop"`), or counts as down, which shows skill where there is none
    (`flat="down"`).
    """

    kind: ClassVar[str] = "direction"
    version: ClassVar[int] = 1
    horizon: int = 10
    threshold: float = 0.0
    flat: Flat = "drop"
    entry: Entry = "close"

    def __post_init__(self) -> None:
        self.check()
        self.require(
            met=0 <= self.threshold < math.inf, what=f"threshold must be 0 or more and finite, got {self.threshold}"
        )
        self.require(met=self.flat in get_args(Flat), what=f"flat must be drop or down, got {self.flat!r}")

    def resolve(self, bars: pl.DataFrame) -> pl.DataFrame:
        """Resolve every row with the bar `horizon` bars on."""
        flat_label = pl.lit(0 if self.flat == "down" else None, dtype=pl.Int8)
        flat = pl.col("move").abs() <= self.threshold
        moved = bars.select(move=(pl.col("close").shift(-self.horizon) / self.entry_price()).log())
        return moved.select(
            label=pl.when(flat).then(flat_label).otherwise((pl.col("move") > 0).cast(pl.Int8)),
            steps=pl.lit(self.horizon, dtype=pl.Int64),
            note=_first_note(tie=flat),
            barrier=pl.lit(None, dtype=pl.Float64),
        )


@dataclass(frozen=True)
class TripleBarrier(Label):
    """Which of entry · exp(±k·sigma) the price touches first in the next `horizon` bars.

    Sigma is the standard deviation (ddof 1) of the last `window` one-bar log returns up to the row. A bar that opens
    beyond a barrier touches that one only; one that reaches both from between them gives no label. After `horizon`
    bars without a touch the sign of the return decides. (López de Prado, Advances in Financial Machine Learning,
    ch. 3, with two classes.)
    """

    kind: ClassVar[str] = "triple_barrier"
    version: ClassVar[int] = 1
    k: float = 1.5
    window: int = 20
    horizon: int = 15
    entry: Entry = "close"

    def __post_init__(self) -> None:
        self.check()
        self.require(met=0 < self.k < math.inf, what=f"k must be above 0 and finite, got {self.k}")
        self.require(met=self.window >= 2, what=f"window must be at least 2 bars, got {self.window}")

    def resolve(self, bars: pl.DataFrame) -> pl.DataFrame:
        """Resolve every row with the first bar that touches a barrier, or with the last of the horizon."""
        returns = bars.select((pl.col("close") / pl.col("close").shift(1)).log()).to_series()
        total, squares = window_sum(returns, self.window), window_sum(returns * returns, self.window)
        # The window must lie inside the segment: its first bar has no return from a bar before.
        warm = pl.Series(positions(bars["segment"]) >= self.window)
        barrier = pl.when(warm).then(self.k * rolling_std(total, squares, self.window))
        priced = bars.select("open", "high", "low", "close", entry=self.entry_price(), barrier=barrier).with_columns(
            upper=pl.col("entry") * pl.col("barrier").exp(), lower=pl.col("entry") * (-pl.col("barrier")).exp()
        )
        touch = first_touch(priced, self.horizon)
        # Without a touch the last bar of the horizon decides, so its prices are looked at in either case.
        at = np.minimum(np.arange(bars.height) + np.where(touch > 0, touch, self.horizon), bars.height - 1)
        reached = priced.select("entry", "upper", "lower", "barrier", pl.col("open", "high", "low", "close").gather(at))
        touched, close, entry = pl.col("touched"), pl.col("close"), pl.col("entry")
        above, below = pl.col("high") >= pl.col("upper"), pl.col("low") <= pl.col("lower")
        inside = (pl.col("open") < pl.col("upper")) & (pl.col("open") > pl.col("lower"))
        # Where one bar reaches both barriers from between them, its prices do not show which came first: no label.
        note = _first_note(
            warmup=pl.col("barrier").is_null(),
            flat_sigma=pl.col("barrier") == 0,
            ambiguous=touched & above & below & inside,
            tie=~touched & (close == entry),
            timeout=~touched,
        )
        up = pl.when(~touched).then(close > entry).when(inside).then(above).otherwise(pl.col("open") >= pl.col("upper"))
        label = pl.when(note.is_null() | (note == "timeout")).then(up.cast(pl.Int8))
        return reached.with_columns(touched=pl.Series(touch > 0)).select(
            label=label, note=note, steps=pl.Series(at) - pl.int_range(pl.len()), barrier="barrier"
        )


def first_touch(priced: pl.DataFrame, horizon: int) -> Ints:
    """Return the steps to the first bar that reaches either barrier, 0 where none of the next `horizon` does.

    `priced` has high, low, and each row's own barriers: upper, lower.
    """
    high, low, upper, lower = (priced[name].to_numpy() for name in ("high", "low", "upper", "lower"))
    touch = np.zeros(priced.height, dtype=np.int64)
    # From the farthest bar to the nearest, each over all rows at once: a nearer touch overwrites a farther one.
    for step in range(min(horizon, priced.height - 1), 0, -1):
        hit = (high[step:] >= upper[:-step]) | (low[step:] <= lower[:-step])
        np.copyto(touch[:-step], step, where=hit)
    return touch


def _first_note(**conditions: pl.Expr) -> pl.Expr:
    """Return the name of the first condition that holds, null where none does."""
    return pl.coalesce(pl.when(holds).then(pl.lit(name, dtype=NOTES)) for name, holds in conditions.items())


LABELS: Final[Mapping[str, type[Label]]] = {kind.kind: kind for kind in (Direction, TripleBarrier)}
"""By kind. To add a label, add its class here."""
