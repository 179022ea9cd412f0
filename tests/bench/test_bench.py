"""The benchmark's tables and what becomes of them in the README; the figures themselves are no test."""

from importlib import import_module

import numpy as np
import pandas as pd
import pytest

from tests.bench.__main__ import CASES, main
from tests.bench.pandas_packs import by_covariance, by_window
from tests.bench.readme import END, START, check, sections, with_sections
from tests.bench.table import Table, line

README = f"# Title\n{START}\n{END}\n## Limits\n- one\n"
ORDER = ("first", "second", "third")


def figures(name: str, value: float) -> str:
    return str(Table(name, "something: timed", (line("a run", value, "s"),)))


def test_figures_stand_between_the_markers_in_the_order_of_the_cases() -> None:
    text = with_sections(README, "a machine", {"third": figures("third", 3)}, order=ORDER)
    text = with_sections(text, "a machine", {"first": figures("first", 1)}, order=ORDER)
    assert list(sections(text)[1]) == ["first", "third"]
    assert text.startswith("# Title\n")
    assert text.endswith(f"{END}\n## Limits\n- one\n")
    between = text[text.index(START) + len(START) : text.index(END)]
    assert all(text.startswith("    ") for text in between.splitlines() if text)


def test_only_the_cases_that_were_run_are_replaced() -> None:
    both = {name: figures(name, 1) for name in ("first", "second")}
    before = with_sections(README, "a machine", both, order=ORDER)
    after = with_sections(before, "a machine", {"second": figures("second", 2)}, order=ORDER)
    assert sections(after) == ("a machine", {"first": figures("first", 1), "second": figures("second", 2)})


def test_figures_of_two_machines_do_not_mix() -> None:
    text = with_sections(README, "a machine", {"first": figures("first", 1)}, order=ORDER)
    check(text, "a machine", ["second"])
    check(text, "another", ["first", "second"])
    with pytest.raises(ValueError, match=r"figures of first are of another machine \(a machine\): run all cases"):
        check(text, "another", ["second"])
    moved = with_sections(text, "another", {"second": figures("second", 2)}, order=ORDER)
    assert sections(moved) == ("another", {"second": figures("second", 2)})


def test_a_readme_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks the lines"):
        check("# Title\n", "a machine", ["first"])


@pytest.mark.parametrize(
    ("at_most", "at_least", "verdict"),
    [(2.0, None, "<= 2.0 met"), (1.9, None, "<= 1.9 missed"), (None, 2.0, ">= 2.0 met"), (None, 2.1, ">= 2.1 missed")],
)
def test_the_median_meets_the_target(at_most: float | None, at_least: float | None, verdict: str) -> None:
    text = line("a run", [9.0, 2.0, 1.0], "s", at_most=at_most, at_least=at_least)
    assert text.endswith(verdict)
    assert "1.0 to 9.0 of 3" in text


def test_lines_are_at_most_100_columns_wide() -> None:
    text = line("w" * 38, [1_234.5, 9_999.9], "units", at_most=1_000.0)
    assert len(text) + 2 <= 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nothing"], "unknown case nothing: known are"), (["--quick", "--write"], "--write is for whole runs")],
)
def test_arguments_that_make_no_sense_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", CASES)
def test_every_case_says_what_it_measures(name: str) -> None:
    assert (import_module(CASES[name].__module__).__doc__ or "").startswith(f"[{name}] ")


@pytest.mark.parametrize("window", [5, 60])
def test_both_ways_of_regression_in_pandas_agree(window: int) -> None:
    close = pd.Series(100 * np.exp(0.01 * np.random.default_rng(0).standard_normal(500).cumsum()))
    for one, other in zip(by_window(close, window), by_covariance(close, window), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)
