"""The command `report`, and `train --report`: files, messages, exit statuses."""

import json
import sys
import webbrowser
from pathlib import Path

import pytest

from job.cli import main
from tests.fleets import RUN_ID, synthetic_fleet
from tests.here import without_ray


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry of five models, in the current folder."""
    monkeypatch.chdir(tmp_path)
    synthetic_fleet(tmp_path / "models", 5)
    return tmp_path / "models"


@pytest.fixture
def one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pages be of one picture, which takes less time; `test_report_page` has those of all."""
    pytest.importorskip("altair", reason="altair is absent, which reports need: pip install '.[report]'")
    from job.report.pictures import PICTURES

    monkeypatch.setattr("job.report.page.PICTURES", [one for one in PICTURES if one.name == "fleet"])


@pytest.mark.parametrize("command", [["report"], ["train", "--report"]], ids=" ".join)
@pytest.mark.parametrize("library", ["altair", "vl_convert"])
def test_without_the_extra_one_line_names_it(
    command: list[str], library: str, models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    for known in ("altair", "vl_convert"):
        if known != library and known not in sys.modules:
            monkeypatch.setitem(sys.modules, known, sys)  # anything that can be imported
    before = sorted(models.rglob("*"))
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        line[9:]
        == f"ERROR   a report needs {library}, which is not installed: pip install -c constraints.txt '.[report]'"
    )
    assert sorted(models.rglob("*")) == before


@pytest.mark.usefixtures("one_picture")
def test_a_report_is_written_and_opened(
    models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []

    def refuse(url: str) -> bool:
        opened.append(url)
        return False

    monkeypatch.setattr(webbrowser, "open", refuse)
    assert main(["report", "--models", str(models), "--open", "--json"]) == 0
    target = models.parent / "report.html"
    assert opened == [target.as_uri()]
    said = capsys.readouterr()
    assert "no browser could be started" in said.err
    size = target.stat().st_size
    assert json.loads(said.out) == {"models": str(models), "report": str(target), "bytes": size}
    assert target.read_text().startswith("<!doctype html>")
    key = ["--key", "synthetic/COIN0000USDT/analyst_1h"]
    assert main(["report", "--models", str(models), *key, "--output", "new/one.html"]) == 0
    assert "<h1>synthetic/COIN0000USDT analyst 1h</h1>" in (models.parent / "new" / "one.html").read_text()


@pytest.mark.usefixtures("one_picture")
@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--models", "none"], 3, "holds no model: name the model registry with --models"),
        (["--run", "20300101_000000_000000"], 3, "has no record of a run '20300101_000000_000000'"),
        (["--run", "../x"], 3, "has no record of a run '../x'"),
        (["--key", "synthetic/COIN0000USDT/analyst_2h"], 2, "holds no model 'synthetic/COIN0000USDT/analyst_2h'; did"),
        (["--output", "s3://bucket/report.html"], 2, "give a local file; `train --report` writes into the registry"),
        (["--output", "models"], 2, "models cannot be written: Is a directory"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line(
    arguments: list[str], status: int, message: str, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", *arguments]) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (models.parent / "report.html").exists()


@pytest.mark.usefixtures("one_picture")
def test_the_report_of_a_run_stands_beside_its_record(models: Path) -> None:
    assert main(["report", "--run", RUN_ID, "--output", str(models.parent / "run.html")]) == 0
    assert f"run {RUN_ID} finished" in (models.parent / "run.html").read_text()


@pytest.mark.slow
def test_training_writes_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("altair", reason="altair is absent, which reports need: pip install '.[report]'")
    train = ["train", "--output", str(tmp_path / "models"), "--timeframes", "1h", "--report"]
    for run in range(2):  # the second has nothing to do
        with without_ray():
            assert main(train) == 0
        reports = sorted((tmp_path / "models" / "runs").glob("*.html"))
        assert len(reports) == run + 1
        assert reports[-1].with_suffix(".json").exists()
        html = reports[-1].read_text()
        assert f"run {reports[-1].stem} finished" in html
        assert "synthetic/SYN00USDT" in html
        assert f"report: {reports[-1]}" in capsys.readouterr().err
