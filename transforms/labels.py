"""Labels: what a model learns to predict. The only module that looks forward.

A label is up (1) or down (0), and is known at `label_end`, when the bar that resolved it closed. Which bars exist
after that may decide whether a row has a label, for the whole horizon must lie inside one stretch without gaps; which
prices they have cannot.
"""

import ast
import difflib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final, Literal, get_args

import numpy as np
import polars as pl

from transforms.bars import duration_us
from transforms.segments import Ints, positions
from transforms.windows import rolling_std, window_sum

Entry = Literal["close", "next_open"]
Flat = Literal["drop", "down"]

NOTES: Final = pl.Enum(["filled", "horizon", "jump", "warmup", "flat_sigma", "ambiguous", "tie", "timeout"])
"""Why a row has no label, or what is odd about the one it has.

    filled      the bar was made to fill a gap, and is no sample
    horizon     the horizon does not lie wholly inside the stretch
    jump        a jump comes before or with the bar that would resolve the label
    warmup      the segment has too few bars before for the volatility
    flat_sigma  the price did not move in the window of the volatility
    ambiguous   one bar touched both barriers
    tie         the return is within the threshold, or zero at the timeout
    timeout     no barrier was touched; the sign of the return is the label
"""


class Label(ABC):
    """What a label is made of; `apply` makes it. Implementations are frozen dataclasses with defaults for all fields.

    Attributes:
        kind: name in `LABELS`.
        version: raised whenever the same parameters give other labels.
        horizon: bars after the row within which the label is resolved.
        entry: the price that returns count from: the row's close, or the next bar's open.
    """

    kind: ClassVar[str]
    version: ClassVar[int]
    horizon: int
    entry: Entry

    def definition(self) -> dict[str, Any]:
        """Kind and parameters as JSON values; `parse_label` turns them back into an equal label."""
        return {"kind": self.kind, **vars(self)}

    def apply(self, bars: pl.DataFrame, timeframe: str) -> pl.DataFrame:
        """Add the label to bars as `transforms.bars.segment` gives them.

        Adds:
            label       Int8      1 up, 0 down, null none
            label_end   Datetime  close time of the bar that resolved the label, null where there is none
            label_note  Enum      see `NOTES`, null for a plain label
            barrier     Float64   distance of the triple barrier as a log return, else null
        """
        at = (pl.int_range(pl.len(), dtype=pl.Int64) + pl.col("steps")).clip(upper_bound=bars.height - 1)
        no_label_reason = _first_note(
            filled=pl.col("filled"),
            horizon=pl.col("stretch").ne_missing(pl.col("stretch").shift(-self.horizon)),
            jump=pl.col("segment") != pl.col("segment").gather(at),
        )
        close_time = pl.col("timestamp") + pl.duration(microseconds=duration_us(timeframe))
        resolved = bars.hstack(self._resolve(bars)).with_columns(
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
    def _resolve(self, bars: pl.DataFrame) -> pl.DataFrame:
        """Columns label, steps (to the bar that resolves the row), note and barrier, blind to what `apply` checks."""

    def _require(self, *, met: bool, what: str) -> None:
        if not met:
            raise ValueError(f"label {self.kind}: {what}")

    def _check_shared(self) -> None:
        self._require(met=self.horizon >= 1, what=f"horizon must be at least 1 bar, got {self.horizon}")
        self._require(met=self.entry in get_args(Entry), what=f"entry must be close or next_open, got {self.entry!r}")


@dataclass(frozen=True)
class Direction(Label):
    """Sign of ln(close `horizon` bars on / entry).

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
        self._check_shared()
        self._require(
            met=0 <= self.threshold < math.inf, what=f"threshold must be 0 or more and finite, got {self.threshold}"
        )
        self._require(met=self.flat in get_args(Flat), what=f"flat must be drop or down, got {self.flat!r}")

    def _resolve(self, bars: pl.DataFrame) -> pl.DataFrame:
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
        self._check_shared()
        self._require(met=0 < self.k < math.inf, what=f"k must be above 0 and finite, got {self.k}")
        self._require(met=self.window >= 2, what=f"window must be at least 2 bars, got {self.window}")

    def _resolve(self, bars: pl.DataFrame) -> pl.DataFrame:
        priced = bars.select(
            "open", "high", "low", "close", entry=self.entry_price(), barrier=self._barrier(bars)
        ).with_columns(
            upper=pl.col("entry") * pl.col("barrier").exp(), lower=pl.col("entry") * (-pl.col("barrier")).exp()
        )
        touch = first_touch(priced, self.horizon)
        at = np.minimum(np.arange(bars.height) + np.where(touch > 0, touch, self.horizon), bars.height - 1)
        reached = priced.select("entry", "upper", "lower", "barrier", pl.col("open", "high", "low", "close").gather(at))
        return reached.with_columns(touched=pl.Series(touch > 0), steps=pl.Series(at) - pl.int_range(pl.len())).select(
            *_touch_outcome(), "steps", "barrier"
        )

    def _barrier(self, bars: pl.DataFrame) -> pl.Series:
        """Distance k·sigma, null where the segment holds fewer than `window` returns up to the row."""
        returns = bars.select((pl.col("close") / pl.col("close").shift(1)).log()).to_series()
        total, squares = window_sum(returns, self.window), window_sum(returns * returns, self.window)
        warm = pl.Series(positions(bars["segment"]) >= self.window)
        barrier = self.k * rolling_std(total, squares, self.window)
        return pl.select(pl.when(warm).then(barrier)).to_series()


def first_touch(priced: pl.DataFrame, horizon: int) -> Ints:
    """Steps to the first bar that reaches either barrier, 0 where none of the next `horizon` does.

    `priced` has high, low, and each row's own barriers: upper, lower.
    """
    high, low, upper, lower = (priced[name].to_numpy() for name in ("high", "low", "upper", "lower"))
    touch = np.zeros(priced.height, dtype=np.int64)
    for step in range(min(horizon, priced.height - 1), 0, -1):
        hit = (high[step:] >= upper[:-step]) | (low[step:] <= lower[:-step])
        np.copyto(touch[:-step], step, where=hit)
    return touch


def _touch_outcome() -> tuple[pl.Expr, pl.Expr]:
    """`label` and `note` of rows whose open, high, low and close are those of the bar that resolves them."""
    touched, close, entry = pl.col("touched"), pl.col("close"), pl.col("entry")
    above, below = pl.col("high") >= pl.col("upper"), pl.col("low") <= pl.col("lower")
    inside = (pl.col("open") < pl.col("upper")) & (pl.col("open") > pl.col("lower"))
    note = _first_note(
        warmup=pl.col("barrier").is_null(),
        flat_sigma=pl.col("barrier") == 0,
        ambiguous=touched & above & below & inside,
        tie=~touched & (close == entry),
        timeout=~touched,
    )
    up = pl.when(~touched).then(close > entry).when(inside).then(above).otherwise(pl.col("open") >= pl.col("upper"))
    has_label = note.is_null() | (note == "timeout")
    return pl.when(has_label).then(up.cast(pl.Int8)).alias("label"), note.alias("note")


def _first_note(**conditions: pl.Expr) -> pl.Expr:
    """Name of the first condition that holds, null where none does."""
    return pl.coalesce(pl.when(holds).then(pl.lit(name, dtype=NOTES)) for name, holds in conditions.items())


LABELS: Final[Mapping[str, type[Direction] | type[TripleBarrier]]] = {
    kind.kind: kind for kind in (Direction, TripleBarrier)
}


def parse_label(value: Label | str | Mapping[str, Any]) -> Label:
    """Read a label from `direction(10)`, `triple_barrier(k=2)` or a mapping with `kind` and parameters.

    Raises:
        ValueError: it is neither, or names an unknown label or parameter, or a parameter has the wrong type or range.
    """
    if isinstance(value, Label):
        return value
    kind, positional, named = _from_mapping(value) if isinstance(value, Mapping) else _from_text(value)
    if kind not in LABELS:
        raise ValueError(f"unknown label {kind!r}{_nearest(kind, LABELS)}")
    label = LABELS[kind]
    defaults = {field.name: field.default for field in fields(label)}
    if len(positional) > len(defaults):
        raise ValueError(
            f"label {kind}: at most {len(defaults)} parameters ({', '.join(defaults)}), got {len(positional)}"
        )
    given = dict(zip(defaults, positional, strict=False))
    twice = sorted(given.keys() & named.keys())
    if twice:
        raise ValueError(f"label {kind}: parameter {twice[0]} is given twice")
    return label(**{name: _parameter(kind, name, number, defaults) for name, number in (given | named).items()})


def _from_mapping(value: Mapping[str, Any]) -> tuple[str, list[Any], dict[str, Any]]:
    named = {str(key): parameter for key, parameter in value.items()}
    kinds = [named.pop(key) for key in ("kind", "name", "type") if key in named]
    if len(kinds) != 1:
        raise ValueError(f"label {dict(value)}: give its kind, one of {', '.join(LABELS)}, once")
    return str(kinds[0]), [], named


def _from_text(value: object) -> tuple[str, list[Any], dict[str, Any]]:
    """Take `kind` or `kind(1, name=2)` apart; nothing in it is run."""
    problem = ValueError(f"label {value!r}: expected something like direction(10) or triple_barrier(k=1.5, horizon=15)")
    try:
        call = ast.parse(str(value).strip(), mode="eval").body
        if isinstance(call, ast.Name):
            return call.id, [], {}
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise problem
        if any(word.arg is None for word in call.keywords):
            raise problem
        named = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
        return call.func.id, [ast.literal_eval(argument) for argument in call.args], named
    except (SyntaxError, ValueError):
        raise problem from None


def _parameter(kind: str, name: str, value: object, defaults: Mapping[str, object]) -> Any:
    """Check the name of a parameter and that its value has the type of the default; whole numbers pass for decimals."""
    if name not in defaults:
        raise ValueError(f"label {kind}: unknown parameter {name!r}{_nearest(name, defaults)}")
    expected = type(defaults[name])
    if expected is float and type(value) is int:
        return float(value)
    if type(value) is not expected:
        words = {int: "a whole number", float: "a number", str: "a word"}
        raise ValueError(f"label {kind}: {name} must be {words[expected]}, got {value!r}")
    return value


def _nearest(name: str, known: Iterable[str]) -> str:
    known = tuple(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return (f"; did you mean {near[0]!r}?" if near else "") + f" (known: {', '.join(known)})"
