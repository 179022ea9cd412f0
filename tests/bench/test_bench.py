"""The benchmark's tables and what becomes of them in the README; the figures themselves are no test."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.bench.__main__ import CASES, main
from tests.bench.before import checked_out, compared, full_name, git, quantities
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
    [
        (["nothing"], "unknown case nothing: known are"),
        (["--quick", "--write"], "--write is for whole runs"),
    ],
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


def test_quantities_are_read_from_a_printed_table() -> None:
    lines = (
        line("a run", [1_234.5, 2_000.0, 9.0], "s", at_most=7.5),
        line("w" * 38, 12_345_678.9, "ns"),
        "a title",
        line("a run", 2.0, "s"),
    )
    assert quantities(str(Table("first", "something: timed", lines))) == {
        ("a run", 0): (1_234.5, "s"),
        ("w" * 38, 0): (12_345_678.9, "ns"),
        ("a run", 1): (2.0, "s"),
    }


def test_before_and_after_stand_in_one_line_with_their_ratio() -> None:
    before = Table("first", "timed", (line("gone", 1.0, "s"), line("a run", 8.0, "s"), line("nothing", 0.0, "s")))
    after = Table(
        "first", "timed", (line("a run", [6.0, 5.0, 7.0], "s"), line("new", 1.0, "s"), line("nothing", 1.0, "s"))
    )
    table = compared("first", str(before), str(after), commit="0123456789")
    assert str(table).splitlines()[0] == "first before and after: medians at 0123456 and now"
    assert [each.split() for each in table.lines] == [["a", "run", "8", "6", "s", "0.75", "x"]]


def test_a_commit_is_checked_out_aside_and_leaves_nothing(tmp_path: Path) -> None:
    git("init", repository=tmp_path)
    (tmp_path / "file").write_text("text")
    git("add", "file", repository=tmp_path)
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-m", "first", repository=tmp_path)
    with checked_out(full_name("HEAD", repository=tmp_path), repository=tmp_path) as tree:
        assert (tree / "file").read_text() == "text"
    assert not tree.exists()
    assert len(git("worktree", "list", repository=tmp_path).splitlines()) == 1
    with pytest.raises(ValueError, match="fatal: Needed a single revision"):
        full_name("absent", repository=tmp_path)
