"""Which of several columns of times names the start of a bar, decided by what stands in them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import polars as pl

from job.core.errors import DataError
from job.core.wording import first_of
from job.sources.times.decoding import Dates
from job.sources.times.names import BOTH_ENDS, WRITE_ENDS
from job.sources.times.values import TimeColumn, decoded, refuse_zone
from job.sources.words import normal, printable
from transforms.bars import duration_us
from transforms.grids import HOUR, Ints

Edge = Literal["open", "close"]
"""Which end of a bar its time marks."""

_MOST: Final = 0.9
"""Share of rows by which columns are judged: a few rows may be wrong, or late."""

_SHORT_OF: Final = 60_000_000
"""Microseconds by which the end of a bar may be written before it: `23:59` is the end of a day."""


@dataclass(frozen=True)
class Stamps:
    """Times of rows. `edge` is the end of a bar that they mark, `proven` if the columns show it; `notes` say how."""

    times: pl.Series
    edge: Edge = "open"
    proven: bool = False
    notes: tuple[str, ...] = ()


def choose(
    given: Mapping[str, Sequence[pl.Series]],
    *,
    timeframe: str | None,
    zone: str,
    bar_time: str,
    where: str,
    dates: Dates,
) -> Stamps:
    """Decide which column names the start of a bar, or the end, from which the start follows.

    A column whose times repeat, as days do beside a clock, or are on no grid, as those of first and last trades are,
    names no bar. Of the others, the earliest is the start of a bar if all others lie a bar later, or a moment less.
    Where all are equal, names and the times of trades say which end it is.

    Args:
        given: columns by their names in the file, the preferred one first; two are a day and a clock.
        timeframe: of the bars, where it is known.
        zone: of times that name none.
        bar_time: `data.bar_time`, which decides where nothing else does.
        where: the file, for errors.
        dates: `data.dates`.

    Raises:
        DataError: no column holds times, or nothing tells which of them names the start of a bar; or they are called
            after a zone, and `zone` is UTC.
    """
    columns = decoded(given, zone, where, dates)
    counts = [column.times.n_unique() for column in columns]
    columns = [column for column, count in zip(columns, counts, strict=True) if count >= _MOST * max(counts)]
    if all(column.zone for column in columns):
        refuse_zone(columns[0].zone, columns[0].name, zone, where)
    if len(columns) == 1:
        return _only(columns[0])
    step = duration_us(timeframe) if timeframe else None
    if step is None:  # the most common one of the column in which it is most common
        most = (0.0, 0)
        for column in columns:
            steps = np.diff(column.times.drop_nulls().unique().sort().to_physical().to_numpy())
            if steps.size:
                values, counted = np.unique(steps, return_counts=True)
                most = max(most, (float(counted.max() / steps.size), int(values[counted.argmax()])))
        step = most[1] or None
    # The share of times on one grid, on which a shift of clocks moves no bar; one zone sets its clocks by half an hour.
    grid = math.gcd(step or HOUR // 2, HOUR // 2)
    residues = [(column.times.drop_nulls().to_physical() % grid).to_numpy() for column in columns]
    steadiness = [np.unique(of, return_counts=True)[1].max(initial=0) / max(of.size, 1) for of in residues]
    steady = [column for column, share in zip(columns, steadiness, strict=True) if share >= _MOST * max(steadiness)]
    trades = [column for column in columns if column not in steady]
    steady = _one_clock(steady, step)
    if len(steady) == 1 and not trades:
        return _only(steady[0])
    return _by_order(steady, trades, step, bar_time, where)


def with_edge_of_writer(stamps: Stamps, names: Sequence[str]) -> Stamps:
    """Times as the ends of bars, where the names of all columns are those of a writer that stamps bars so."""
    if stamps.proven or stamps.edge == "close":
        return stamps
    words = {normal(name) for name in names}
    writer = next((writer for writer, columns in WRITE_ENDS.items() if columns <= words), None)
    if writer is None:
        return stamps
    note = f"times are those of the ends of bars, as {writer} writes them; set data.bar_time: open if they are not"
    return replace(stamps, edge="close", notes=(*stamps.notes, note))


def _only(column: TimeColumn) -> Stamps:
    if column.end == "end":
        note = f"times are those of {printable(column.name)!r}, by its name the end of a bar"
        return Stamps(column.times, "close", notes=(note,))
    return Stamps(column.times)


def _difference(column: TimeColumn, first: TimeColumn) -> Ints:
    """Microseconds by which a column is later than another, row by row."""
    both = pl.DataFrame({"a": column.times.to_physical(), "b": first.times.to_physical()}).drop_nulls()
    return (both["a"] - both["b"]).to_numpy()


def _share(of: Ints, low: int, high: int) -> float:
    return float(((of >= low) & (of <= high)).mean()) if of.size else 0.0


def _one_clock(columns: list[TimeColumn], step: int | None) -> list[TimeColumn]:
    """Without local times beside the same moments in UTC: those that name a zone, or whose column names UTC, count."""
    sure = [column for column in columns if column.absolute] or [
        column for column in columns if {"utc", "gmt"} & set(normal(column.name).split("_"))
    ]
    if not sure:
        return columns
    kept = []
    for column in columns:
        apart = _difference(column, sure[0])
        # What is whole quarters of an hour away, and neither equal nor a bar away, is on the clocks of another zone.
        whole = bool(apart.size) and float((apart % (HOUR // 4) == 0).mean()) >= _MOST
        a_bar_away = step is not None and _share(abs(apart), *_a_bar(step)) >= _MOST
        if column in sure or not whole or _share(apart, 0, 0) >= _MOST or a_bar_away:
            kept.append(column)
    return kept


def _a_bar(step: int) -> tuple[int, int]:
    """Bounds of what lies a bar later: days may be an hour longer or shorter."""
    slack = HOUR if step > HOUR else 0
    return step - max(min(_SHORT_OF, step // 60), slack), step + slack


def _by_order(
    steady: list[TimeColumn], trades: list[TimeColumn], step: int | None, bar_time: str, where: str
) -> Stamps:
    """Decide by the order of columns that are on a grid, then by names, then by when trades happened."""
    first = min(steady, key=lambda column: float(np.median(_difference(column, steady[0]))))
    apart = {column.name: _difference(column, first) for column in steady}
    same = [column for column in steady if _share(apart[column.name], 0, 0) >= _MOST]
    later = [column for column in steady if column not in same]
    ends = [column for column in later if step is not None and _share(apart[column.name], *_a_bar(step)) >= _MOST]
    odd = [column for column in later if column not in ends]
    says = {column.end for column in same} - {None}
    if odd and not (says == {"start"} and all(column.end != "start" for column in odd)):
        raise _undecided([same[0], *odd], where)
    if later:
        if "end" in says or any(column.end == "start" for column in ends):
            raise _undecided([*same, *ends], where)
        # The bar between columns may be the distance of two zones: one that does not say which end of a bar it is may
        # be of another where it is called local, or where one of them does not tell its zone.
        pair = [same[0], *ends]
        unsaid = [column for column in pair if column.end is None]
        zoned = all(column.absolute for column in pair) and not any("local" in normal(one.name) for one in unsaid)
        if unsaid and not zoned and step is not None and step % (HOUR // 2) == 0:
            raise _undecided(pair, where)
        if same[0] is steady[0]:  # the one that the names suggest
            return Stamps(same[0].times, "open", proven=True)
        others = first_of((repr(printable(column.name)) for column in later), 4)
        lie = "lies" if len(later) == 1 else "lie"
        note = f"bars begin at {printable(same[0].name)!r}; {others} {lie} later"
        return Stamps(same[0].times, "open", proven=True, notes=(note,))
    return _of_equal(same, trades, step, bar_time, where)


def _of_equal(same: list[TimeColumn], trades: list[TimeColumn], step: int | None, bar_time: str, where: str) -> Stamps:
    """Decide which end of a bar equal columns mark: by their names, then by when trades happened."""
    says, preferred = {column.end for column in same} - {None}, same[0]
    if says == {"start", "end"}:
        raise _undecided(same, where)
    if says == {"end"}:
        return _closing(preferred, next(column for column in same if column.end == "end"))
    edge = "open" if says else _edge_by_trades(preferred, trades, step)
    if edge == "close":
        return _closing(preferred, trades[0])
    if edge == "open" or bar_time != "auto":
        return Stamps(preferred.times, "open", proven=edge is not None)
    if {normal(column.name) for column in same} >= BOTH_ENDS:
        names = first_of((repr(printable(column.name)) for column in same), 4)
        raise DataError(
            f"{where}: {names} are equal, and may mark the start or the end of a bar; set data.bar_time: close, as "
            "Nautilus stamps bars unless told otherwise, or data.bar_time: open"
        )
    if any(column.end for column in trades):
        raise _undecided([preferred, *trades], where)
    return Stamps(preferred.times)


def _closing(column: TimeColumn, other: TimeColumn) -> Stamps:
    if column is other:
        return Stamps(column.times, "close", proven=True, notes=(f"{printable(column.name)!r} marks the end of a bar",))
    note = f"{printable(column.name)!r} marks the end of a bar, as {printable(other.name)!r} shows"
    return Stamps(column.times, "close", proven=True, notes=(note,))


def _edge_by_trades(column: TimeColumn, trades: Sequence[TimeColumn], step: int | None) -> Edge | None:
    """End of a bar that a column marks, by the first or last trades, which lie within the bar."""
    edges: set[Edge] = set()
    for trade in trades:
        if trade.end is None or step is None:
            continue
        apart = _difference(trade, column)
        before, after = _share(apart, -step, -1), _share(apart, 1, step)
        if max(before, after) >= _MOST > min(before, after) + 0.5:
            edges.add("close" if before > after else "open")
    return edges.pop() if len(edges) == 1 else None


def _undecided(columns: Sequence[TimeColumn], where: str) -> DataError:
    names = first_of((repr(printable(column.name)) for column in columns), 4)
    return DataError(
        f"{where}: the rows do not tell which of {names} is the start of a bar; set data.columns.timestamp to it, or "
        "to the end of a bar and data.bar_time: close"
    )
