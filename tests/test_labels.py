"""Labels: against slow oracles, case by case, and how they are written in settings."""

import json
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, replace
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from job.learning.labels import parse_label
from tests.conformance import (
    LABEL_PROPERTIES,
    label_is_known_within_its_horizon,
    label_is_of_one_contiguous_run,
    label_is_scale_free,
    label_never_looks_ahead,
)
from tests.oracles_transforms import MINUTE, bar_rows, bars_frame, digest, golden_bars, oracle_label, random_bars
from transforms.labels import LABELS, NOTES, Direction, Label, TripleBarrier
from transforms.segments import segment

EVERY_LABEL = [
    Direction(),
    Direction(horizon=1),
    Direction(horizon=3, threshold=5e-4, entry="next_open"),
    Direction(horizon=5, flat="down"),
    TripleBarrier(),
    TripleBarrier(k=1.0, window=7, horizon=3),
    TripleBarrier(k=0.5, window=2, horizon=1, entry="next_open"),
    TripleBarrier(k=6.0, window=20, horizon=30),
]


@settings(max_examples=60, deadline=None)
@given(
    label=st.sampled_from(EVERY_LABEL),
    seed=st.integers(0, 10_000),
    count=st.integers(1, 150),
    tick=st.sampled_from([0.0, 0.03, 0.3]),
    missing=st.sampled_from([0.0, 0.2]),
)
@example(label=TripleBarrier(k=6.0, window=20, horizon=30), seed=2394, count=105, tick=0.3, missing=0.0)  # flat, jump
def test_label_agrees_with_its_oracle(
    label: Direction | TripleBarrier, seed: int, count: int, tick: float, missing: float
) -> None:
    bars = segment(random_bars(seed, count, tick=tick, missing=missing, jumps=2), timeframe="1m")
    made = label.apply(bars, "1m")
    rows = bar_rows(bars)
    expected = [oracle_label(rows, at, label, MINUTE) for at in range(len(rows))]
    outcome = made.select("label", pl.col("label_end").to_physical(), pl.col("label_note").cast(pl.String))
    assert outcome.to_dicts() == expected


@settings(max_examples=60, deadline=None)
@given(label=st.sampled_from(EVERY_LABEL), seed=st.integers(0, 10_000), cut=st.integers(1, 150))
def test_labels_enter_in_the_order_of_time(label: Label, seed: int, cut: int) -> None:
    """One that is resolved early is not there before its neighbors, or evidence would prefer bars that moved fast."""
    bars = segment(random_bars(seed, 150, missing=0.05, jumps=2), timeframe="1m")
    known = label.apply(bars.head(cut), "1m")["label"]
    settled = max(0, min(cut, bars.height) - label.horizon)
    assert known.head(settled).equals(label.apply(bars, "1m")["label"].head(settled))
    assert known[settled:].is_null().all()


@pytest.mark.parametrize("note", NOTES.categories)
def test_the_bars_tried_on_the_oracle_hold_every_note(note: str) -> None:
    bars = segment(random_bars(1, 3000, tick=0.1, missing=0.1, jumps=5), timeframe="1m")
    notes = pl.concat([label.apply(bars, "1m")["label_note"] for label in EVERY_LABEL])
    assert (notes == note).any()


Prices = tuple[float, float, float, float]


def path(*bars: Prices) -> pl.DataFrame:
    """Thirty restless bars that close at 100 with sigma about 1%, then these (open, high, low, close)."""
    closes = [100.0 if number % 2 else 101.0 for number in range(30)]
    rows = [(close, close, close, close) for close in closes] + list(bars)
    names = ("open", "high", "low", "close")
    named = [{"timestamp": at * MINUTE, **dict(zip(names, row, strict=True))} for at, row in enumerate(rows)]
    return segment(bars_frame(named), timeframe="1m")


STILL = (100.0, 100.0, 100.0, 100.0)
UP, DOWN = 103.0, 97.0


@pytest.mark.parametrize(
    ("ahead", "label", "note", "steps"),
    [
        ([STILL, (100, UP, 100, 100), (100, 100, DOWN, 100)], 1, None, 2),
        ([STILL, (100, 100, DOWN, 100), (100, UP, 100, 100)], 0, None, 2),
        ([STILL, (100, UP, DOWN, 100), (100, UP, 100, 100)], None, "ambiguous", 0),
        ([(UP, UP, DOWN, 100), STILL, STILL], 1, None, 1),
        ([(DOWN, UP, DOWN, 100), STILL, STILL], 0, None, 1),
        ([STILL, STILL, (100, 101, 100, 101)], 1, "timeout", 3),
        ([STILL, STILL, (100, 100, 99, 99)], 0, "timeout", 3),
        ([STILL, STILL, STILL], None, "tie", 0),
        ([STILL, STILL], None, "horizon", 0),
        ([(100, UP, 100, 100), STILL], None, "horizon", 0),
        ([(100, UP, 100, 100), (100, 200, 100, 200), (200, 200, 200, 200)], 1, None, 1),
        ([STILL, (100, 200, 100, 200), (200, 200, 200, 200)], None, "jump", 0),
    ],
)
def test_triple_barrier(ahead: list[Prices], label: int | None, note: str | None, steps: int) -> None:
    made = TripleBarrier(k=1.5, window=20, horizon=3).apply(path(*ahead), "1m").row(29, named=True)
    assert (made["label"], made["label_note"]) == (label, note)
    assert made["label_end"] == (made["timestamp"] + timedelta(minutes=steps + 1) if steps else None)


@pytest.mark.parametrize(("edge", "label"), [(0.0, 1), (-1e-9, None)])
def test_a_barrier_is_touched_when_it_is_reached(edge: float, label: int | None) -> None:
    kind = TripleBarrier(horizon=1)
    barrier = kind.apply(path(STILL), "1m")["barrier"][29]
    assert barrier == pytest.approx(1.5 * 0.01021, rel=1e-3)
    reached = pl.select(pl.lit(100.0) * pl.lit(barrier).exp()).item() + edge
    made = kind.apply(path((100.0, reached, 100.0, 100.0)), "1m")
    assert made["label"][29] == label


def test_barrier_needs_its_window_and_a_price_that_moves() -> None:
    made = TripleBarrier(window=20, horizon=1).apply(path(*[STILL] * 30), "1m")
    assert made["label_note"][:20].to_list() == ["warmup"] * 20
    assert made["barrier"][:20].is_null().all()
    assert made["label_note"][50] == "flat_sigma"
    assert made["barrier"][50] == 0


@pytest.mark.parametrize("label", [Direction(horizon=2), TripleBarrier(window=2, horizon=2)])
def test_a_label_that_a_jump_would_resolve_does_not_exist(label: Label) -> None:
    made = label.apply(path(STILL, (200, 200, 200, 200), (200, 200, 200, 200), (200, 202, 200, 202)), "1m")
    assert made["label_note"][30:31].to_list() == ["jump"]


@pytest.mark.parametrize("label", EVERY_LABEL)
def test_a_horizon_never_crosses_a_gap(label: Label) -> None:
    bars = random_bars(2, 200)
    cut = pl.concat([bars[:100], bars[120:]])
    made = label.apply(segment(cut, timeframe="1m"), "1m")
    assert made["label_note"][100 - label.horizon : 100].to_list() == ["horizon"] * label.horizon
    assert made["label"][100 - label.horizon : 100].is_null().all()
    ignoring = label.apply(segment(cut, timeframe="1m", gaps="ignore"), "1m")
    assert "horizon" not in ignoring["label_note"][100 - label.horizon : 100].to_list()


def test_entry_at_the_next_open() -> None:
    ahead = [(102.0, 102.0, 101.0, 101.0), STILL]
    assert Direction(horizon=1).apply(path(*ahead), "1m")["label"][29] == 1
    assert Direction(horizon=1, entry="next_open").apply(path(*ahead), "1m")["label"][29] == 0


def test_returns_within_the_threshold_have_no_label() -> None:
    bars = path((100.0, 100.1, 100.0, 100.1), STILL)
    assert Direction(horizon=1, threshold=0.0009).apply(bars, "1m")["label_note"][29] is None
    assert Direction(horizon=1, threshold=0.0011).apply(bars, "1m")["label_note"][29] == "tie"


def test_ties_may_be_filed_under_down() -> None:
    made = Direction(horizon=1, flat="down").apply(path(STILL, STILL), "1m").row(30, named=True)
    assert (made["label"], made["label_note"]) == (0, "tie")
    assert made["label_end"] == made["timestamp"] + timedelta(minutes=2)


@pytest.mark.parametrize("holds", LABEL_PROPERTIES)
@pytest.mark.parametrize("label", [*(kind() for kind in LABELS.values()), *EVERY_LABEL], ids=str)
def test_every_label_is_sound(label: Label, holds: Callable[[Label], None]) -> None:
    """Each kind at its defaults, and the cases of this file."""
    holds(label)


@pytest.mark.parametrize("label", EVERY_LABEL)
def test_only_barriers_have_a_barrier(label: Label) -> None:
    made = label.apply(segment(random_bars(3, 300, missing=0.05), timeframe="1m"), "1m")
    assert made["barrier"].is_null().all() == isinstance(label, Direction)


@dataclass(frozen=True)
class Unsound(Label):
    """Whether `change` is above 0, said to be known after `steps` bars."""

    change: pl.Expr = field(default=pl.lit(0.0), compare=False)
    steps: int = 1
    horizon: int = 2

    def resolve(self, bars: pl.DataFrame) -> pl.DataFrame:
        return bars.select(
            label=(self.change > 0).cast(pl.Int8),
            steps=pl.lit(self.steps, dtype=pl.Int64),
            note=pl.lit(None, dtype=NOTES),
            barrier=pl.lit(None, dtype=pl.Float64),
        )


_ahead = pl.col("close").shift(-2)


@pytest.mark.parametrize(
    ("holds", "label"),
    [
        (label_never_looks_ahead, Unsound(_ahead - pl.col("close"))),
        (label_is_known_within_its_horizon, Unsound(_ahead - pl.col("close"), steps=3)),
        (label_is_of_one_contiguous_run, Unsound(_ahead - pl.col("close").mean(), steps=2)),
        (label_is_scale_free, Unsound(_ahead - 100, steps=2)),
    ],
)
def test_an_unsound_label_is_found(holds: Callable[[Label], None], label: Label) -> None:
    with pytest.raises(AssertionError):
        holds(label)


@pytest.mark.parametrize("label", EVERY_LABEL)
def test_definition_reads_back(label: Label) -> None:
    definition = json.loads(json.dumps(label.definition()))
    assert parse_label(definition) == label
    assert parse_label(label) is label
    assert LABELS[label.kind] is type(label)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("direction", Direction()),
        ("direction(10)", Direction(horizon=10)),
        (" direction( 1, threshold=1e-3 ) ", Direction(horizon=1, threshold=1e-3)),
        ("direction(5, 0)", Direction(horizon=5, threshold=0.0)),
        ("direction(entry='next_open')", Direction(entry="next_open")),
        ("direction(10, flat=down, entry=next_open)", Direction(horizon=10, flat="down", entry="next_open")),
        ("triple_barrier(1.5, 20, 15)", TripleBarrier()),
        ("triple_barrier(k=2)", TripleBarrier(k=2.0)),
        ({"kind": "direction", "horizon": 3}, Direction(horizon=3)),
        ({"name": "triple_barrier", "k": 2}, TripleBarrier(k=2.0)),
        ({"type": "triple_barrier"}, TripleBarrier()),
    ],
)
def test_a_label_is_read(written: str | dict[str, Any], meant: Label) -> None:
    parsed = parse_label(written)
    assert parsed == meant
    assert [type(value) for value in vars(parsed).values()] == [type(value) for value in vars(meant).values()]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("directoin(3)", r"unknown label 'directoin'; did you mean 'direction'\? \(known: direction, triple_barrier\)"),
        ("zzz", r"unknown label 'zzz' \(known: direction, triple_barrier\)"),
        ("direction(horizn=3)", r"unknown parameter 'horizn'; did you mean 'horizon'\? \(known: horizon,"),
        ("direction(1, 0, 'drop', 'close', 5)", r"at most 4 parameters \(horizon, threshold, flat, entry\), got 5"),
        ("direction(1, horizon=2)", "label direction: parameter horizon is given twice"),
        ("direction(ten)", "label direction: horizon must be a whole number, got 'ten'"),
        ("direction(true)", "label direction: horizon must be a whole number, got True"),
        ("direction(2.5)", "label direction: horizon must be a whole number, got 2.5"),
        ("direction(True)", "label direction: horizon must be a whole number, got True"),
        ("triple_barrier('2')", "label triple_barrier: k must be a number, got '2'"),
        ("direction(flat=1)", "label direction: flat must be a word, got 1"),
        ("direction(0)", "label direction: horizon must be at least 1 bar, got 0"),
        ("direction(threshold=-1.0)", "label direction: threshold must be 0 or more and finite, got -1.0"),
        ("direction(flat='up')", "label direction: flat must be drop or down, got 'up'"),
        ("direction(entry='open')", "label direction: entry must be close or next_open, got 'open'"),
        ("triple_barrier(0)", "label triple_barrier: k must be above 0 and finite, got 0.0"),
        ("triple_barrier(1e999)", "label triple_barrier: k must be above 0 and finite, got inf"),
        ("triple_barrier(window=1)", "label triple_barrier: window must be at least 2 bars, got 1"),
        ("direction(", r"label 'direction\(': expected something like direction\(10\) or triple_barrier"),
        ("direction(**{})", "expected something like"),
        ("direction(open('x'))", "expected something like"),
        ("a.b(1)", "expected something like"),
        (7, "label 7: expected something like"),
        ({"horizon": 3}, "give its kind, one of direction, triple_barrier, once"),
        (
            {"kind": "direction", "type": "direction"},
            "give its kind, one of direction, triple_barrier, once",
        ),
        ({"kind": "direction", 3: 3}, "label direction: unknown parameter '3'"),
    ],
)
def test_a_label_is_refused(written: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_label(written)


def test_a_label_cannot_be_changed() -> None:
    label = Direction()
    with pytest.raises(FrozenInstanceError):
        label.horizon = 3  # type: ignore[misc]
    assert replace(label, horizon=3) != label


GOLDEN: dict[str, tuple[int, str]] = {
    "Direction(horizon=10, threshold=0.0, flat='drop', entry='close')": (1, "f3c09587b2edbbaa0e86720257383bbe"),
    "Direction(horizon=1, threshold=0.0, flat='drop', entry='close')": (1, "5ed43bf3ac4c610567eb31ea0400e8a2"),
    "Direction(horizon=3, threshold=0.0005, flat='drop', entry='next_open')": (1, "75eecb0b0fab827582bfec79d7a5d0d5"),
    "Direction(horizon=5, threshold=0.0, flat='down', entry='close')": (1, "be3b726c23f0cd72369386f89944936d"),
    "TripleBarrier(k=1.5, window=20, horizon=15, entry='close')": (1, "0a9f6dc7849e019ef4d8ce201e50bbe8"),
    "TripleBarrier(k=1.0, window=7, horizon=3, entry='close')": (1, "e6a58b0e16a96facd115689defb511ba"),
    "TripleBarrier(k=0.5, window=2, horizon=1, entry='next_open')": (1, "ccd96769384acfce6a36250a1ab5ce43"),
    "TripleBarrier(k=6.0, window=20, horizon=30, entry='close')": (1, "ed3c9947bf7ab846632661a9b5e34656"),
}


@pytest.mark.parametrize("label", EVERY_LABEL, ids=str)
def test_labels_change_only_with_the_version(label: Label) -> None:
    """A hash that differs means other labels for models: raise the label's version, then record both."""
    made = label.apply(segment(golden_bars(), timeframe="1m"), "1m")
    assert (label.version, digest(made["label"]) + digest(made["label_end"])) == GOLDEN[str(label)]
