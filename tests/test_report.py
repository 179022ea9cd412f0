"""What a person sees: tables that fit the terminal, in an order that people read."""

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from job.cli.logs import configure_logging, log
from job.cli.progress import watching
from job.cli.report import models_table, telling
from job.cli.tables import best_in_words, fleet_table, tried_in_words
from job.config.settings import load_config
from job.core.keys import Key
from job.registry.catalog import scores_of
from job.registry.ledger import Tried
from job.registry.outcome import Outcome, failed
from job.storage.files import Storage
from job.train.record import TrainingRecord

SCORES: dict[str, float | bool | None] = {
    "accuracy": 0.583,
    "base_accuracy": 0.373,
    "log_loss": 0.6707,
    "base_log_loss": 0.7033,
    "benchmark_log_loss": 0.6788,
    "skill": 0.0463,
    "skill_low": -0.1576,
    "skill_high": 0.1503,
    "roc_auc": 0.586,
    "underpowered": True,
}


def trained(symbol: str, timeframe: str, model_type: str = "analyst") -> Outcome:
    return Outcome(
        "binance", symbol, timeframe, model_type, "trained", rows=1_234_567, seconds=12.3, scores=SCORES,
        log_loss_delta={"0": [10, -1.0]},
    )  # fmt: skip


def printed(outcomes: Sequence[Outcome], width: int, **how: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(models_table(outcomes, width=width, **how))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize(("width", "telling"), [(80, ("log-loss",)), (120, ("log-loss", "logistic", "AUC", "acc."))])
def test_every_model_is_one_line_whose_numbers_are_whole(width: int, telling: tuple[str, ...]) -> None:
    error = {"type": "DataError", "message": "no bars", "where": "reading bars"}
    bad = failed(Key("binance", "[red]ODD[/]", "1h", "tactician"), error, attempts=1)
    lines = printed([trained("BTC/USDT:USDT", "15m"), trained("1000PEPE/USDT:USDT", "1m", "tactician"), bad], width)
    assert all(len(line) <= width for line in lines)
    assert all(name in "\n".join(lines) for name in telling)
    rows = [line for line in lines if line.strip().startswith("binance/")]
    assert len(rows) == 3
    assert all("0.6707" in row and "+4.63% [-15.76%, +15.03%]*" in row for row in rows[:2])
    assert "[red]" in rows[2]
    assert rows[2].endswith("failed")
    assert any(line.strip().startswith("* underpowered") for line in lines)


def test_models_stand_from_the_longest_timeframe_to_the_shortest() -> None:
    mixed = [trained("BTC", timeframe) for timeframe in ("15m", "1h", "1m", "1d", "5m")]
    rows = [line.split()[2] for line in printed(mixed, 120) if line.strip().startswith("binance/")]
    assert rows == ["1d", "1h", "15m", "5m", "1m"]
    record = TrainingRecord("20240101_000000_abcdef", load_config({}), Storage("memory://report"), planned=5)
    for outcome in mixed:
        record.add(outcome)
    assert [row["timeframe"] for row in record.as_dict()["fleet"]] == rows


def test_of_many_models_the_best_the_worst_and_the_failed_are_shown() -> None:
    error = {"type": "DataError", "message": "no bars", "where": "reading bars"}
    broken = [failed(Key("binance", f"X{number}", "1h", "analyst"), error) for number in range(12)]
    skills = [((37 * number) % 960) / 1000 - 0.3 for number in range(960)]
    good = [
        replace(trained(f"S{number:03d}", "1h"), scores=SCORES | {"skill": skill})
        for number, skill in enumerate(skills)
    ]
    best, worst, left = telling([*good, *broken]).items()
    assert best[0].startswith("the 10 best of 960 models by skill")
    assert "--all" in best[0]
    assert [one.scores["skill"] for one in best[1]] == sorted(skills, reverse=True)[:10]
    assert worst[0] == "the 10 worst"
    assert [one.scores["skill"] for one in worst[1]] == sorted(skills)[:10]
    assert left[0] == "10 of 12 that failed"
    assert {one.status for one in left[1]} == {"failed"}
    for title, members in (best, worst, left):
        lines = printed(members, 100, title=title, sort=False)
        assert [line.split()[0] for line in lines if "binance/" in line] == [f"binance/{one.symbol}" for one in members]


def test_no_model_is_among_the_best_and_the_worst() -> None:
    few = [replace(trained(f"S{number}", "1h"), scores=SCORES | {"skill": number / 100}) for number in range(13)]
    (_, best), (title, worst) = telling(few).items()
    assert title == "the 3 worst"
    assert [one.symbol for one in worst] == ["S0", "S1", "S2"]
    assert not {one.symbol for one in best} & {one.symbol for one in worst}


def test_scores_of_the_catalog_alone_fill_a_table() -> None:
    known = scores_of(SCORES)
    (row,) = [line for line in printed([replace(trained("BTC", "1h"), scores=known)], 200) if "binance/" in line]
    assert "0.6707" in row


def test_names_cannot_write_lines_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")
    log.info("failed %s: no bars", "BTC\n20:00:00 INFO    all is well \x1b[31m")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(r"failed BTC\n20:00:00 INFO    all is well \x1b[31m: no bars")


def test_a_traceback_is_shown_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")
    error = {"type": "X", "message": "broken", "where": "training", "traceback": "one\n  two"}
    with watching(1) as watch:
        watch(Outcome("binance", "A", "1m", "analyst", "failed", error=error))
    lines = [line.split(maxsplit=2)[2] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["1/1 failed binance/A analyst 1m: broken", "one", "two"]


def test_a_fleet_of_too_little_time_has_no_adjusted_p() -> None:
    row = {
        "model_type": "analyst", "timeframe": "1h", "models": 2, "beat_base": 1, "change": -0.01, "t": -2.5, "p": 0.02,
        "clusters": 12, "underpowered": False, "adjusted_p": 0.0005,
    }  # fmt: skip
    table = fleet_table([row, {**row, "clusters": 4, "underpowered": True, "adjusted_p": None}])
    assert [*table.columns[-1].cells] == ["<0.001", "n/a"]
    assert [*table.columns[-2].cells] == ["12", "4*"]
    assert table.caption is not None


def test_what_was_tried_and_the_best_of_it_are_said_in_words() -> None:
    tried = Tried(models=80, versions=1_240, labels=2, algorithms=1, settings=19, comparisons=0).record()
    assert tried_in_words(tried) == (
        "tried on these bars: 80 models, 1,240 versions, 2 labels, 1 algorithm, 19 tuned settings"
    )
    assert tried_in_words(Tried(models=3).record()) == ""
    best = {"models": 4, "blocks": 35, "p": 0.0214, "underpowered": False, "model_type": "analyst", "timeframe": "1m"}
    assert best_in_words(best) == "the best of 4 kinds is analyst 1m: p 0.021 allowing for all of them"
    assert best_in_words({**best, "underpowered": True}).endswith("(underpowered)")
    assert best_in_words(None) == best_in_words({**best, "models": 1}) == best_in_words({**best, "p": None}) == ""
