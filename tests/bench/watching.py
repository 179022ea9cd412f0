"""[watching] A watcher that looks each day and acts whenever it may: how often it is wrong, and how long it takes.

Fleets are simulated, see `tests.watchers`. The contrast is the test that is right at one look.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np

from job.learning.comparison import ALPHA
from tests.bench.table import Table
from tests.watchers import (
    SERIES,
    YEAR,
    World,
    days_until_flagged,
    days_until_promoted,
    year_of_challengers,
    year_of_equals,
)
from tests.worlds import in_two_processes

FLEETS: Final = 300
SOME: Final = 40
FEW: Final = 10
PATIENCE: Final = 90
"""Days after which `promotion.patience_days` gives up a challenger by default."""
BETTER: Final = {
    "errors that last a bar": World(extra=0.126, lasting=1),
    "errors that last 20 bars": World(extra=0.126),
}
"""Champions whose log-odds have errors that cost .002 nats, which their challengers do not have."""
SKILLS: Final = {".005": 0.2, ".01": 0.283, ".02": 0.4}
"""Standard deviations of log-odds by what they save against the base rate, in nats."""


def measure(*, quick: bool = False) -> Table:
    """Return how often promotions and alarms are wrong, and the median of days until right ones."""
    fleets, some, few = (2, 1, 1) if quick else (FLEETS, SOME, FEW)
    run: Callable[..., list[Any]] = (lambda work, seeds: [*map(work, seeds)]) if quick else in_two_processes
    promoted, alarmed, fixed = np.array(run(year_of_equals, range(fleets))).T > 0
    again = np.array(run(year_of_challengers, range(some))) > 0
    lines = [
        share(f"challengers as good, {fleets} fleets", promoted, at_most=ALPHA),
        share("  by the test that is right at one look", fixed),
        share(f"  a new one every 90 days, {some} fleets", again, at_most=ALPHA),
        share("champions as good as their base rate", alarmed, at_most=ALPHA),
        "days until half of the models are found, of a year",
    ]
    for what, world in BETTER.items():
        lines.append(
            days(f"  challengers better by .002, {what}", run(partial(days_until_promoted, world=world), range(few)))
        )
    for gain, skill in SKILLS.items():
        world = World(skill=skill)
        lines.append(
            days(
                f"  champions whose skill of {gain} is gone", run(partial(days_until_flagged, world=world), range(few))
            )
        )
    about = f"{SERIES} series of 5m bars, horizon 12, a year of daily looks; fleets with an error, by simulation"
    return Table("watching", about, tuple(lines))


def share(what: str, wrong: Any, *, at_most: float | None = None) -> str:
    """Return the line of a share of fleets, with its target."""
    found = 100 * float(np.mean(wrong))
    target = "" if at_most is None else f"<= {100 * at_most:.1f} {'met' if found <= 100 * at_most else 'missed'}"
    return f"{what:54} {found:7.1f} %   {target}".rstrip()


def days(what: str, found: list[list[int]]) -> str:
    """Return the line of a median of days, with the shares of models that were found in a quarter and in a year."""
    every = np.concatenate(found)
    median = float(np.median(every))
    shares = (f"{100 * float((every <= most).mean()):.0f}% in {most}" for most in (PATIENCE, YEAR))
    return f"{what:54} {f'over {YEAR}' if median > YEAR else f'{median:.0f}':>9}   {', '.join(shares)}"
