"""`models export`: versions in a real MLflow server, once each, and the models that a fresh process loads from it."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError

import polars as pl
import pytest

from job import setup_model_trainer
from job.api.mlflow_model import _load_pyfunc
from job.cli import main
from job.compare.decisions import Decision, carry_out
from job.core.environment import BUNDLED_SAMPLE, ROOT
from job.core.errors import RegistryError
from job.core.keys import Key
from job.export import targets
from job.export.mlflow_server import alias_name
from job.export.run import Exported, export
from job.export.targets import Version
from job.registry.aliases import ALIASES, Aliases, read_aliases
from job.registry.names import version_name
from job.registry.promote import promote
from job.registry.versions import commit, list_versions
from job.storage.files import Storage
from tests.registries import fitted

RUNS: Final = [f"2023120{day}_120000_a1b2c3" for day in (1, 2)]
KEYS: Final = [Key("binance", "BTC/USDT", "1h", "analyst"), Key("kraken", "BTC/USDT", "1h", "analyst")]
VERSIONS: Final = [version_name(KEYS[0], run) for run in RUNS]

PREDICT: Final = """
import sys, mlflow.pyfunc, pandas, polars
model = mlflow.pyfunc.load_model(sys.argv[1])
bars = polars.read_parquet(sys.argv[2])
polars.from_pandas(model.predict(bars.to_pandas())).write_parquet(sys.argv[3])
"""


class Shelf:
    """A target in memory."""

    def __init__(self) -> None:
        self.versions: dict[tuple[Key, str], Version] = {}
        self.aliases: dict[Key, Aliases] = {}

    def add(self, version: Version, *, dry_run: bool) -> str | None:
        if held := self.versions.get((version.key, version.name)):
            return held.sha256
        if not dry_run:
            self.versions[version.key, version.name] = version
        return None

    def set_aliases(self, key: Key, aliases: Aliases) -> None:
        self.aliases[key] = aliases


@pytest.fixture
def registry(tmp_path: Path) -> Storage:
    """Two models with two versions each; the first one's older version is its champion."""
    registry = Storage(str(tmp_path / "models"))
    for key in KEYS:
        for run in RUNS:
            commit_version(registry, key, run)
    promote(registry, KEYS[0], RUNS[0])
    return registry


def commit_version(registry: Storage, key: Key, run: str, format_: str = "skops", **metadata: Any) -> None:
    estimators = {"model": fitted("logistic_regression"), "scaler": fitted("scaler")}
    commit(registry, key, version_name(key, run), metadata={"run_id": run, **metadata}, format=format_, **estimators)


def statuses(done: Iterator[Exported]) -> list[str]:
    return [one.status for one in done]


def test_champions_are_exported_once_and_aliases_follow(registry: Storage) -> None:
    shelf = Shelf()
    assert statuses(export(registry, KEYS, shelf, dry_run=True)) == ["exported", "no champion"]
    assert not shelf.versions
    assert statuses(export(registry, KEYS, shelf)) == ["exported", "no champion"]
    assert statuses(export(registry, KEYS, shelf)) == ["current", "no champion"]
    promote(registry, KEYS[0], RUNS[1])
    assert statuses(export(registry, KEYS, shelf)) == ["exported", "no champion"]
    assert shelf.aliases[KEYS[0]].champion == VERSIONS[1]
    assert statuses(export(registry, KEYS, shelf, version="latest")) == ["current", "exported"]
    assert statuses(export(registry, KEYS, shelf, version=RUNS[0])) == ["current", "exported"]
    assert len(shelf.versions) == 4
    (version, *_) = shelf.versions.values()
    assert [*version.files] == [f"{VERSIONS[0]}{end}" for end in (".json", ".skops", "_scaler.skops")]


def test_what_must_not_be_exported_is_named_and_the_others_are(registry: Storage) -> None:
    path = Path(registry.url) / KEYS[0].folder / f"{VERSIONS[0]}.skops"
    content = path.read_bytes()
    path.write_bytes(b"altered")
    shelf = Shelf()
    failed, other = export(registry, KEYS, shelf, version=RUNS[0])
    assert other.status == "exported"
    assert failed.status == "failed"
    assert "is not the model that was committed" in str(failed.message)
    path.write_bytes(content)

    commit_version(registry, KEYS[1], "20240101_120000_a1b2c3", "pkl")
    (pickled,) = export(registry, KEYS[1:], shelf, version="latest")
    assert "is a pickle, which can run any code where it is loaded" in str(pickled.message)

    elsewhere = Storage(f"{registry.url}-other")
    commit_version(elsewhere, KEYS[1], RUNS[0], note="another")
    (altered,) = export(elsewhere, KEYS[1:], shelf, version="latest")
    assert f"another {VERSIONS[0]} is exported already" in str(altered.message)


def test_aliases_of_all_series_have_names_of_their_own() -> None:
    odd = [Key("b", symbol, "1h", "analyst") for symbol in ("BTC/USDT", "BTC_USDT", "BTC-USDT", "BTC_2F_USDT", "Ü")]
    odd += [Key("b-BTC", "USDT", "1h", "analyst"), Key("b", "BTC-USDT", "1h", "analyst")]
    names = {alias_name(alias, key) for alias in ALIASES for key in odd}
    assert len(names) == 2 * len(set(odd))
    assert all(name.isascii() and name.replace("-", "").replace("_", "").isalnum() for name in names)
    assert "champion-b-BTC_2F_USDT" in names


@pytest.mark.parametrize("library", ["mlflow-skinny"])
def test_without_the_library_the_extra_is_named(
    library: str, registry: Storage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(targets, "installed", lambda _: None)
    assert main(["models", "export", "--to", "mlflow", "--models", registry.url]) == 2
    assert f"needs {library}, which is not installed: pip install -c constraints.txt '.[mlflow]'" in (
        capsys.readouterr().err
    )


def test_a_server_must_be_named(
    registry: Storage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(targets, "installed", lambda _: "3")
    assert main(["models", "export", "--to", "mlflow", "--models", registry.url]) == 2
    assert "name the server with --server URL, or set MLFLOW_TRACKING_URI" in capsys.readouterr().err


def test_what_mlflow_is_given_is_checked_when_it_is_loaded(registry: Storage, tmp_path: Path) -> None:
    folder = tmp_path / "version"
    folder.mkdir()
    with pytest.raises(RegistryError, match="holds no exported version"):
        _load_pyfunc(str(folder))
    shelf = Shelf()
    assert statuses(export(registry, KEYS[:1], shelf)) == ["exported"]
    for name, content in shelf.versions[KEYS[0], VERSIONS[0]].files.items():
        (folder / name).write_bytes(content)
    (folder / f"{VERSIONS[0]}.skops").write_bytes(b"altered")
    with pytest.raises(RegistryError, match="is not the model that was committed"):
        _load_pyfunc(str(folder))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trained series with two kinds of model each."""
    folder = tmp_path_factory.mktemp("trained") / "models"
    kinds = {
        "analyst_models": {"timeframes": ["15m"], "n_estimators": 5},
        "tactician_models": {"timeframes": ["15m"], "n_estimators": 5},
    }
    settings = {"model_directory": str(folder), "cv_folds": 1, **kinds}
    data = {"input": str(BUNDLED_SAMPLE), "lookback_days": 10}
    with setup_model_trainer({"data": data, "model_trainer": settings}) as trainer:
        trainer.train_models()
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server on SQLite with artifacts in a folder, in processes of its own."""
    if importlib.util.find_spec("mlflow") is None:
        pytest.skip("mlflow-skinny is absent, which the tests on a real MLflow server need")
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        f"{folder}/artifacts",
    ]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 120
    try:
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=1).close()
                break
            except (URLError, TimeoutError, ConnectionError):
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def call(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> dict[str, Any]:
    assert main(["models", "export", "--to", "mlflow", "--json", *arguments]) == status
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def predict_fresh(address: str, uri: str, bars: Path, folder: Path) -> pl.DataFrame:
    """Predict bars with a model of an MLflow server in a fresh process."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": address, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-c", PREDICT, uri, str(bars), str(folder / "out.parquet")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return pl.read_parquet(folder / "out.parquet")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_server_has_each_champion_once_and_its_predictions_are_ours(
    trained: Path, server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    registry = Storage(str(trained))
    keys = [Key("synthetic", f"SYN0{n}USDT", "15m", kind) for kind in ("analyst", "tactician") for n in (0, 1)]
    for key in keys[:3]:
        promote(registry, key, "latest")
    where = ("--models", str(trained), "--server", server)
    assert call(capsys, *where, "--dry-run")["counts"] == {"exported": 3, "no champion": 1}
    client = MlflowClient(server, registry_uri=server)
    assert not client.search_registered_models(), "a dry run writes nothing"
    assert call(capsys, *where)["counts"] == {"exported": 3, "no champion": 1}
    assert call(capsys, *where)["counts"] == {"current": 3, "no champion": 1}

    models = {one.name: one for one in client.search_registered_models()}
    assert {*models} == {"analyst_15m", "tactician_15m"}
    assert {*models["analyst_15m"].aliases} == {f"champion-synthetic-SYN0{n}USDT" for n in (0, 1)}
    (one,) = client.search_model_versions("name = 'analyst_15m' and tag.symbol = 'SYN00USDT'")
    assert one.tags["version"] == read_aliases(registry, keys[0]).champion
    run = client.get_run(str(one.run_id))
    assert run.info.status == "FINISHED"
    assert run.data.params["algorithm"] == "random_forest"
    assert "log_loss" in run.data.metrics

    bars = sorted(BUNDLED_SAMPLE.rglob("*.parquet"))[0]
    with setup_model_trainer({"model_trainer": {"model_directory": str(trained)}}) as trainer:
        for kind in ("analyst", "tactician"):
            ours = trainer.predict(pl.read_parquet(bars), kind, "15m", symbol="SYN00USDT", version="champion")
            theirs = predict_fresh(server, f"models:/{kind}_15m@champion-synthetic-SYN00USDT", bars, tmp_path)
            assert ours.height > 1_000
            for name in ("timestamp", "available_at"):
                assert ours[name].equals(theirs[name].cast(ours[name].dtype))
            for name in ("probability_down", "probability_up", "prediction", "version", "symbol"):
                assert ours[name].to_list() == theirs[name].to_list(), "bit for bit"

    assert call(capsys, *where, "--version", "latest")["counts"] == {"current": 3, "exported": 1}
    promote(registry, keys[3], "latest", alias="challenger")
    assert call(capsys, *where, "--version", "latest")["counts"] == {"current": 4}
    assert "challenger-synthetic-SYN01USDT" in client.get_registered_model("tactician_15m").aliases
    given_up, challenger = Decision("given up", "a test"), list_versions(registry, keys[3])[-1]
    carry_out(given_up, registry, keys[3], challenger, command="compare")
    call(capsys, *where, "--version", "latest")
    assert "challenger-synthetic-SYN01USDT" not in client.get_registered_model("tactician_15m").aliases


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_server_that_is_not_there_is_one_line(
    registry: Storage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    arguments = ["models", "export", "--to", "mlflow", "--models", registry.url]
    assert main([*arguments, "--server", "http://user:s3cret@127.0.0.1:9"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no MLflow server at http://127.0.0.1:9: " in line
    assert "s3cret" not in line
    assert line.endswith("start one, or correct --server or MLFLOW_TRACKING_URI")
