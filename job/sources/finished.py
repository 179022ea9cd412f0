"""Whether the last bar of a series was over when its file was written: exchanges return the running one, too."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from transforms.bars import Cleaned, duration_us
from transforms.grids import Grid


@dataclass(frozen=True)
class Written:
    """The last bar time in a file, and when the file was last changed (seconds since 1970), None if nothing says so."""

    last: datetime
    modified: float | None


def without_unfinished(
    cleaned: Cleaned, files: Sequence[Written], *, end: datetime | None
) -> tuple[Cleaned, tuple[str, ...]]:
    """Leave the last bar out unless it is known to be finished, count it as `unfinished`, and return a note on it.

    It is finished if a later one is there, good or not; if `end`, before which bars are asked for, comes before it or
    at its end at the latest, since then it is asked for by name; or if a file that may hold it was changed after its
    end. The clock is not asked, so that equal files always give equal bars.

    Args:
        cleaned: bars of a series, of which there are some.
        files: those of the series.
        end: `data.end`.
    """
    last = cleaned.bars["timestamp"].tail(1)
    begins = last[0]
    ends: datetime = Grid(duration_us(cleaned.timeframe), cleaned.offset_us, cleaned.zone).closes(last)[0]
    changed = [file.modified for file in files if file.last >= begins and file.modified is not None]
    finished = (
        (end is not None and end <= ends)
        or any(file.last >= ends for file in files)
        or max(changed, default=float("-inf")) >= ends.timestamp()
    )
    counts = {**cleaned.counts, "unfinished": int(not finished)}
    if finished:
        return replace(cleaned, counts=counts), ()
    note = (
        f"left out the last bar, {begins}, which nothing shows to be finished: no later bar, no file changed after its "
        f"end; with data.end: {ends:%Y-%m-%dT%H:%M:%SZ} it is used"
    )
    return replace(cleaned, bars=cleaned.bars.head(-1), counts=counts), (note,)
