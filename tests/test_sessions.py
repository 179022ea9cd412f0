"""Sessions: which markets have some, which gaps are closing times, and that markets without are what they were."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from job.config.settings import load_config
from job.core.errors import RegistryError
from job.registry.definition import Definition, describe_sampling
from job.registry.fingerprints import Recipe, bare_digest, digest_for, mark_sessions
from job.sources.series import Series
from job.worker.load_bars import in_range, sessions_of
from job.worker.messages import SeriesInfo
from transforms.bars import TIME, Gaps, clean, duration_us
from transforms.grids import DAY, HOUR, Grid, grid_of
from transforms.labels import Direction
from transforms.preparing import Preparation
from transforms.resampling import resample
from transforms.samples import make_samples
from transforms.segments import segment
from transforms.sessions import MINUTE, Sessions, find_sessions, no_sessions_until, opening_hours

MONDAY = date(2024, 1, 1)
Days = Callable[[date], bool]


def weekday(day: date) -> bool:
    return day.weekday() < 5


def opened(
    zone: str, spans: list[tuple[str, str]], *, step: str, days: int, trades: Days = weekday, first: date = MONDAY
) -> pl.Series:
    """Return the times of all bars of a market that is open in these spans of its days, on its own clocks."""
    width, tz, found = timedelta(microseconds=duration_us(step)), ZoneInfo(zone), []
    for day in (first + timedelta(days=number) for number in range(days)):
        for start, end in spans if trades(day) else []:
            at = datetime.combine(day, time.fromisoformat(start), tz).astimezone(UTC)
            over = datetime.combine(day, time.fromisoformat(end), tz).astimezone(UTC)
            while at < over:
                found.append(at)
                at += width
    return pl.Series("timestamp", found, dtype=TIME)


def currencies(*, days: int, step: str = "1h") -> pl.Series:
    """Return the times of bars from Sunday to Friday, 17:00 in New York."""
    first = opened("UTC", [("00:00", "23:59:59")], step=step, days=days, trades=lambda _: True)
    local = first.dt.convert_time_zone("America/New_York")
    hours = local.dt.weekday().cast(pl.Int64) * 24 + local.dt.hour().cast(pl.Int64)  # Monday is day 1
    return first.filter((hours < 5 * 24 + 17) | (hours >= 7 * 24 + 17))


def bars_at(times: pl.Series, *, seed: int = 0) -> pl.DataFrame:
    """Return bars of a random walk at these times."""
    close = 100 * np.exp(np.random.default_rng(seed).normal(0, 1e-3, times.len()).cumsum())
    first = pl.DataFrame({"timestamp": times, "open": close, "close": close, "volume": np.ones(times.len())})
    return first.with_columns(high=pl.col("close") * 1.001, low=pl.col("close") * 0.999).select(
        "timestamp", "open", "high", "low", "close", "volume"
    )


def sessions_at(times: pl.Series, step: str) -> Sessions | None:
    return find_sessions(times.to_physical().to_numpy(), duration_us(step))


MARKETS: dict[str, tuple[pl.Series, str, str]] = {
    "New York, a year": (
        opened("America/New_York", [("09:30", "16:00")], step="5m", days=364), "5m", "09:30-16:00 America/New_York",
    ),
    "New York, a week": (opened("UTC", [("14:30", "21:00")], step="1m", days=5), "1m", "14:30-21:00 UTC"),
    "New York, hours from the half": (
        opened("America/New_York", [("09:30", "16:00")], step="1h", days=364), "1h", "09:00-16:00 America/New_York",
    ),
    "Frankfurt": (
        opened("Europe/Berlin", [("09:00", "17:30")], step="15m", days=364), "15m", "08:00-16:30 Europe/London",
    ),
    "Sydney": (
        opened("Australia/Sydney", [("10:00", "16:00")], step="15m", days=364), "15m", "10:00-16:00 Australia/Sydney",
    ),
    "Tokyo, with lunch": (
        opened("Asia/Tokyo", [("09:00", "11:30"), ("12:30", "15:00")], step="1m", days=35), "1m",
        "00:00-02:30, 03:30-06:00 UTC",
    ),
    "futures, an hour a day": (
        opened("America/Chicago", [("00:00", "16:00"), ("17:00", "23:59:59")], step="5m", days=364), "5m",
        "00:00-17:00, 18:00-24:00 America/New_York",
    ),
    "extended hours": (
        opened("America/New_York", [("04:00", "20:00")], step="5m", days=364), "5m", "04:00-20:00 America/New_York",
    ),
    "Riyadh, from Sunday": (
        opened("UTC", [("07:00", "12:00")], step="15m", days=35, trades=lambda day: day.weekday() in {6, 0, 1, 2, 3}),
        "15m", "07:00-12:00 UTC",
    ),
    "currencies": (currencies(days=364), "1h", "around the clock on trading days"),
    "currencies, every minute": (currencies(days=28, step="1m"), "1m", "around the clock on trading days"),
    "daily": (opened("UTC", [("00:00", "00:01")], step="1d", days=60), "1d", "trading days"),
    "daily, from midnight in New York": (
        opened("America/New_York", [("00:00", "00:01")], step="1d", days=364), "1d", "trading days",
    ),
    "daily, six days": (
        opened("UTC", [("00:00", "00:01")], step="1d", days=60, trades=lambda day: day.weekday() < 6), "1d",
        "trading days",
    ),
    "every four hours": (currencies(days=364, step="4h"), "4h", "around the clock on trading days"),
}  # fmt: skip


@pytest.mark.parametrize("name", MARKETS)
def test_markets_with_sessions_are_noticed_with_their_hours(name: str) -> None:
    times, step, hours = MARKETS[name]
    found = sessions_at(times, step)
    assert found is not None
    assert str(found) == hours
    assert Sessions.of_record(found.record()) == found
    made = segment(bars_at(times), timeframe=step, gaps=found)
    assert (made["filled"].sum(), made["contiguous_run"].n_unique()) == (0, 1)


def always(step: str, days: int) -> pl.Series:
    return opened("UTC", [("00:00", "23:59:59")], step=step, days=days, trades=lambda _: True)


def outages(step: str, days: int, *, seed: int, share: float, longest: int) -> pl.Series:
    """Return the times of a market that never closes, some stretches left out at random."""
    random, times = np.random.default_rng(seed), always(step, days)
    kept = np.ones(times.len(), np.bool_)
    while 1 - kept.mean() < share:
        start = int(random.integers(times.len()))
        kept[start : start + int(random.integers(1, longest + 1))] = False
    return times.filter(pl.Series(kept))


def without_days(days: int, share: float) -> pl.Series:
    """Return hours of a market that never closes, of which whole days were never downloaded."""
    gone = np.random.default_rng(1).choice(days, int(days * share), replace=False)
    times = always("1h", days)
    return times.filter(~((times.dt.date() - MONDAY).dt.total_days().is_in(gone.tolist())))


ROUND_THE_CLOCK = {
    "whole": (always("1h", 60), "1h"),
    "short": (always("1m", 2), "1m"),
    "two bars": (always("1h", 1)[:2], "1h"),
    "one bar": (always("1h", 1)[:1], "1h"),
    "daily": (always("1d", 60), "1d"),
    "weekly": (always("1d", 700).gather_every(7), "7d"),
    "short outages": (outages("1m", 20, seed=1, share=0.2, longest=30), "1m"),
    "long outages": (outages("1h", 90, seed=2, share=0.3, longest=200), "1h"),
    "hardly ever traded": (outages("1m", 40, seed=3, share=0.97, longest=300), "1m"),
    "days never downloaded": (without_days(90, 0.4), "1h"),
    "a restart every night": (
        (every := always("1m", 30)).filter(every.dt.time() >= time(0, 5)), "1m",
    ),
    "half of the history gone": (pl.concat([always("1h", 60), always("1h", 60).dt.offset_by("300d")]), "1h"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROUND_THE_CLOCK)
def test_markets_that_never_close_have_no_sessions(name: str) -> None:
    times, step = ROUND_THE_CLOCK[name]
    assert sessions_at(times, step) is None


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    days=st.integers(1, 60),
    share=st.floats(0, 0.5),
    longest=st.integers(1, 60),
    step=st.sampled_from(["15m", "1h", "4h"]),
)
def test_random_outages_never_look_like_sessions(seed: int, days: int, share: float, longest: int, step: str) -> None:
    assert sessions_at(outages(step, days, seed=seed, share=share, longest=longest), step) is None


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    shift=st.integers(0, 95),
    length=st.integers(8, 80),
    lost=st.floats(0, 0.1),
)
def test_hours_anywhere_on_the_day_are_found(seed: int, shift: int, length: int, lost: float) -> None:
    """Against an oracle that asks of each quarter of an hour whether most days have it."""
    quarters = np.array([day * 96 + (shift + at) for day in range(40) if day % 7 < 5 for at in range(length)])
    kept = quarters[np.random.default_rng(seed).uniform(size=quarters.size) >= lost]
    found = find_sessions(kept * 15 * MINUTE, 15 * MINUTE)
    assert found is not None
    assert found.zone == "UTC"
    there = set(kept.tolist())
    days = {quarter // 96 for quarter in there}
    for slot in range(96):
        present = sum(day * 96 + slot in there for day in days)
        opening = found.open_us(np.array([slot * 15 * MINUTE]), np.array([15 * MINUTE]))[0]
        assert opening == (15 * MINUTE if present >= len(days) / 2 else 0)


def test_open_time_agrees_with_counting_minutes() -> None:
    hours = Sessions("America/New_York", ((0, 90), (570, 690), (1_200, 1_440)))
    starts = np.arange(0, 3 * DAY, 37 * MINUTE) + 1_700_000_000_000_000 // DAY * DAY
    for width in (MINUTE, 45 * MINUTE, 7 * HOUR, DAY, 3 * DAY):
        made = hours.open_us(starts, np.full(starts.size, width))
        for start, opening in zip(starts.tolist(), made.tolist(), strict=True):
            first = datetime.fromtimestamp(start / 1e6, UTC).astimezone(ZoneInfo(hours.zone))
            clock = first.hour * 60 + first.minute
            minutes = ((clock + at) % 1_440 for at in range(width // MINUTE))
            assert opening == MINUTE * sum(any(a <= minute < b for a, b in hours.opens) for minute in minutes)


STOCKS = opened("UTC", [("14:30", "21:00")], step="1m", days=28)
NASDAQ = Sessions("UTC", ((870, 1_260),))


def without(times: pl.Series, start: str, end: str) -> pl.Series:
    first, last = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (start, end))
    return times.filter((times < first) | (times >= last))


@pytest.mark.parametrize(
    ("start", "end", "filled", "runs"),
    [
        ("2024-01-10T15:00", "2024-01-10T15:05", 5, 1),
        ("2024-01-10T15:00", "2024-01-10T15:06", 0, 2),
        ("2024-01-10T15:00", "2024-01-10T20:59", 0, 2),
        ("2024-01-10T18:00", "2024-01-11T00:00", 0, 1),
        ("2024-01-10T14:00", "2024-01-10T15:00", 0, 1),
        ("2024-01-15T00:00", "2024-01-16T00:00", 0, 1),
        ("2024-01-08T00:00", "2024-01-18T00:00", 0, 1),
        ("2024-01-04T00:00", "2024-01-22T00:00", 0, 2),
    ],
    ids=[
        "five minutes of a session", "six minutes", "hours of a session", "an early end", "a late start", "a holiday",
        "a long holiday", "weeks",
    ],
)  # fmt: skip
def test_holes_in_a_session_are_filled_or_cut_and_closing_times_are_neither(
    start: str, end: str, filled: int, runs: int
) -> None:
    made = segment(bars_at(without(STOCKS, start, end)), timeframe="1m", gaps=NASDAQ)
    assert (made["filled"].sum(), made["contiguous_run"].n_unique()) == (filled, runs)


def test_a_holiday_between_days_without_a_night_is_no_hole() -> None:
    times = without(currencies(days=28), "2024-01-10T22:00", "2024-01-11T23:00")
    found = sessions_at(times, "1h")
    assert found is not None
    assert segment(bars_at(times), timeframe="1h", gaps=found)["contiguous_run"].n_unique() == 1
    hole = without(times, "2024-01-17T03:00", "2024-01-17T10:00")
    assert segment(bars_at(hole), timeframe="1h", gaps=found)["contiguous_run"].n_unique() == 2


def test_a_holiday_of_daily_bars_is_not_invented() -> None:
    times = opened("UTC", [("00:00", "00:01")], step="1d", days=60, trades=lambda day: weekday(day) and day.day != 17)
    found = sessions_at(times, "1d")
    assert segment(bars_at(times), timeframe="1d", gaps=found or "segment").height == times.len()


@pytest.mark.parametrize("zone", ["Europe/London", "Europe/Berlin", "America/New_York", "Australia/Sydney"])
def test_days_of_trading_on_the_clocks_of_a_zone(zone: str) -> None:
    times = opened(zone, [("00:00", "00:01")], step="1d", days=200, trades=lambda day: weekday(day) and day.day != 17)
    grid = grid_of(times, DAY)
    assert grid.zone != "UTC"
    bars = bars_at(times)
    found = sessions_of(bars, "1d", "auto", grid.zone)
    assert found == Sessions("UTC", ())
    made = segment(bars, timeframe="1d", gaps=found, grid=grid)
    assert (made.height, made["segment"].n_unique()) == (times.len(), 1)


def test_four_hours_of_currencies_make_days_over_weekends_and_shifts_of_clocks() -> None:
    hourly = currencies(days=210).dt.convert_time_zone("America/New_York")
    times = hourly.filter(hourly.dt.hour() % 4 == 1).dt.convert_time_zone("UTC")
    zone = grid_of(times, 4 * HOUR).zone
    assert zone == "America/New_York"
    grid, bars = Grid(4 * HOUR, HOUR, zone), bars_at(times)
    found = sessions_of(bars, "4h", "auto", zone)
    assert found is not None
    assert segment(bars, timeframe="4h", gaps=found, grid=grid)["contiguous_run"].n_unique() == 1
    days = resample(bars, source="4h", timeframe="1d", offset_us=HOUR, gaps=found, zone=zone)
    local = days.bars["timestamp"].dt.convert_time_zone(zone)
    assert local.dt.hour().unique().to_list() == [17]
    assert local.dt.weekday().unique().sort().to_list() == [1, 2, 3, 4, 7]
    assert (days.bars["volume"][1:-1] == 6).all()
    assert days.counts["low_coverage"] <= 1  # the first day begins in its middle
    lost = times.len() // 2
    holed = resample(
        bars.with_row_index().filter(~pl.col("index").is_between(lost, lost + 1)).drop("index"),
        source="4h", timeframe="1d", offset_us=HOUR, gaps=found, zone=zone,
    )  # fmt: skip
    assert holed.counts["low_coverage"] > days.counts["low_coverage"]


def test_a_jump_over_a_night_still_cuts() -> None:
    early = pl.col("timestamp") < datetime(2024, 1, 10, tzinfo=UTC)
    bars = bars_at(STOCKS).with_columns(pl.col("open", "high", "low", "close") * pl.when(early).then(2).otherwise(1))
    made = segment(bars, timeframe="1m", gaps=NASDAQ)
    assert (made["contiguous_run"].n_unique(), made["segment"].n_unique()) == (1, 2)


def test_hours_in_which_the_market_opens_half_way_are_bars() -> None:
    made = resample(bars_at(STOCKS), source="1m", timeframe="1h", gaps=NASDAQ)
    assert made.counts == {"unfinished": 0, "low_coverage": 0}
    assert made.bars["timestamp"].dt.hour().unique().sort().to_list() == [14, 15, 16, 17, 18, 19, 20]
    first = made.bars.filter(pl.col("timestamp").dt.hour() == 14)["volume"]
    assert (first == 30).all()


@pytest.mark.parametrize(
    ("start", "end", "days", "left_out"),
    [("2024-01-10T18:00", "2024-01-11T00:00", 20, 0), ("2024-01-10T16:00", "2024-01-10T18:00", 19, 1)],
    ids=["an early end", "hours missing in the middle"],
)
def test_half_a_day_is_a_day_unless_bars_are_missing(start: str, end: str, days: int, left_out: int) -> None:
    made = resample(bars_at(without(STOCKS, start, end)), source="1m", timeframe="1d", gaps=NASDAQ)
    assert (made.bars.height, made.counts) == (days, {"unfinished": 0, "low_coverage": left_out})


def test_two_hours_of_sunday_are_no_day() -> None:
    times = currencies(days=28)
    made = resample(bars_at(times), source="1h", timeframe="1d", gaps=sessions_at(times, "1h") or "segment")
    assert set(made.bars["timestamp"].dt.weekday()) == {1, 2, 3, 4, 5}
    assert made.counts["low_coverage"] == 4


@pytest.mark.parametrize(("minutes", "finished"), [(390, 1), (389, 0), (200, 0)])
def test_the_last_day_is_finished_when_the_market_has_closed(minutes: int, finished: int) -> None:
    made = resample(bars_at(STOCKS[: 390 * 10 + minutes]), source="1m", timeframe="1d", gaps=NASDAQ)
    assert made.bars.height == 10 + finished
    assert made.counts["unfinished"] == 1 - finished


def test_labels_count_bars_over_a_night_and_are_known_when_their_bar_closes() -> None:
    bars = bars_at(opened("UTC", [("14:30", "21:00")], step="30m", days=28))
    how = Preparation(source="30m", timeframe="30m", gaps=NASDAQ)
    made = make_samples(bars, how, features=(), label=Direction(horizon=4))
    assert made.counts | {"no_label": 4, "used": bars.height - 4, "segments": 1, "filled": 0} == made.counts
    for at in (0, 10, 12, 60):
        row = made.frame.row(at, named=True)
        assert row["timestamp"] == bars["timestamp"][at]
        assert row["label"] == (bars["close"][at + 4] > bars["close"][at])
        assert row["label_end"] == bars["timestamp"][at + 4] + timedelta(minutes=30)


@pytest.mark.parametrize("times", [STOCKS, always("1m", 28)], ids=["sessions", "none"])
def test_settings_decide_over_what_is_noticed(times: pl.Series) -> None:
    bars, noticed = bars_at(times), sessions_at(times, "1m")
    assert sessions_of(bars, "1m", "auto") == noticed
    assert sessions_of(bars, "1m", "segment") is sessions_of(bars, "1m", "ignore") is None
    assert sessions_of(bars, "1m", "sessions") == opening_hours(times.to_physical().to_numpy(), MINUTE)


def series_info(times: pl.Series, gaps: str) -> tuple[str, str]:
    """Return the digest and the fingerprint of a default model of bars at these times."""
    data = load_config({"data": {"gaps": gaps}})
    _, info = in_range(Series("x", "Y", "1m", ()), clean(bars_at(times), timeframe="1m"), data.data)
    (_, timeframe, spec), *_ = data.model_specs()
    return info.digest, Recipe(spec, timeframe=timeframe, data=data.data).fingerprint(info.digest)


def test_fingerprints_of_markets_that_never_close_are_those_of_segments() -> None:
    assert series_info(always("1m", 28), "auto") == series_info(always("1m", 28), "segment")


def test_fingerprints_tell_sessions_from_segments() -> None:
    found = {gaps: series_info(STOCKS, gaps) for gaps in ("auto", "segment", "sessions", "ignore")}
    assert found["auto"] == found["sessions"]
    assert len({fingerprint for _, fingerprint in found.values()}) == 3
    assert len({bare_digest(digest) for digest, _ in found.values()}) == 1


@pytest.mark.parametrize(
    ("gaps", "plain", "marked"),
    [
        ("auto", "d", "d-sessions"),
        ("segment", "d", "d"),
        ("ignore", "d", "d"),
        ("sessions", "d-sessions", "d-sessions"),
    ],
)
def test_what_a_listing_tells_is_read_as_the_setting_wants(gaps: str, plain: str, marked: str) -> None:
    data = load_config({"data": {"gaps": gaps}}).data
    assert [digest_for(digest, data) for digest in ("d", mark_sessions("d"))] == [plain, marked]


def definition_of(sessions: dict[str, Sessions | None], gaps: str = "auto") -> Definition:
    data = load_config({"data": {"gaps": gaps}}).data
    metadata = {
        "version": "analyst_1h_x", "key": {"timeframe": "1h"}, "features": [{"name": "change_1"}],
        "label": {"definition": {"kind": "direction"}}, "data": describe_sampling(sessions, data),
    }  # fmt: skip
    return Definition.of(metadata, load_config({}).data, where="x")


def gaps_of(one: Definition, series: str, bars: pl.DataFrame) -> Gaps:
    grid = SeriesInfo("1m", 0, bars["timestamp"][0], bars["timestamp"][-1], {}, "", ())
    return one.preparation(bars, grid, name=series).gaps


def test_a_model_keeps_the_sessions_that_it_was_trained_with() -> None:
    few = bars_at(STOCKS[:50])
    one = definition_of({"a/B": NASDAQ})
    assert one.gaps == "sessions"
    assert gaps_of(one, "a/B", few) == gaps_of(one, "bars", few) == NASDAQ
    assert gaps_of(definition_of({"a/B": None}), "a/B", bars_at(STOCKS)) == "segment"
    assert gaps_of(definition_of({"a/B": None}, "ignore"), "a/B", bars_at(STOCKS)) == "ignore"


def test_a_model_over_many_series_keeps_those_of_each_and_asks_the_bars_of_others() -> None:
    pooled = definition_of({"a/B": NASDAQ, "a/C": None})
    assert pooled.gaps == "auto"
    assert gaps_of(pooled, "a/B", bars_at(always("1m", 1))) == NASDAQ
    assert gaps_of(pooled, "a/C", bars_at(STOCKS)) == "segment"
    assert gaps_of(pooled, "a/D", bars_at(STOCKS)) == NASDAQ
    assert gaps_of(pooled, "a/D", bars_at(STOCKS[:50])) == "segment"


def test_hours_that_cannot_be_read_are_refused() -> None:
    metadata = {
        "version": "v", "key": {"timeframe": "1h"}, "features": [], "label": {"definition": {"kind": "direction"}},
        "data": {"sampling": {}, "sessions": {"a/B": {"zone": "UTC", "open": "always"}}},
    }  # fmt: skip
    with pytest.raises(RegistryError, match="does not say what the model was trained on"):
        Definition.of(metadata, load_config({}).data, where="x")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.sampled_from([MINUTE * 15, HOUR, 4 * HOUR, DAY]))
def test_no_bars_make_sessions_before_a_time(seed: int, length: int, step: int) -> None:
    """A market that is open around the clock closes at night and on weekends, from one day to the next."""
    random = np.random.default_rng(seed)
    every = np.arange(length * DAY // step) * step + 20_000 * DAY
    times = every[random.random(every.size) < random.uniform(0.3, 1)]
    if times.size < 2 or find_sessions(times, step) is not None:
        return
    until = no_sessions_until(times, step)
    added = np.arange(times[-1] + step, until, step)
    hours, weekday = added % DAY // HOUR, (added // DAY + 3) % 7
    chosen = (hours >= 8) & (hours < 17) & (weekday < 5) if seed % 2 else weekday < int(random.integers(1, 7))
    for share in (0.3, 1.0):
        more = added[: int(share * added.size)]
        assert find_sessions(np.concatenate([times, more[chosen[: more.size]]]), step) is None
