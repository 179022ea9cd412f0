"""How far new bars are from those of training: bins beside slow oracles, what chance gives, and what is usual."""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from job.learning.bins import BINS, EVEN, Bins, psi
from job.learning.drift import (
    LARGE,
    LEAST_STRETCH,
    MOST_BYTES,
    STRETCH,
    STRETCHES,
    Drift,
    Reference,
    measure,
    stretches,
)
from job.learning.training import train
from tests.oracles_training import FEATURES, KEY, made_samples, model_spec

ROWS = 20_000


def draws(rows: int = ROWS, *, seed: int = 0, scale: float = 1.0, shift: float = 0.0) -> Any:
    return (np.random.default_rng(seed).standard_normal(rows) * scale + shift).astype(np.float32)


def wandering(rows: int, *, seed: int, memory: float = 0.999) -> Any:
    """Return a series that moves so slowly that a thousand rows see a small part of where it goes."""
    noise, values = np.random.default_rng(seed).standard_normal(rows), np.zeros(rows)
    for row in range(1, rows):
        values[row] = memory * values[row - 1] + math.sqrt(1 - memory**2) * noise[row]
    return values.astype(np.float32)


def reference_of(series: Any = None, **columns: Any) -> Reference:
    rows = len(next(iter(columns.values())))
    return Reference.of(columns.items(), rows=rows, up=0.5, series=series)


def slow_psi(bins: Bins, values: Sequence[float], trained: Sequence[float]) -> float:
    """Count value by value, bin by bin."""

    def counts(of: Sequence[float]) -> list[float]:
        found = [0.0] * (len(bins.edges) + 2)
        for value in of:
            found[-1 if math.isnan(value) else sum(edge < value for edge in bins.edges)] += 1
        return found

    total = 0.0
    for new, old in zip(counts(values), counts(trained), strict=True):
        if new or old:
            share, before = max(new, 0.5) / len(values), max(old, 0.5) / len(trained)
            total += (share - before) * math.log(share / before)
    return total


TIED = st.sampled_from([0.0, 1.0, -1.0, 0.25, 1e-7, 3e5, math.nan])
ANY = st.floats(-1e6, 1e6, width=32)


@given(st.lists(TIED | ANY, min_size=1, max_size=60), st.lists(TIED | ANY, min_size=1, max_size=30))
def test_bins_are_those_of_a_slow_count(trained: list[float], new: list[float]) -> None:
    given_ = np.array(trained, np.float32)
    bins = Bins.of(given_)
    assert sorted(set(bins.edges)) == list(bins.edges)
    assert len(bins.edges) <= BINS
    assert len(bins.shares) == len(bins.edges) + 2
    assert sum(bins.shares) == pytest.approx(1, abs=1e-3)
    values = np.array(new, np.float32)
    found = bins.psi(values, rows=len(trained))
    assert found >= 0
    assert found == pytest.approx(slow_psi(bins, values.tolist(), given_.tolist()), abs=0.02, rel=0.02)
    assert bins.psi(given_, rows=len(trained)) < 2.5e-3
    assert Bins.read(json.loads(json.dumps(bins.edges)), bins.recorded_shares, None) == bins


def test_deciles_hold_a_tenth_each_and_stay_in_their_bins() -> None:
    values = draws()
    bins = Bins.of(values)
    assert bins.shares == EVEN
    assert bins.recorded_shares is None
    deciles = np.quantile(values, np.arange(1, BINS) / BINS)
    assert np.abs(np.subtract(bins.edges, deciles)).max() < 1e-3
    assert all(len(repr(edge)) <= 8 for edge in bins.edges)
    assert all(
        (values <= edge).mean() == pytest.approx(tenth / 10, abs=1e-3) for tenth, edge in enumerate(bins.edges, 1)
    )


def test_bins_do_not_depend_on_the_scale() -> None:
    values = draws()
    plain = Bins.of(values)
    for scale in (1e-6, 1e7):
        scaled = Bins.of((values.astype(np.float64) * scale).astype(np.float32))
        assert np.allclose(np.array(scaled.edges) / scale, plain.edges, atol=2e-3)
    far = Bins.of(values + np.float32(50_000))
    assert np.allclose(np.array(far.edges) - 50_000, plain.edges, atol=0.01)


@pytest.mark.parametrize("constant", [0.0, 5.0, -1e-6, 12_345.678])
def test_a_constant_that_moves_is_seen_whichever_way(constant: float) -> None:
    bins = Bins.of(np.full(500, constant, np.float32))
    assert [*bins.shares] == [0, 1, 0, 0]
    same = np.full(200, constant, np.float32)
    assert bins.psi(same, rows=500) == 0
    for factor in (0.99, 1.01):
        moved = same * np.float32(factor) if constant else same + np.float32(factor - 1)
        assert bins.psi(moved, rows=500) > 5


def test_few_values_have_bins_of_their_own() -> None:
    trained = np.repeat(np.array([0, 1], np.float32), [690, 310])
    bins = Bins.of(trained)
    assert [*bins.shares] == [0, 0.69, 0.31, 0, 0]
    assert bins.psi(np.repeat(np.array([0, 1], np.float32), [69, 31]), rows=1000) < 1e-9
    half = bins.psi(np.repeat(np.array([0, 1], np.float32), [50, 50]), rows=1000)
    assert half == pytest.approx(0.19 * math.log(0.69 / 0.5) + 0.19 * math.log(0.5 / 0.31))
    for other in (-1, 2):
        assert bins.psi(np.array([other] * 10 + [0] * 60 + [1] * 30, np.float32), rows=1000) > 0.25


def test_rows_without_a_value_are_a_bin() -> None:
    values = draws(1_000)
    reference = reference_of(x=values)
    known = pl.DataFrame({"x": values})
    none = known.with_columns(x=pl.when(pl.int_range(pl.len()) % 2 == 0).then("x"))
    nan = none.with_columns(pl.col("x").fill_null(math.nan))
    assert measure(reference, known).psi["x"] < 0.001
    assert measure(reference, none).psi["x"] > 1
    assert measure(reference, none).psi == measure(reference, nan).psi
    half = np.where(np.arange(1_000) % 2 == 0, values, np.float32(math.nan))
    bins = Bins.of(half)
    assert bins.shares[-1] == 0.5
    assert bins.psi(half, rows=1_000) < 0.001
    nothing = Bins.of(np.full(10, math.nan, np.float32))
    assert (nothing.edges, nothing.shares) == ((), (0, 1))


def test_the_index_is_the_same_both_ways() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.multinomial(1_000, [0.1] * 10), rng.multinomial(1_000, np.arange(1, 11) / 55)
    there, back = psi(a[None], b / 1_000, rows=1_000)[0], psi(b[None], a / 1_000, rows=1_000)[0]
    assert there == pytest.approx(back)
    assert psi(a[None], a / 1_000, rows=1_000)[0] == 0


@pytest.mark.parametrize(("new", "trained"), [(1_000, 20_000), (300, 1_000)])
def test_independent_rows_stay_below_chance_as_often_as_said(new: int, trained: int) -> None:
    found, times = list[float](), 400
    for seed in range(times):
        bins = Bins.of(draws(trained, seed=seed))
        found.append(bins.psi(draws(new, seed=10_000 + seed), rows=trained))
    assert np.mean(found) == pytest.approx(9 * (1 / new + 1 / trained), rel=0.12)
    chance = measure(reference_of(x=draws(trained, seed=0)), pl.DataFrame({"x": draws(new, seed=1)})).chance
    assert chance is not None
    beyond = sum(value > chance for value in found)
    assert 8 <= beyond <= 36, "5% of 400, within three and a half standard deviations"


def test_what_is_usual_is_told_from_what_is_not() -> None:
    rows = 40_000
    reference = reference_of(slow=wandering(rows, seed=1), fast=draws(rows, seed=2))
    slow, fast = reference.features["slow"].usual, reference.features["fast"].usual
    assert slow is not None
    assert fast is not None
    assert slow > 1 > LARGE > fast
    flagged, large = 0, 0
    for seed in range(40):
        new = pl.DataFrame(
            {"slow": wandering(3_000, seed=100 + seed)[-STRETCH:], "fast": draws(STRETCH, seed=200 + seed)}
        )
        found = measure(reference, new)
        flagged += found.unusual
        large += found.psi["slow"] > LARGE
    assert large >= 30, "by the rule of thumb a slow feature nearly always has drifted"
    assert flagged <= 8
    wide = measure(
        reference, pl.DataFrame({"slow": wandering(3_000, seed=7)[-STRETCH:], "fast": draws(STRETCH, scale=3)})
    )
    assert wide.unusual == 1
    assert wide.record()["worst"][0] == ["fast", pytest.approx(wide.psi["fast"], abs=1e-4), fast]


def test_nineteen_of_twenty_stretches_stay_below_the_limits_of_all_features() -> None:
    rows = 100 * STRETCH
    columns = {name: wandering(rows, seed=seed, memory=memory) for seed, (name, memory) in enumerate(MEMORIES.items())}
    reference = reference_of(**columns)
    assert reference.stretch == STRETCH
    beyond = 0
    for first in range(0, rows, STRETCH):
        part = pl.DataFrame({name: values[first : first + STRETCH] for name, values in columns.items()})
        beyond += any(
            value > (reference.features[name].usual or 0) for name, value in measure(reference, part).psi.items()
        )
    assert 4 <= beyond <= 6


MEMORIES = {"slow": 0.999, "slower": 0.9995, "quick": 0.9, "none": 0.0}


@pytest.mark.parametrize(
    ("lengths", "length", "count"),
    [
        ([25_000], STRETCH, 25),
        ([2_190], 219, 10),
        ([LEAST_STRETCH * STRETCHES], LEAST_STRETCH, STRETCHES),
        ([LEAST_STRETCH * STRETCHES - 1], STRETCH, 0),
        ([500] * 16, 500, 16),
        ([150_000, 90_000], STRETCH, 200),
        ([1_500, 900, 4_000, 50], 571, 10),
    ],
)
def test_stretches_are_rows_of_one_series_on_end(lengths: list[int], length: int, count: int) -> None:
    series = np.repeat(np.arange(len(lengths)), lengths)
    np.random.default_rng(1).shuffle(series)  # series alternate in the order of time
    found, number = stretches(series)
    assert (found, len(np.unique(number[number >= 0]))) == (length, count)
    for one in range(count):
        rows = np.flatnonzero(number == one)
        assert len(rows) == length
        (owner,) = np.unique(series[rows])
        assert len(rows) == (series[rows[0] : rows[-1] + 1] == owner).sum()


def test_series_have_stretches_of_their_own() -> None:
    low, high = draws(12_000, seed=1, shift=-2), draws(12_000, seed=2, shift=2)
    both = np.column_stack([low, high]).ravel()
    together = reference_of(x=both).features["x"].usual
    apart = reference_of(np.arange(24_000) % 2, x=both).features["x"].usual
    assert together is not None
    assert apart is not None
    assert together < 0.1
    assert apart > 1, "one series is unlike both"


def test_metadata_have_room_for_the_most_important_features() -> None:
    names = [f"a_feature_with_quite_a_long_name_{number}@BTCUSDT" for number in range(158)]
    rng = np.random.default_rng(0)
    columns = {name: rng.standard_normal(3_000).astype(np.float32) / 1_000 for name in names}
    reference = reference_of(**columns)
    assert list(reference.features) == names[: len(reference.features)]
    assert 8 <= len(reference.features) < 20
    record = reference.record()
    assert len(json.dumps(record)) <= MOST_BYTES + 100
    twenty = reference_of(**dict(zip((f"f{number:02}" for number in range(20)), columns.values(), strict=False)))
    assert len(twenty.features) >= 18


def test_a_reference_is_read_as_it_was_recorded() -> None:
    tied = np.round(draws(), 0)
    reference = reference_of(x=draws(), tied=tied, constant=np.full(ROWS, 7, np.float32))
    record = json.loads(json.dumps(reference.record()))
    assert set(record) == {"rows", "up", "stretch", "features", "shares", "usual"}
    assert set(record["shares"]) == {"tied", "constant"}
    assert len(record["features"]["x"]) == BINS - 1
    assert Reference.read({"drift": record}) == reference


@pytest.mark.parametrize(
    "change",
    [
        {"features": None}, {"features": {"x": [1, "a"]}}, {"features": {"x": [2, 1]}}, {"features": {"x": [math.nan]}},
        {"features": {"x": 3}}, {"features": {"x": [math.inf]}}, {"shares": {"x": [0.5]}},
        {"shares": {"x": [2.0, -1.0]}}, {"shares": 3}, {"usual": {"x": "much"}}, {"usual": {"x": math.inf}},
        {"rows": 0}, {"rows": "many"}, {"rows": math.inf}, {"up": None}, {"up": math.nan}, {"stretch": -1},
        {"stretch": None},
    ],
)  # fmt: skip
def test_metadata_that_says_something_else_says_nothing(change: dict[str, Any]) -> None:
    good = {"rows": 10, "up": 0.5, "stretch": 100, "features": {"x": [0.0]}, "shares": {"x": [0.5, 0.5]}, "usual": {}}
    assert Reference.read({"drift": good}) is not None
    assert Reference.read({"drift": good | change}) is None
    assert Reference.read({}) is None
    assert Reference.read({"drift": [good]}) is None


def test_what_is_measured_is_small_and_json() -> None:
    names = [f"a_feature_with_quite_a_long_name_{number}" for number in range(12)]
    reference = reference_of(**{name: draws(seed=seed) for seed, name in enumerate(names)})
    new = pl.DataFrame({name: draws(STRETCH, seed=100 + seed, shift=seed / 10) for seed, name in enumerate(names)})
    drift = measure(reference, new, up=0.61234)
    record = drift.record()
    assert len(json.dumps(record, allow_nan=False)) < 600
    assert [name for name, *_ in record["worst"]] == names[:-6:-1], "the furthest first"
    assert (record["rows"], record["features"], record["up"], record["up_trained"]) == (STRETCH, 12, 0.6123, 0.5)
    assert record["moderate"] == sum(value > 0.1 for value in drift.psi.values()) > record["large"] > 0
    assert record["unusual"] == record["large"], "independent rows are usual"


def test_features_without_a_column_and_no_rows_are_no_problem() -> None:
    reference = reference_of(x=draws(), gone=draws(seed=1))
    new = pl.DataFrame({"x": draws(STRETCH, seed=2), "other": ["a"] * STRETCH})
    assert list(measure(reference, new).psi) == ["x"]
    nothing = measure(reference, new.clear()).record()
    assert (nothing["rows"], nothing["worst"], nothing["median"], nothing["chance"]) == (0, [], None, None)


@pytest.mark.parametrize(
    ("trained", "rows", "unusual"), [(20_000, 999, 0), (20_000, 1_000, 1), (900, 99, 0), (900, 100, 1)]
)
def test_few_rows_are_never_called_unusual(trained: int, rows: int, unusual: int) -> None:
    reference = reference_of(x=draws(trained))
    drift = measure(reference, pl.DataFrame({"x": draws(rows, seed=1, shift=3)}))
    assert drift.psi["x"] > 1
    assert drift.unusual == unusual


def test_chance_stands_in_for_what_is_not_known_to_be_usual() -> None:
    drift = Drift(rows=100, psi={"x": 0.3, "y": 0.5}, usual={}, chance=0.4, up=None, up_trained=0.5, stretch=1_000)
    assert drift.unusual == 1
    assert drift.beyond == {"y": 0.5 / 0.4, "x": pytest.approx(0.3 / 0.4)}


@pytest.mark.parametrize("refit", [False, True])
def test_training_keeps_what_it_was_fitted_on(refit: bool) -> None:
    samples = made_samples(1_500)
    trained = train(samples, model_spec("logistic_regression", refit=refit), key=KEY)
    reference = Reference.read(trained.metadata)
    assert reference is not None
    rows = samples.height if refit else trained.metadata["split"]["holdout"]["train_rows"]
    fitted = samples.head(rows)
    assert reference.rows == rows
    assert reference.up == pytest.approx(float(fitted["label"].mean()), abs=1e-4)  # type: ignore[arg-type]
    values = trained.metadata["importances"]["values"]
    assert list(reference.features) == sorted(FEATURES, key=lambda name: -abs(values[name]))
    for name, bins in reference.features.items():
        assert bins.edges == Bins.of(fitted[name].to_numpy().astype(np.float32)).edges
    assert measure(reference, fitted).record()["moderate"] == 0
