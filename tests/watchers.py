"""Simulated fleets that a watcher looks at each day: rows of 5m bars with labels that overlap, and what it finds.

A model's log-odds are a signal that persists, and noise of its own whose size changes over days, so that differences of
log-loss have heavy tails and hang together inside blocks. Rows are simulated once, by pieces of five days, which are
drawn again and again. Where nothing may be found, versions change places at random from piece to piece: what is
expected of their difference then is exactly zero.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Final, cast

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter
from scipy.special import expit, stdtr
from scipy.stats import false_discovery_control

from job.core.keys import Key
from job.learning.blocks import Blocks, BlockSums, block_us
from job.learning.comparison import ALPHA
from job.learning.judging import Judged, judge
from job.learning.metrics import MIN_BLOCKS, row_log_loss
from job.learning.watching import Watched

Floats = npt.NDArray[np.float64]
BAR_US: Final = 300_000_000
HORIZON: Final = 12
DAY: Final = 288
DAYS: Final = 5
"""In a piece; so many days have a whole number of blocks."""
LENGTH: Final = block_us(HORIZON, BAR_US)
BLOCKS: Final = DAYS * DAY * BAR_US // LENGTH
TIMES: Final = np.split(np.arange(DAYS * DAY, dtype=np.int64) * BAR_US, DAYS)
YEAR: Final = 365
SERIES: Final = 16
KEYS: Final = tuple(Key("simulated", f"S{number:02d}", "5m", "analyst") for number in range(SERIES))
TOGETHER: Final = 0.3
"""Share of pieces that all series of a fleet have in common."""
PERSISTENCE: Final = 20
"""Bars over which a signal, and mostly noise, hang together."""


@dataclass(frozen=True)
class World:
    """How champion and challenger differ from the base rate, and from each other, in standard deviations of log-odds.

    `skill` is that of the signal that both know, `off` if bars do not follow it. `apart` is noise of each. The
    champion's own errors, `extra`, last so many bars: they cost it extra² / 8 nats.
    """

    skill: float = 0.1
    off: bool = False
    apart: float = 0.03
    extra: float = 0.0
    lasting: int = PERSISTENCE


def persistent(random: np.random.Generator, rows: int, bars: int) -> Floats:
    """Return noise with standard deviation 1, the mean of `bars` draws."""
    sums = random.standard_normal(rows + bars).cumsum()
    noise: Floats = (sums[bars:] - sums[:-bars]) / np.sqrt(bars)
    return noise


def slow(random: np.random.Generator, rows: int) -> Floats:
    """Return sizes that change over days, of mean square 1."""
    keep = 0.5 ** (1 / DAY)
    log_size: Floats = lfilter([np.sqrt(1 - keep**2)], [1, -keep], random.standard_normal(rows + 20 * DAY))[20 * DAY :]
    sizes: Floats = np.exp(0.5 * log_size - 0.25)
    return sizes


def losses(random: np.random.Generator, world: World, rows: int) -> tuple[Floats, Floats, Floats]:
    """Return the log-loss of each row by the base rate, by the champion and by the challenger."""
    signal = persistent(random, rows + HORIZON, PERSISTENCE)
    # The sum of the next horizon's bars follows the signal as far as it lasts; a normal distribution of so small a mean
    # has log-odds of 1.6 times the mean over the standard deviation.
    ahead = sum(max(0.0, 1 - step / PERSISTENCE) for step in range(1, HORIZON + 1))
    drift = 0.0 if world.off else world.skill * np.sqrt(HORIZON) / (1.6 * ahead)
    path = (slow(random, rows + HORIZON) * (random.standard_normal(rows + HORIZON) + drift * signal)).cumsum()
    up = (path[HORIZON:] > path[:-HORIZON]).astype(np.int8)
    odds = world.skill * signal[:rows]
    own = [world.apart * slow(random, rows) * persistent(random, rows, PERSISTENCE) for _ in range(2)]
    extra = world.extra * persistent(random, rows, world.lasting)
    base = row_log_loss(up, np.full(rows, 0.5))
    return base, row_log_loss(up, expit(odds + own[0] + extra)), row_log_loss(up, expit(odds + own[1]))


@dataclass(frozen=True)
class Piece:
    """Sums of each of five days, whose blocks are numbered from 0, and the mean differences of all blocks."""

    days: tuple[tuple[BlockSums, ...], ...]
    differences: Floats

    def mirrored(self, *, skill: bool, difference: bool) -> "Piece":
        """Return it with champion and base rate, or challenger and champion, in each other's place."""
        places = (0, 1, *((3, 2) if skill else (2, 3)), 4, *((6, 5) if difference else (5, 6)))
        days = tuple(tuple(tuple(one[place] for place in places) for one in day) for day in self.days)
        return Piece(cast("tuple[tuple[BlockSums, ...], ...]", days), self.differences * (-1 if difference else 1))


@cache
def pieces(world: World, count: int = 300, seed: int = 0) -> tuple[Piece, ...]:
    """Return pieces of the history of a champion and a challenger."""
    history = np.split(np.stack(losses(np.random.default_rng(seed), world, count * DAYS * DAY)), count, axis=1)
    return tuple(
        Piece(
            tuple(
                Blocks.of(times, *rows, versions=("a", "b"), length=LENGTH).sums
                for times, rows in zip(TIMES, np.split(part, DAYS, axis=1), strict=True)
            ),
            (part[2] - part[1]).reshape(BLOCKS, -1).mean(axis=1),
        )
        for part in history
    )


@cache
def mirrored_pieces(world: World) -> tuple[Piece, ...]:
    """Return pieces of which each has its mirror images beside it: nothing differs in the mean."""
    return tuple(
        one.mirrored(skill=skill, difference=difference)
        for one in pieces(world) for skill in (False, True) for difference in (False, True)
    )  # fmt: skip


def drawn(random: np.random.Generator, pool: Sequence[Piece], days: int) -> list[list[Piece]]:
    """Return a piece for each series of a fleet, again and again until there are enough days."""
    fleet = []
    for _ in range(-(-days // DAYS)):
        chosen = random.integers(len(pool), size=1 if random.random() < TOGETHER else SERIES)
        fleet.append([pool[number] for number in np.broadcast_to(chosen, SERIES).tolist()])
    return fleet


def rounds(
    fleet: Sequence[Sequence[Piece]], names: Mapping[Key, tuple[str, str | None]], *, alpha: float = ALPHA
) -> Iterator[tuple[int, dict[Key, Judged]]]:
    """Yield number of the day and what is known, day after day; `names` are of the versions that stand by then."""
    states: dict[Key, Watched] = {}
    for day in range(DAYS * len(fleet)):
        first, past = day * DAY * BAR_US, day // DAYS * BLOCKS
        last = first + (DAY - 1) * BAR_US
        for key, one in zip(KEYS, fleet[day // DAYS], strict=True):
            sums = tuple((number + past, *rest) for number, *rest in one.days[day % DAYS])
            blocks = Blocks(*names[key], LENGTH, first, last, cast("tuple[BlockSums, ...]", sums), first, last)
            states[key] = states[key].add(blocks) if key in states else Watched.of(blocks)
        yield day + 1, judge(states, alpha=alpha)


def year_of_equals(seed: int) -> tuple[int, int, bool]:
    """Return how often challengers that are as good are promoted in a year, whenever a watcher may.

    Beside it stands how many champions, as good as their base rate, were ever said to be worse, and whether the fixed
    test would have promoted one, looked at each day.
    """
    fleet = drawn(np.random.default_rng(seed), mirrored_pieces(World()), YEAR)
    names: dict[Key, tuple[str, str | None]] = dict.fromkeys(KEYS, ("v0", "v1"))
    promoted, alarmed = 0, set()
    for _, judged in rounds(fleet, names):
        for key, one in judged.items():
            if one.standing == "decayed":
                alarmed.add(key)
            if one.verdict == "better":
                promoted += 1
                names[key] = (f"v{promoted}", f"v{promoted + 1}")
    return promoted, len(alarmed), fixed_test_promotes(fleet)


def fixed_test_promotes(fleet: Sequence[Sequence[Piece]]) -> bool:
    """Return whether the t-test over blocks, with q over the fleet, ever finds a challenger better on a daily look."""
    blocks = np.concatenate([[one.differences for one in own] for own in fleet], axis=1)
    complete = np.arange(DAY, len(fleet) * DAYS * DAY, DAY) // (LENGTH // BAR_US)
    seen = complete[complete >= MIN_BLOCKS] - 1
    mean, p = fixed_test(blocks)
    q = false_discovery_control(p[:, seen], axis=0)
    return bool(((q < ALPHA) & (mean[:, seen] < 0)).any())


def fixed_test(blocks: Floats) -> tuple[Floats, Floats]:
    """Return means, and p of t-tests, of the first block, the first two, and so on: [series, blocks]."""
    number = np.arange(1, blocks.shape[1] + 1)
    mean = blocks.cumsum(axis=1) / number
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.sqrt((np.square(blocks).cumsum(axis=1) / number - mean**2) / (number - 1))
        p: Floats = 2 * stdtr(number - 1, -np.abs(mean / error))
    return mean, p


def days_until_promoted(seed: int, *, world: World, days: int = YEAR) -> list[int]:
    """Return after how many days each challenger of a fleet is promoted; one more than there are where it never is."""
    fleet = drawn(np.random.default_rng(seed), pieces(world), days)
    names: dict[Key, tuple[str, str | None]] = dict.fromkeys(KEYS, ("a", "b"))
    found = dict.fromkeys(KEYS, days + 1)
    for day, judged in rounds(fleet, names):
        for key, one in judged.items():
            if one.verdict == "better":
                found[key], names[key] = day, ("b", None)
        if max(found.values()) <= days:
            break
    return list(found.values())


def days_until_flagged(seed: int, *, world: World, before: int = 120, days: int = YEAR) -> list[int]:
    """Return after how many days each champion of a fleet is found worse than its base rate.

    They count from when bars do not follow its signal any more. It is one more than there are where it never is found,
    0 where it was before.
    """
    random = np.random.default_rng(seed)
    fleet = drawn(random, pieces(world), before) + drawn(random, pieces(replace(world, off=True)), days)
    found = dict.fromkeys(KEYS, days + 1)
    for day, judged in rounds(fleet, dict.fromkeys(KEYS, ("a", None))):
        for key, one in judged.items():
            if one.standing == "decayed":
                found[key] = min(found[key], max(0, day - before))
        if max(found.values()) <= days:
            break
    return list(found.values())


def year_of_challengers(seed: int, *, every: int = 90) -> int:
    """Return how many challengers that are as good are promoted if each champion gets a new one all so many days."""
    fleet = drawn(np.random.default_rng(seed), mirrored_pieces(World()), YEAR)
    names: dict[Key, tuple[str, str | None]] = dict.fromkeys(KEYS, ("v0", "c0"))
    promoted = 0
    for day, judged in rounds(fleet, names):
        for key, one in judged.items():
            champion, challenger = names[key]
            if one.verdict == "better":
                promoted += 1
                champion, challenger = str(challenger), f"p{promoted}"
            if day % every == 0:
                challenger = f"c{day // every}"
            names[key] = champion, challenger
    return promoted
