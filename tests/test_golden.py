"""A definition that gives other numbers has another version, or reruns would keep models that nobody can make again."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from job.learning.metrics import SCORES
from job.registry.fingerprints import DEFINITIONS
from job.train.pooled import uniform_hash
from tests.algorithms import MISSING
from tests.golden import (
    FOLDER,
    PARTS,
    Definition,
    Golden,
    Problem,
    Values,
    definitions,
    find_problem,
    first_difference,
    libraries,
    made_series,
    main,
    other_libraries,
    read_golden,
    segmented_bars,
    write_golden,
)
from transforms.bars import RULES
from transforms.features import FEATURES
from transforms.labels import TripleBarrier
from transforms.windows import rolling_std


@cache
def golden() -> Golden:
    return read_golden()


def told(definition: Definition, stored: Golden) -> Problem:
    """Return the problem of a definition that has one."""
    problem = find_problem(definition, stored)
    assert problem is not None
    return problem


def skip_missing(definition: str) -> None:
    if reason := MISSING.get(definition.removeprefix("algorithm ")):
        pytest.skip(reason)


@pytest.mark.parametrize("name", definitions())
def test_other_numbers_have_another_version(name: str) -> None:
    skip_missing(name)
    problem = find_problem(definitions()[name], golden())
    assert problem is None, problem.message


def test_every_golden_is_of_a_definition() -> None:
    gone = set(golden().entries) - set(definitions())
    assert not gone, f"goldens of what is no more: {sorted(gone)}; drop them by `python -m tests.golden`"


def test_every_version_of_fingerprints_is_covered() -> None:
    assert set(PARTS) == set(DEFINITIONS), "say in PARTS of tests/golden.py what computes the numbers of each"


def test_goldens_are_of_the_pinned_libraries() -> None:
    others = other_libraries(golden())
    assert not others, (
        f"goldens were written with other libraries: {others}; install those, or `python -m tests.golden`"
    )


def test_goldens_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 300_000


def test_the_stored_series_has_what_real_ones_have() -> None:
    bars = segmented_bars()
    assert bars.schema == made_series().schema
    assert bars["contiguous_run"][-1] >= 2
    assert bars["segment"][-1] - bars["contiguous_run"][-1] >= 3
    assert bars["filled"].sum() > 10
    assert longest_run(bars["high"] == bars["low"]) > FEATURES["rsi_14"].warmup
    assert longest_run(bars["volume"] == 0) > FEATURES["volume_ma_20"].warmup


def longest_run(holds: pl.Series) -> int:
    """Return for how many rows on end something holds."""
    runs = holds.rle().struct.unnest()
    return int(runs.filter("value")["len"].sort()[-1])


CHANGES: tuple[tuple[str, str, Any], ...] = (
    ("label direction", "transforms.labels.Direction.entry_price", lambda _label: pl.col("open")),
    ("label triple_barrier", "transforms.labels.rolling_std", lambda *window: rolling_std(*window) * (1 + 1e-7)),
    ("algorithm random_forest", "job.learning.algorithms.SMALLEST_LEAF_SHARE", 0.001),
    ("algorithm random_forest", "job.learning.scikit_learn.FOREST_LEAF_SHARE", 0.11),
    ("algorithm extra_trees", "job.learning.scikit_learn.POOLED_LEAF_SHARE", 0.06),
    ("algorithm gradient_boosting", "job.learning.scikit_learn.BOOSTING_MAX_DEPTH", 3),
    ("algorithm hist_gradient_boosting", "job.learning.scikit_learn.BOOSTING_LEAF_SHARE", 0.06),
    ("algorithm logistic_regression", "job.learning.scikit_learn.LOGISTIC_C", 1.1e-3),
    ("algorithm lightgbm", "job.learning.boosters.entries.LEAF_SHARE", 0.06),
    ("algorithm xgboost", "job.learning.boosters.entries.L2", 11.0),
    *((f"algorithm {name}", "job.learning.networks.entries.LEAST_BATCH", 32) for name in ("mlp", "gru", "tcn", "tabm")),
    ("algorithm blend", "job.learning.blending.fit_weights", lambda *_rows, horizon_bars: (horizon_bars / 10, 0.4)),
    ("samples", "transforms.segments.JUMP", 0.8),
    ("samples", "transforms.samples.warmup_bars", lambda _features, **_: 8),
    ("samples", "transforms.bars.RULES", RULES[:-1]),
    ("samples", "job.train.steps.range_start", lambda *_range: None),
    ("split", "job.learning.splits.holdout_start", lambda times, _test_size: times // 2),
    (
        "split",
        "job.learning.splits.is_known",
        lambda available_at, _label_end, start, _embargo_us: available_at < start,
    ),
    ("split", "job.train.pooled.uniform_hash", lambda times, name: uniform_hash(times, f"{name}.")),
    ("training", "job.learning.training.shrink", lambda p, _base, _weight: p),
    ("training", "job.learning.fitting.LOGISTIC_C", 2e-3),
    ("training", "job.learning.importances.PERMUTATION_ROWS", 300),
    ("training", "job.learning.metrics.QUADRATURE_NODES", 4),
    ("training", "job.learning.metrics.CONFIDENCE", 0.9),
    ("weights", "job.learning.rows.DAY_US", 86_000_000_000),
    ("context", "transforms.context.LIMIT", 1.0),
    ("context", "transforms.context.QUANTUM", 2.0**-6),
    ("trading", "job.learning.positions.ROUNDING", 0.3),
    ("trading", "job.learning.sharpe.LONG_HELD_DAYS", 2.0),
    ("trading", "job.learning.sharpe.LEAST_TRIALS", 6),
    ("trading", "job.learning.sharpe_difference.BLOCK_DAYS", 6),
)
"""A definition, something that its numbers hang on, and what is put in its place."""


@pytest.mark.parametrize(("name", "target", "value"), CHANGES, ids=[f"{name}-{at}" for name, at, _ in CHANGES])
def test_changes_under_one_version_are_told(
    name: str, target: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_missing(name)
    monkeypatch.setattr(target, value)
    problem = told(definitions()[name], golden())
    assert problem.message.startswith(f"{name} gives other numbers under the same version ")
    assert problem.message.endswith("; raise its version, then `python -m tests.golden`")
    assert not problem.writable


@pytest.mark.parametrize("name", FEATURES)
def test_changes_of_features_are_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    feature = FEATURES[name]
    monkeypatch.setitem(FEATURES, name, replace(feature, expr=feature.expr * (1 + 1e-6)))
    problem = told(definitions()[f"feature {name}"], golden())
    assert f"feature {name} gives other numbers under the same version {feature.version}: values[" in problem.message


@pytest.mark.parametrize("name", SCORES)
def test_changes_of_scores_are_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    score = SCORES[name]
    monkeypatch.setitem(SCORES, name, replace(score, function=lambda label, p: 1.0 - (score.function(label, p) or 0.0)))
    problem = told(definitions()[f"score {name}"], golden())
    assert f"score {name} gives other numbers under the same version {score.version}: all rows[" in problem.message


def test_every_definition_is_seen_to_change() -> None:
    seen = {name for name, *_ in CHANGES} | {f"feature {name}" for name in FEATURES}
    seen |= {f"score {name}" for name in SCORES}
    assert seen == set(definitions()), "say in CHANGES what to change"


def test_parts_have_nothing_to_do_with_other_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, feature in FEATURES.items():
        monkeypatch.setitem(FEATURES, name, replace(feature, lookback=0, expr=pl.lit(0.0), terms=(), slowest=None))
    monkeypatch.setattr("job.learning.scikit_learn.FOREST_LEAF_SHARE", 0.2)
    monkeypatch.setattr("job.learning.scikit_learn.LOGISTIC_C", 1.0)
    monkeypatch.setattr(TripleBarrier, "resolve", None)
    for name, score in SCORES.items():
        monkeypatch.setitem(SCORES, name, replace(score, version=9, function=lambda *_: 0.0))
    assert [find_problem(definitions()[name], golden()) for name in PARTS] == [None] * len(PARTS)


def test_a_raised_version_asks_for_a_new_golden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TripleBarrier, "version", 99)
    problem = told(definitions()["label triple_barrier"], golden())
    number = golden().entries["label triple_barrier"][0]
    assert problem.message == (
        f"label triple_barrier has version 99, its golden {number}: write the goldens again: `python -m tests.golden`"
    )
    assert problem.writable


def test_a_new_entry_asks_for_its_golden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FEATURES, "own", replace(FEATURES["change_1"], name="own"))
    problem = told(definitions()["feature own"], golden())
    assert problem.message == "feature own has no golden: write it by `python -m tests.golden`"


STORED: Values = {"x": [1, 2.5, None, "a"]}


@pytest.mark.parametrize(
    ("values", "difference"),
    [
        ({"x": [1, 2.5 + 1e-7, None, "a"]}, "x[1]: expected 2.5, got 2.5000001"),
        ({"x": [2, 2.5, None, "a"]}, "x[0]: expected 1, got 2"),
        ({"x": [1, 2.5, 0.0, "a"]}, "x[2]: expected None, got 0.0"),
        ({"x": [1, 2.5, None, "b"]}, "x[3]: expected 'a', got 'b'"),
        ({"x": [1, 2.5]}, "x: expected 4 values, got 2"),
        (STORED | {"y": [1]}, "y: expected 0 values, got 1"),
        ({}, "x: expected 4 values, got 0"),
    ],
)
def test_the_first_difference_is_named(values: Values, difference: str) -> None:
    assert first_difference(STORED, values, rtol=1e-9) == difference


def test_the_last_bits_make_no_difference() -> None:
    assert first_difference(STORED, {"x": [1, 2.5 + 1e-12, None, "a"]}, rtol=1e-9) is None


def known(**values: tuple[int, float]) -> dict[str, Definition]:
    """Return definitions with a version and one number each."""

    def giving(number: float) -> Callable[[], Values]:
        return lambda: {"x": [number, None, "word"]}

    return {name: Definition(name, version, giving(number)) for name, (version, number) in values.items()}


def test_what_is_new_or_has_another_version_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "golden.json"
    assert main(known(kept=(1, 1 / 3), raised=(1, 2.0), gone=(1, 3.0)), path) == 0
    capsys.readouterr()
    assert main(known(kept=(1, 1 / 3 + 1e-11), raised=(2, 2.5), new=(1, 4.0)), path) == 0
    assert read_golden(path).entries == {
        "kept": (1, {"x": [0.333333333333, None, "word"]}),
        "raised": (2, {"x": [2.5, None, "word"]}),
        "new": (1, {"x": [4.0, None, "word"]}),
    }
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["raised", "new"]
    assert '"x": [ 4.0, null, "word" ]\n' in path.read_text(encoding="utf-8")


def test_nothing_is_written_where_numbers_changed_under_one_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "golden.json"
    main(known(changed=(1, 1.0)), path)
    before = path.read_text(encoding="utf-8")
    assert main(known(changed=(1, 1.5), new=(1, 4.0)), path) == 1
    assert path.read_text(encoding="utf-8") == before
    assert capsys.readouterr().err == (
        "changed gives other numbers under the same version 1: x[0]: expected 1.0, got 1.5; "
        "raise its version, then `python -m tests.golden`\n"
    )


def test_other_libraries_may_give_other_numbers(tmp_path: Path) -> None:
    path = tmp_path / "golden.json"
    stored = Golden(libraries() | {"numpy": "0.1"}, {"changed": (1, {"x": [1.0, None, "word"]})})
    write_golden(stored, path)
    other = known(changed=(1, 1.5))
    numpy = f"numpy {libraries()['numpy']}, not 0.1"
    assert other_libraries(stored) == numpy
    assert told(other["changed"], stored).message.startswith(f"changed gives other numbers with {numpy}: x[0]: ")
    assert main(other, path) == 0
    assert read_golden(path) == Golden(libraries(), {"changed": (1, {"x": [1.5, None, "word"]})})


def test_a_second_time_all_is_as_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "golden.json"
    main(known(same=(1, 1 / 3)), path)
    before = path.read_text(encoding="utf-8")
    capsys.readouterr()
    main(known(same=(1, 1 / 3)), path)
    assert path.read_text(encoding="utf-8") == before
    assert capsys.readouterr().out == "all as before\n"
