"""The audit of features on the bars of a run: those of users' modules, which this release itself does not prove.

A sound feature gets a certificate. Each set of features is audited once per series and timeframe, so that a certificate
is about these bars, whatever else a worker has audited.
"""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import polars as pl

from job.config.settings import DataSettings
from job.core.entries import source_digest
from job.core.errors import AuditError, DataError
from job.core.wording import first_of, on_one_line
from job.learning.features import resolve_features, split_reference
from job.worker.context import Sampling
from job.worker.messages import SeriesInfo
from transforms.bars import duration_us
from transforms.clock import add_clock, clock_columns
from transforms.features.audit import Audited, Violation, audit
from transforms.features.combs import COMBS
from transforms.features.compute import add_features, available, warmup_bars
from transforms.features.feature import Feature

AUDITED_BARS: Final = 3_000
RUNS: Final = (2, 10)
"""How often a feature is timed, and again where it seems slow."""
ENOUGH_NS: Final = 20_000_000
"""What takes so long is not timed again."""
SLOW_NS: Final = 500.0
"""A feature that takes longer per value is named: features of this release take about 13."""
BUDGET_NS: Final = 300_000_000
EVALUATIONS: Final = 18
"""How often an audit computes every feature on bars that are cut; where that would take longer than the budget, it
takes fewer bars. Another budget of the same size is for combs."""
KEPT: Final = 16
"""Audits that a worker remembers: the tasks of a series follow each other."""

LOOKS_WHERE: Final = {
    "again": ("when it is computed again on the same bars", "draw nothing at random, and keep nothing between calls"),
    "future": ("where later bars are others", "read this bar and earlier ones only"),
    "past": (
        "where only the bars that it declares come before",
        "raise its lookback, and make averages with `exponential_average`",
    ),
    "segment": (
        "where the bars before the gap are absent",
        "make windows with `shift` and `rolling_`, and averages with `exponential_average`",
    ),
}
"""Of each rule of `transforms.features.audit`, where a value differs, and what to do about it."""

DOES: Final = {"again": "is not the same twice", "future": "looks ahead"}


@dataclass(frozen=True)
class Examined:
    """What is known of a feature on given bars: `ns_per_value` is the CPU time that one more bar takes."""

    audited: Audited
    ns_per_value: float
    first_bar: str
    last_bar: str

    def record(self) -> dict[str, Any]:
        """Return it as JSON values, what is declared beside what was measured."""
        feature, found = self.audited.feature, self.audited
        return {
            "lookback": {"declared": feature.lookback, "measured": found.lookback},
            "warmup": {"declared": feature.warmup, "measured": found.warmup},
            "scale_free": found.scale_free,
            "ns_per_value": round(self.ns_per_value),
            "bars": {"first_bar": self.first_bar, "last_bar": self.last_bar, "values": found.bars},
        }


def certificates(
    references: Iterable[str], bars: pl.DataFrame, info: SeriesInfo, data: DataSettings, *, timeframe: str, name: str
) -> dict[str, Any]:
    """Return the certificates of those features that users bring, by name; see `Examined.record`.

    Features that these bars cannot give are left out.

    Raises:
        AuditError: a feature looks ahead, or reads more than it declares; with the first bar that shows it.
        DataError: the timeframe cannot be made from these bars.
        EntryError: the module of a feature is not to be had here.
    """
    own = {column: path for path, column in map(split_reference, references) if path is not None}
    if not own:
        return {}
    sources = {path: source_digest(path) for path in own.values()}
    about = (*own.items(), *sources.items(), data.model_dump_json())
    subject = (name, timeframe, info.content(flow=True), about)
    if subject not in _EXAMINED:
        while len(_EXAMINED) >= KEPT:
            del _EXAMINED[next(iter(_EXAMINED))]
        features = resolve_features(f"{path}[{column}]" for column, path in own.items())
        sliced = bars_to_audit(bars, info, data, features, timeframe=timeframe, name=name)
        _EXAMINED[subject] = examine(features, sliced)
    examined = {one.audited.feature.name: one for one in _EXAMINED[subject]}
    refused = [in_words(one.audited.feature, why) for one in examined.values() if (why := one.audited.violation)]
    if refused:
        more = f" (and {len(refused) - 1} more features)" if len(refused) > 1 else ""
        raise AuditError(f"{name} {timeframe}: {refused[0]}{more}")
    return {
        column: {"import_path": own[column], "source_digest": sources[own[column]], "series": name, **one.record()}
        for column, one in examined.items()
    }


_EXAMINED: Final[dict[tuple[object, ...], tuple[Examined, ...]]] = {}
"""Audits of this process, the latest last."""


def in_words(feature: Feature, violation: Violation) -> str:
    """Return why a feature is refused, and what to do about it."""
    where, remedy = LOOKS_WHERE[violation.rule]
    value, other = ("none" if one is None else f"{one:.6g}" for one in (violation.value, violation.other))
    does = DOES.get(violation.rule, "reads more than it declares")
    warmup = "" if violation.rule in DOES else f", past its warm-up of {feature.warmup} bars"
    return (
        f"feature {feature.name} {does}: at the bar of {violation.time.isoformat()}{warmup}, it is {value}, and "
        f"{other} {where}: {remedy}"
    )


def notes_of(certificates: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what a user must know of features that are sound: which are slow, and which follow the level of prices."""
    notes = []
    for name, one in certificates.items():
        if one["ns_per_value"] > SLOW_NS:
            notes.append(
                f"feature {name} of {one['import_path']} is slow: {one['ns_per_value']} ns a value, where "
                f"{SLOW_NS:.0f} are many: write it with expressions of Polars"
            )
        if one["scale_free"] is False:
            notes.append(
                f"feature {name} of {one['import_path']} is not scale-free: over a long history or several series, a "
                "model learns the level of prices or volumes from it; divide it by one of them"
            )
    return notes


def bars_to_audit(
    bars: pl.DataFrame,
    info: SeriesInfo,
    data: DataSettings,
    features: Sequence[Feature],
    *,
    timeframe: str,
    name: str,
) -> pl.DataFrame:
    """Return the last bars of a timeframe as features see them, a few thousand or as many as the warm-up takes.

    Raises:
        DataError: the timeframe cannot be made from these bars.
    """
    how = info.preparation(timeframe, Sampling.of(data))
    ratio = max(1, duration_us(timeframe) // duration_us(info.timeframe))
    wanted = max(AUDITED_BARS, 3 * warmup_bars(features, exact=True))
    try:
        prepared, _ = how.of(bars.tail(wanted * ratio))
    except ValueError as error:
        raise DataError(f"{name} {timeframe}: {error}") from None
    return add_clock(prepared, clock_columns(how.gaps), zone=info.zone, gaps=how.gaps)


def examine(
    features: Sequence[Feature], bars: pl.DataFrame, known_times: Mapping[str, float] = MappingProxyType({})
) -> tuple[Examined, ...]:
    """Audit the features that these bars can give, all at once, and time those whose time is not known yet.

    Raises:
        AuditError: a feature cannot be computed.
    """
    features, _ = available(features, bars.columns)
    times = [
        known_times[feature.name]
        if feature.name in known_times
        else nanoseconds_per_value(feature, bars.tail(AUDITED_BARS))
        for feature in features
    ]
    affordable = int(BUDGET_NS / (EVALUATIONS * max(sum(times), 1.0)))
    sliced = bars.tail(max(affordable, 3 * warmup_bars(features) + 300))
    if sliced.is_empty():
        return ()
    combs = min(COMBS, max(1, int(BUDGET_NS / (sliced.height * max(sum(times), 1.0)))))
    ends = sliced["timestamp"][0].isoformat(), sliced["timestamp"][-1].isoformat()
    names = first_of(feature.name for feature in features)
    with _refused(f"one of the features {names} cannot be computed on some or on other bars"):
        audited = audit(sliced, features, combs=combs)
    return tuple(Examined(one, ns, *ends) for one, ns in zip(audited, times, strict=True))


@contextmanager
def _refused(claim: str) -> Iterator[None]:
    """Turn whatever features of users raise into an AuditError: the claim, the cause and the remedy."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - users' features may raise anything
        raise AuditError(f"{claim} ({on_one_line(error)}): mend it, or leave it out") from None


def nanoseconds_per_value(feature: Feature, bars: pl.DataFrame) -> float:
    """Return the CPU time that one more bar takes, so that what a call costs by itself does not count.

    Raises:
        AuditError: the feature cannot be computed.
    """
    few = bars.head(bars.height // 8)
    if bars.height == few.height:
        return 0.0
    best, slope = {few.height: math.inf, bars.height: math.inf}, 0.0
    for runs in RUNS:
        for frame in (few, bars):
            taken: list[int] = []
            while len(taken) < runs and sum(taken) < ENOUGH_NS:
                started = time.process_time_ns()  # unlike the clock, it does not count what other processes do
                with _refused(f"feature {feature.name} cannot be computed on {frame.height} bars"):
                    add_features(frame, [feature])
                taken.append(time.process_time_ns() - started)
            best[frame.height] = min(best[frame.height], *taken)
        slope = (best[bars.height] - best[few.height]) / (bars.height - few.height)
        if slope <= SLOW_NS:  # what seems slow may be noise, which only ever adds: it is timed again
            break
    return max(0.0, slope)
