"""A run in a notebook: what it shows, its models, frames of bars as its input."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from job import RayModelTrainer, setup_model_trainer
from job.api import html
from job.api import run as runs
from job.api.html import run_as_html
from job.api.run import Run
from job.config.settings import Config
from job.core.environment import BUNDLED_SAMPLE
from job.core.errors import ConfigError, RegistryError
from job.registry.outcome import Outcome
from tests.here import without_ray

FILE = sorted(BUNDLED_SAMPLE.rglob("*.parquet"))[0]
KINDS = {
    "analyst_models": {"timeframes": ["1h", "15m"], "algorithm": "logistic_regression"},
    "tactician_models": {"timeframes": ["15m"], "algorithm": "logistic_regression"},
}
RECORD = {"run_id": "20240101_000000_abcdef", "status": "finished", "counts": {"trained": 1, "failed": 0}}


def bars() -> pl.DataFrame:
    return pl.read_parquet(FILE).select("timestamp", "open", "high", "low", "close", "volume")


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayModelTrainer]:
    trainer_settings = {"cv_folds": 2, "model_directory": str(tmp_path_factory.mktemp("models")), **KINDS}
    settings = {"data": {"lookback_days": 15}, "model_trainer": trainer_settings}
    with without_ray(), setup_model_trainer(settings) as made:
        yield made


@pytest.fixture(scope="module")
def run(trainer: RayModelTrainer) -> Run:
    return trainer.train(bars(), symbol="BTCUSDT")


def test_a_frame_is_trained_on_as_a_file_with_its_bars(run: Run, trainer: RayModelTrainer, tmp_path: Path) -> None:
    table = run.to_polars()
    assert table.height == 3
    assert set(table["status"]) == {"trained"}
    assert set(table["exchange"]) == {"frame"}
    assert set(table["symbol"]) == {"BTCUSDT"}
    assert table["error"].null_count() == 3
    again = trainer.train(bars().to_pandas().set_index("timestamp"), symbol="BTCUSDT")
    assert set(again.to_polars()["status"]) == {"current"}, "pandas or Polars, the bars are the same"
    path = tmp_path / "bars.parquet"
    bars().with_columns(symbol=pl.lit("BTCUSDT"), exchange=pl.lit("file")).write_parquet(path)
    of_file = trainer.train(path).to_polars()
    assert of_file.sort("timeframe", "model_type")["log_loss"].to_list() == (
        table.sort("timeframe", "model_type")["log_loss"].to_list()
    )


def test_models_of_a_run_predict_and_are_found_by_name(run: Run, trainer: RayModelTrainer) -> None:
    model = run.model("BTCUSDT", "1h")
    assert model.predict(bars()).equals(trainer.predict(bars(), "analyst", "1h", symbol="BTCUSDT", exchange="frame"))
    assert repr(model) == f"TrainedModel(frame/BTCUSDT analyst 1h, {model.version})"
    assert repr(model.metadata).startswith(f"Metadata({model.version}: 20 features, bars 20")
    assert model.metadata["version"] == model.version
    with pytest.raises(RegistryError, match=r"2 models BTCUSDT 15m in run .*: name model_type and exchange, of fr"):
        run.model("BTCUSDT", "15m")
    assert run.model("BTCUSDT", "15m", model_type="tactician").key.model_type == "tactician"
    with pytest.raises(RegistryError, match=r"no model ETH 1h in run .*: there are frame/BTCUSDT analyst 15m, "):
        run.model("ETH", "1h")


def test_what_is_shown_is_short(run: Run, trainer: RayModelTrainer) -> None:
    assert repr(run) == f"Run({run.record['run_id']} finished: 3 trained)"
    assert repr(trainer).startswith("RayModelTrainer(analyst 1h/15m, tactician 15m; into /")
    data = trainer.training_data("analyst", "1h", {"input": str(FILE)})
    assert repr(data).startswith(f"TrainingData(SYN00USDT analyst 1h: {len(data.features)} rows from 20")
    assert len(repr(data)) < 200
    shown = run._repr_html_()
    assert shown.count("<tr>") == 6, "heads, three fleets, one series"
    for row in run.to_polars().iter_rows(named=True):
        assert f"{row['skill']:+.2%}" in shown


def test_bars_without_a_name_or_for_a_cluster_are_refused(trainer: RayModelTrainer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"name the series of the bars: train\(bars, symbol='BTCUSDT'\)"):
        trainer.train(bars())
    far = setup_model_trainer(
        {"ray": {"address": "10.0.0.1:6379"}, "model_trainer": {"model_directory": str(tmp_path)}}
    )
    with pytest.raises(ConfigError, match=r"a frame stays on this machine, and Ray is at 10.0.0.1:6379: write it"):
        far.train(bars(), symbol="A")


def outcome(symbol: str, skill: float | None, **more: Any) -> Outcome:
    return Outcome("x", symbol, "1h", "analyst", "trained", scores={"skill": skill, "underpowered": False}, **more)


def test_names_and_messages_of_hostile_hands_are_text() -> None:
    bad = "<script>alert(1)</script>"
    failed = replace(outcome(bad, None), status="failed", error={"type": "DataError", "message": f"{bad} & '\""})
    for outcomes in ([outcome(bad, 0.1), failed], [failed], []):
        shown = run_as_html({**RECORD, "run_id": bad}, outcomes)
        assert "<script" not in shown
        assert shown.count("&lt;script&gt;") >= 1


def test_of_many_series_the_best_and_the_worst_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "MOST_SERIES", 4)
    outcomes = [outcome(f"S{number}", number / 100) for number in range(9)]
    shown = run_as_html(RECORD, outcomes)
    assert [name for name in (f"S{number}" for number in range(9)) if f"x/{name}<" in shown] == ["S0", "S1", "S7", "S8"]
    assert "5 series between the best and the worst are left out" in shown
    fleet = shown.partition("</table>")[0]
    assert ">9<" in fleet, "a fleet counts all"


def test_a_report_is_a_page_or_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = Config.model_validate({"model_trainer": {"model_directory": str(tmp_path)}})
    monkeypatch.setattr(runs, "REPORT", ("no_such_module:check", "no_such_module:report_of"))
    with pytest.raises(ConfigError, match=r"a report needs no_such_module, which is not installed: pip .*report"):
        Run(config, RECORD, ()).report()
    made = SimpleNamespace(html="<p title='a'>\"quoted\"</p>")
    monkeypatch.setattr(runs, "resolve_name", {"check": lambda: None, "make": lambda *_, **__: made}.__getitem__)
    monkeypatch.setattr(runs, "REPORT", ("check", "make"))
    page = Run(config, RECORD, ()).report()
    assert page.html == made.html
    shown = page._repr_html_()
    assert 'srcdoc="&lt;p title=&#x27;a&#x27;&gt;&quot;quoted&quot;&lt;/p&gt;"' in shown
    assert "sandbox=" in shown
