"""Runs that can be watched by machines: figures for Prometheus, and log lines of JSON."""

import json
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from job.cli import main
from job.cli.logs import FORMAT_VARIABLE, configure_logging, log
from job.config.settings import load_config
from job.core.delayed import Delayed
from job.core.environment import ROOT
from job.core.errors import ConfigError
from job.core.keys import Key
from job.core.log_fields import of_model, set_run
from job.registry.metrics import FAMILIES, Metrics, process_metrics
from job.registry.outcome import Outcome, failed
from job.registry.record import RunRecord
from tests.growing import Feed
from tests.here import run_here, watch_here

KEY = Key("binance", "BTC/USDT", "1h", "analyst")


@pytest.fixture(autouse=True)
def own_metrics() -> Iterator[None]:
    """Figures of the test alone."""
    process_metrics.cache_clear()
    yield
    process_metrics.cache_clear()


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root, level = logging.getLogger(), log.level
    handlers = [*root.handlers]
    yield
    root.handlers[:] = handlers
    log.setLevel(level)


def parsed(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Return the value of every figure, as Prometheus reads them, by name and the values of its labels."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        assert family.type in {"counter", "gauge"}
        for sample in family.samples:
            assert set(sample.labels) <= {"operation", "state", "kind", "timeframe"}
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def states(record: RunRecord[Any]) -> dict[tuple[str, ...], int]:
    counted: Counter[tuple[str, ...]] = Counter(
        (record.operation, one.status, one.model_type, one.timeframe) for one in record.outcomes
    )
    return dict(counted)


def test_the_file_of_a_run_is_what_its_record_says(tmp_path: Path) -> None:
    feed = Feed.of(tmp_path, days=6, symbols=3)
    feed.until(6)
    for path in feed.path(1, None).parent.glob("*.parquet"):
        path.write_bytes(b"no bars")
    file = tmp_path / "figures" / "job.prom"
    config = feed.config(metrics={"textfile": str(file)})
    record = run_here(config)
    text = file.read_text(encoding="utf-8")
    found = parsed(text)
    assert found["ohlcv_models_total"] == states(record)
    where = ("train", "analyst", "5m")
    assert found["ohlcv_task_seconds_total"][where] == pytest.approx(sum(one.seconds for one in record.outcomes))
    assert found["ohlcv_task_cpu_seconds_total"][where] == pytest.approx(
        sum(one.cpu_seconds for one in record.outcomes)
    )
    assert found["ohlcv_written_bytes_total"][where] == sum(one.bytes for one in record.outcomes) > 0
    assert found["ohlcv_peak_memory_bytes"][where] == max(one.peak_rss_mb for one in record.outcomes) * 2**20
    assert found["ohlcv_queue_tasks"] == {("train",): 0}
    assert found["ohlcv_run_start_time_seconds"]["train",] <= found["ohlcv_run_end_time_seconds"]["train",]
    assert not any(one.symbol in text for one in record.outcomes), "there is no label for each symbol"
    assert [*file.parent.iterdir()] == [file]
    again = run_here(config)
    assert again.counts["current"] == 2
    both = Counter(states(record)) + Counter(states(again))
    assert parsed(file.read_text(encoding="utf-8"))["ohlcv_models_total"] == both, "counters go on in a process"


def test_rounds_of_watching_add_up(tmp_path: Path) -> None:
    feed = Feed.of(tmp_path, days=12)
    file = tmp_path / "watch.prom"
    config = feed.config(metrics={"textfile": str(file)}, watch={"predictions": str(tmp_path / "predictions")})
    feed.until(8)
    watch_here(config)
    first = parsed(file.read_text(encoding="utf-8"))
    feed.until(12)
    watch_here(config)
    second = parsed(file.read_text(encoding="utf-8"))
    assert {operation for operation, *_ in second["ohlcv_models_total"]} == {"train", "predict", "watch"}
    assert second["ohlcv_models_total"]["train", "trained", "analyst", "5m"] == 2
    assert all(second[name][where] >= value for name in first for where, value in first[name].items()
               if name.endswith("_total"))  # fmt: skip


def test_kinds_of_any_name_are_read_as_they_are() -> None:
    metrics = Metrics()
    kind = 'a"b\\c\nd'
    outcome = failed(Key("x", "S", "1h", kind), {"type": "X", "message": "x", "where": ""})
    metrics.task_ended("train", outcome, left=3)
    assert parsed(metrics.text())["ohlcv_models_total"] == {("train", "failed", kind, "1h"): 1}
    assert metrics.text().count("\n") == len(metrics.text().splitlines())


def test_the_number_of_figures_does_not_grow_with_that_of_models() -> None:
    metrics = Metrics()
    for number in range(5_000):
        metrics.task_ended("train", Outcome("x", f"S{number}", "1h", "analyst", "trained", seconds=1.0), left=0)
    metrics.task_retried("train")
    assert len(metrics.samples()) <= len(FAMILIES)
    assert parsed(metrics.text())["ohlcv_models_total"] == {("train", "trained", "analyst", "1h"): 5_000}
    assert parsed(metrics.text())["ohlcv_task_retries_total"] == {("train",): 1}


def test_a_file_that_cannot_be_written_costs_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    config = load_config({"metrics": {"textfile": str(tmp_path / "file" / "job.prom")}})
    record: RunRecord[Outcome] = RunRecord("r", config, operation="train", planned=1, statuses=("trained", "failed"))
    with caplog.at_level(logging.WARNING, "job"):
        record.finish("finished")
        record.finish("finished")
    assert len([one for one in caplog.records if "metrics.textfile" in one.getMessage()]) == 1


@pytest.mark.parametrize("file", ["job.txt", "s3://bucket/job.prom", ".", ""])
def test_a_file_that_no_node_exporter_reads_is_refused(file: str) -> None:
    with pytest.raises(ConfigError, match=r"metrics\.textfile: expected a local file that ends in \.prom"):
        load_config({"metrics": {"textfile": file}})


def test_figures_that_come_together_are_told_together() -> None:
    told: list[int] = []
    later = Delayed(lambda: told.append(1), 0.05)
    for _ in range(100):
        later.ask()
    deadline = time.monotonic() + 5
    while not told and time.monotonic() < deadline:
        time.sleep(0.01)
    later.ask()
    later.close()
    time.sleep(0.1)
    assert told == [1]


def test_ray_is_told_what_counters_have_grown_by(local_ray: None) -> None:
    from job.cluster import observing

    told: list[tuple[str, float, dict[str, str]]] = []

    class Meter:
        def __init__(self, name: str, _help: str, tag_keys: tuple[str, ...]) -> None:
            self.name, self.keys = name, tag_keys

        def inc(self, value: float, tags: dict[str, str]) -> None:
            assert set(tags) == set(self.keys)
            told.append((self.name, value, tags))

    class Level(Meter):
        set = Meter.inc

    metrics = Metrics()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(observing, "Counter", Meter)
        patch.setattr(observing, "Gauge", Level)
        with observing.told_to_ray(metrics):
            for seconds in (1.0, 2.5):
                metrics.task_ended("train", Outcome(*KEY.parts, "trained", seconds=seconds), left=0)
                metrics.tell()
        with observing.told_to_ray(metrics):
            metrics.task_ended("train", Outcome(*KEY.parts, "trained", seconds=0.5), left=0)
    assert [value for name, value, _ in told if name == "ohlcv_task_seconds"] == [1.0, 2.5, 0.5]
    assert [value for name, value, _ in told if name == "ohlcv_models"] == [1, 1, 1]
    assert not metrics.listeners
    real = Metrics()
    with observing.told_to_ray(real):  # what Ray itself takes
        real.run_began("train", planned=2)
        real.task_ended("train", Outcome(*KEY.parts, "trained", seconds=2.5), left=0)
        real.run_ended("train", left=0)


EXPORTING = """
import time, urllib.request
import ray
from ray.cluster_utils import Cluster
from job.cluster.observing import told_to_ray
from job.registry.metrics import Metrics
from job.registry.outcome import Outcome

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
try:
    ray.init(address=cluster.address, log_to_driver=False)
    node, metrics, found, until = ray.nodes()[0], Metrics(), [], time.monotonic() + 90
    with told_to_ray(metrics):
        metrics.task_ended("train", Outcome("x", "S", "1h", "analyst", "trained", seconds=2.5), left=2)
        metrics.tell()
        while not found and time.monotonic() < until:
            time.sleep(1)
            page = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
            try:
                text = urllib.request.urlopen(page, timeout=5).read().decode()
            except OSError:
                continue
            found = [line for line in text.splitlines() if line.startswith("ray_ohlcv_")]
finally:
    ray.shutdown()
    cluster.shutdown()
print(*found, sep="\\n")
"""


@pytest.mark.slow
@pytest.mark.alone
def test_a_node_of_ray_exports_the_figures() -> None:
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", EXPORTING], capture_output=True, text=True, timeout=200, check=True, env=environment
    )
    exported = {line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in done.stdout.splitlines()}
    assert exported["ray_ohlcv_models_total"] == 1
    assert exported["ray_ohlcv_task_seconds_total"] == 2.5
    assert exported["ray_ohlcv_queue_tasks"] == 2


def lines_of(text: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in text.splitlines()]
    assert all({"time", "level", "message"} <= set(line) for line in found)
    return found


def test_lines_of_json_say_which_run_and_model_they_are_about(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    hostile = Key("binance", 'BTC\n"}\u2028</script>', "1h", "analyst")
    set_run("20240101_000000_abcdef")
    log.warning("%s: died", hostile, extra=of_model(hostile, attempt=2))
    log.error("two\nlines", exc_info=ValueError("no"))
    first, second = lines_of(capsys.readouterr().err)
    assert first["message"] == f"{hostile}: died"
    assert {name: first[name] for name in vars(hostile)} == vars(hostile)
    assert (first["level"], first["attempt"], first["run_id"]) == ("warning", 2, "20240101_000000_abcdef")
    assert second["message"] == "two\nlines"
    assert "ValueError" in second["traceback"]


@pytest.mark.parametrize("how", ["flag", "setting", "file", "environment"])
def test_the_format_is_chosen_as_any_setting(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.yaml").write_text("ray: {logging_format: json}")
    given = {
        "flag": ("--log-format", "json"), "setting": ("--set", "ray.logging_format=json"),
        "file": ("--config", "job.yaml"), "environment": (),
    }[how]  # fmt: skip
    if how == "environment":
        monkeypatch.setenv(FORMAT_VARIABLE, "json")
    assert main(["watch", "--dry-run", "--timeframes", "1h", "--json", *given]) == 0
    printed = capsys.readouterr()
    assert lines_of(printed.err)
    assert json.loads(printed.out.splitlines()[-1])["models to train or check"] == 2


def test_arguments_win_over_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(FORMAT_VARIABLE, "json")
    assert main(["watch", "--dry-run", "--log-format", "text"]) == 0
    assert "INFO" in capsys.readouterr().err
    monkeypatch.setenv(FORMAT_VARIABLE, "xml")
    assert main(["plan", "--timeframes", "1h"]) == 2
    assert "ray.logging_format" in capsys.readouterr().err


@pytest.mark.slow
def test_a_whole_run_logs_json_and_its_result_is_the_last_line(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "job" / "main.py"), "--output", str(tmp_path / "models"), "--json"]
    more = ["--timeframes", "1h", "--log-format", "json", "--metrics", str(tmp_path / "job.prom")]
    done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=300, check=True)
    record = json.loads(done.stdout.splitlines()[-1])
    lines = lines_of(done.stderr)
    assert {line["run_id"] for line in lines if "run_id" in line} == {record["run_id"]}
    models = [line for line in lines if "symbol" in line]
    assert sorted((one["symbol"], one["status"]) for one in models) == sorted(
        (one["symbol"], one["status"]) for one in record["outcomes"]
    )
    found = parsed((tmp_path / "job.prom").read_text(encoding="utf-8"))["ohlcv_models_total"]
    assert sum(found.values()) == len(record["outcomes"])
