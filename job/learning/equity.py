"""What trading earned over time, in few numbers: enough for a curve, small enough for a version's metadata."""

import math
from typing import Any, Final

import numpy as np

from job.learning.trading import DAY_US, Books, sum_at

MOST_PERIODS: Final = 36
DIGITS: Final = 6


def daily_returns(books: Books) -> dict[str, list[Any]]:
    """Return net returns by period of as many days each, but for the last, 36 periods at most, as JSON values.

    `dates` has the first day (UTC) of each period; only days with a bar count. `net` and `base_net` are shares of the
    capital, rounded to millionths; but for that they add up to what was earned in all.
    """
    day, day_of = np.unique(books.times // DAY_US, return_inverse=True)
    period = np.arange(len(day)) // math.ceil(len(day) / MOST_PERIODS)
    first = np.flatnonzero(np.diff(period, prepend=-1))
    net, base_net = (
        np.round(sum_at(period[day_of], each, len(first)), DIGITS) + 0.0  # which makes -0.0 a 0.0
        for each in (books.net, books.base_net)
    )
    return {
        "dates": day[first].astype("datetime64[D]").astype(str).tolist(),
        "net": net.tolist(),
        "base_net": base_net.tolist(),
    }
