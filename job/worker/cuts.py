"""Where a series can be cut in time and in files at once, so that what comes later can be read alone."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

import polars as pl

from job.sources.known import SHORT, Cut, HashSums, listed_digest
from job.sources.series import SourceFile
from transforms.bars import PRICES, RULES, Cleaned, Duplicates
from transforms.digest import content_digest

ROWS_BEFORE: Final = 8
"""Distinct times that the later files hold before a cut: the rules of cleaning look at three closes on each side."""
RULED: Final = ("timestamp", *PRICES, "volume")
"""Columns by which rows are the same."""
LOOKED_AT: Final = 256
"""Earliest rows of the later files among which these times must be."""


def possible_cuts(rows: pl.DataFrame, heights: Sequence[int], files: Sequence[SourceFile], known: int = 0) -> list[Cut]:
    """Return cuts before the last 1, 2, 4, 8 … files, deepest first; they lack counts and hashes.

    Args:
        rows: of the last files, not cleaned, one file after the other.
        heights: rows of each of them.
        files: all files of the series.
        known: how many of them come before those whose rows are given.
    """
    last, first = [size for size in (2**power for power in range(20)) if size < len(heights)], []
    for size in reversed(last):
        count = len(heights) - size
        times = rows["timestamp"]
        row = sum(heights[:count])
        reached = times[:row].max()
        if not isinstance(reached, datetime):
            continue
        later = times[row:]
        distinct = later.filter(later > reached).bottom_k(LOOKED_AT).unique().sort()
        if distinct.len() <= ROWS_BEFORE:
            continue
        start, place = distinct[ROWS_BEFORE], known + count
        first.append(
            Cut(place, listed_digest(files[:place]), start, head_digest(rows[row:], start), times[row - 1], {})
        )
    return first


def head_digest(rows: pl.DataFrame, start: datetime) -> str:
    """Return the digest of the rows before a cut, and of those without a time, in the order of the files."""
    head = rows.filter((pl.col("timestamp") < start) | pl.col("timestamp").is_null())
    return content_digest(head)[:SHORT]


def counted_since(cut: Cut, rows: pl.DataFrame, cleaned: Cleaned, duplicates: Duplicates) -> dict[str, int]:
    """Return the counts of `transforms.bars.Cleaned` for the rows from a cut on, which are the later files' alone.

    `out_of_order` is of all rows of these files.

    Args:
        cut: of the series.
        rows: of the files behind the cut, not cleaned.
        cleaned: bars from the cut on, all others or not.
        duplicates: `data.duplicates`.
    """
    later = rows.filter(pl.col("timestamp") >= cut.start)
    rejected = cleaned.rejected.filter(pl.col("timestamp") >= cut.start)["rule"]
    by_rule = {rule.name: int((rejected == rule.name).sum()) for rule in RULES}
    kept = int((cleaned.bars["timestamp"] >= cut.start).sum()) + cleaned.counts.get("unfinished", 0)
    distinct = chosen = kept + rejected.len()
    if duplicates != "reject":
        distinct = later.select(name for name in later.columns if name in RULED).n_unique()
    order = pl.concat([pl.Series("timestamp", [cut.before], dtype=rows["timestamp"].dtype), rows["timestamp"]])
    counts = {"rows_read": later.height, "duplicate": later.height - distinct, **by_rule}
    if duplicates != "reject":
        counts["superseded"] = distinct - chosen
    return counts | {"rows_kept": kept, "out_of_order": int((order.to_physical().diff() < 0).sum())}


def with_counts(
    cuts: Sequence[Cut],
    rows: pl.DataFrame,
    heights: Sequence[int],
    cleaned: Cleaned,
    *,
    duplicates: Duplicates,
    known: int = 0,
) -> list[Cut]:
    """Return the cuts with the counts of what comes before them, of those in `cleaned`; see `possible_cuts`."""
    counted = []
    for cut in cuts:
        behind = rows[sum(heights[: cut.files - known]) :]
        since = counted_since(cut, behind, cleaned, duplicates)
        before = {name: cleaned.counts[name] - count for name, count in since.items()}
        counted.append(replace(cut, counts={name: count for name, count in before.items() if count}))
    return counted


def with_hashes(cuts: Sequence[Cut], sums: HashSums, last: datetime) -> tuple[Cut, ...]:
    """Return those cuts that come before the `last` bar, with the sums of the bars between them."""
    kept = [cut for cut in cuts if cut.start <= last]
    ends = [*(cut.start for cut in kept[1:]), None][: len(kept)]
    return tuple(replace(cut, hashes=sums(cut.start, end)) for cut, end in zip(kept, ends, strict=True))


def thinned(cuts: Sequence[Cut], files: int) -> tuple[Cut, ...]:
    """Return one of the cuts before the last 1, 2 to 3, 4 to 7 … of `files` files: the deepest of each."""
    kept: list[Cut] = []
    for cut in cuts:
        if kept and (files - kept[-1].files).bit_length() == (files - cut.files).bit_length():
            kept[-1] = replace(kept[-1], hashes=(kept[-1].hashes + cut.hashes) % 2**64)
        else:
            kept.append(cut)
    return tuple(kept)
