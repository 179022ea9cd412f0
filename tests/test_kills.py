"""Killed runs: whoever is killed, and whenever, a rerun ends with the models of an undisturbed run and nothing else."""

import json
import multiprocessing
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from job.cli import main
from job.config.settings import Config, load_config
from job.core.errors import RegistryError
from job.core.keys import Key
from job.core.synth import write_world
from job.registry.attempts import Attempt, record_attempt
from job.registry.catalog import CATALOG, key_of, list_summaries, read_catalog
from job.registry.cleanup import open_runs, sweep
from job.registry.leases import Lease
from job.registry.names import listed_versions, version_name
from job.registry.runs import events_path, open_marker, record_path
from job.registry.versions import load
from job.storage.files import Storage
from job.storage.local import temporary_name
from job.train.record import TrainingRecord
from tests.here import run_here
from tests.kills import (
    AGENTS_OUTLIVE_S,
    LEASE_S,
    MODELS,
    Case,
    EndedByRayError,
    Launched,
    becomes,
    cases,
    die_before,
    launched,
    lengths,
    lives,
    wait_for,
)
from tests.many import many_models

SEED = 20_241
TRIES = 4
ABORTED = ("aborted", "its process ended without closing the record")
ROWS = np.random.default_rng(SEED).normal(size=(500, 20)).astype(np.float32)
KEPT = re.compile(rf"{CATALOG}|listings/[0-9a-f]{{64}}-[0-9a-f]{{64}}\.json|runs/\d{{8}}_\d{{6}}_[0-9a-f]{{6}}\.json")
"""What a registry may hold beside versions."""

Files = Mapping[str, bytes]


def what_it_says(registry: Storage, key: Key, version: str = "latest") -> tuple[Any, ...]:
    """Load a version and return its probabilities on synthetic rows, its scores, and what its artifacts are."""
    model, scaler, metadata = load(registry, key, version)
    rows = scaler.transform(ROWS[:, : len(metadata["features"])])
    digests = [metadata["artefacts"][role]["sha256"] for role in ("model", "scaler")]
    return model.predict_proba(rows).tobytes(), metadata["scores"], digests


def latest_models(registry: Storage) -> dict[Key, tuple[Any, ...]]:
    return {key: what_it_says(registry, key) for key in {key_of(one) for one in list_summaries(registry)}}


def committed(registry: Storage) -> dict[tuple[Key, str], Files]:
    """Load every version that is committed and return the bytes of its files by path, by key and run."""
    for one in list_summaries(registry):
        load(registry, key_of(one), one["version"])
    found = [one for one in listed_versions(registry.list()) if one.committed]
    return {(one.key, one.run_id): registry.read_many(one.files.values()) for one in found}


def records(registry: Storage) -> dict[str, tuple[str, str | None]]:
    """Return status and reason of every run by its id."""
    paths = [path for path in registry.list("runs") if path.count("/") == 1 and path.endswith(".json")]
    found = [json.loads(data) for data in registry.read_many(paths).values()]
    return {record["run_id"]: (record["status"], record["reason"]) for record in found}


def strays(registry: Storage) -> set[str]:
    """Return the files that are no part of a version, no log of a run with a record, and none of `KEPT`.

    Fails where the catalog is not whole.
    """
    found = listed_versions(registry.list())
    assert all(one.committed for one in found)
    listed = {(key_of(one), one["version"]) for one in read_catalog(registry)}
    assert listed == {(one.key, one.version) for one in found}
    versions = {path for one in found for path in one.files.values()}
    folder = Path(registry.url)
    assert not [*folder.glob("runs/*.attempts")]
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    logs = {events_path(Path(path).stem) for path in files if path == record_path(Path(path).stem)}
    return {path for path in files - versions - logs if not KEPT.fullmatch(path)}


@contextmanager
def told_with(what: str) -> Iterator[None]:
    """Add to a failure which case it is and where its store can be looked at."""
    try:
        yield
    except (AssertionError, RegistryError, subprocess.TimeoutExpired) as failure:
        failure.add_note(what)
        raise


@dataclass(frozen=True)
class Undisturbed:
    """What killed runs are measured by: the seconds of each stage, and what every model says."""

    bars: Path
    seconds: list[float]
    models: dict[Key, tuple[Any, ...]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    bars, folder = tmp_path_factory.mktemp("bars"), tmp_path_factory.mktemp("undisturbed") / "models"
    write_world(bars, symbols=2, days=4, seed=3, world="signal")
    seconds = lengths(bars, folder)
    models = latest_models(Storage(str(folder)))
    assert len(models) == MODELS
    return Undisturbed(bars, seconds, models)


@pytest.fixture(scope="module")
def agents() -> Iterator[list[psutil.Process]]:
    """Collect what outlives its driver for long, and see in the end that it is gone."""
    outliving: list[psutil.Process] = []
    yield outliving
    gone = becomes(lambda: not any(map(lives, outliving)), AGENTS_OUTLIVE_S)
    for process in filter(lives, outliving):
        process.kill()
    assert gone


@pytest.mark.slow
@pytest.mark.parametrize("case", cases(SEED), ids=str)
def test_a_rerun_ends_as_if_nothing_had_been_killed(
    case: Case, undisturbed: Undisturbed, agents: list[psutil.Process], tmp_path: Path
) -> None:
    """Where a run is faster than the undisturbed one it may end before its moment: then another is killed earlier.

    Other work on the machine may slow the undisturbed run down to half: each try waits for half as long in its stage.
    """
    for attempt in range(TRIES):
        folder = tmp_path / f"models{attempt}"
        with told_with(f"case {case} of seed {SEED}, store {folder}"), launched(undisturbed.bars, folder) as run:
            stage = int(case.moment)
            wait_for(stage + (case.moment - stage) / 2**attempt, run, undisturbed.seconds)
            if run.kill(case.victim, random.Random(f"{SEED} {case}")):
                with suppress(EndedByRayError):  # rare, and a run as any other that was killed: another one tells
                    agents += check_what_follows(case, run, undisturbed)
                    return
    pytest.fail(f"case {case}: each of {TRIES} runs ended before it could be killed, or was ended by Ray")


def check_what_follows(case: Case, run: Launched, undisturbed: Undisturbed) -> list[psutil.Process]:
    """Look at the registry, run again at once, look again; return what is still alive of the killed run.

    Workers outlive their driver by up to a second or two, and may commit after the rerun has seen which models there
    are, so that it trains those again. Such a model has two versions, one of either run, and both are whole; no model
    has where everything was killed, or a worker alone.
    """
    registry, stopped = Storage(str(run.registry)), case.victim in {"driver", "group"}
    before = committed(registry)
    if not stopped:
        run.finish()
        assert [*records(registry).values()] == [("finished", None)]
        assert before.items() <= committed(registry).items()
        before = committed(registry)
        assert len(before) == MODELS
    told = records(registry)
    rerun(undisturbed.bars, registry, stopped=stopped)
    left = run.be_idle()
    assert latest_models(registry) == undisturbed.models
    after = committed(registry)
    assert before.items() <= after.items(), "what was committed changed, or is gone"
    assert {key for key, _ in after.keys() - before.keys()}.isdisjoint(key for key, _ in before), "fitted again"
    assert len(after) == MODELS or (case.victim == "driver" and len({key for key, _ in after}) == MODELS)
    assert strays(registry) == set()
    ended = records(registry)
    for one, (status, reason) in told.items():
        assert ended.pop(one) == (ABORTED if status == "running" else (status, reason))
    assert set(ended.values()) == {("finished", None)}
    return left


def rerun(bars: Path, registry: Storage, *, stopped: bool) -> None:
    """Run again, and once more if the dead run's marker is still there.

    It stays until the lease has expired, since workers may outlive their driver; a rerun that has nothing to train
    takes less than that.
    """
    nothing_to_do = f"{MODELS} models: {MODELS} current"
    with launched(bars, Path(registry.url)) as again:
        log = again.finish()
    assert stopped or nothing_to_do in log
    if strays(registry):
        time.sleep(LEASE_S)
        with launched(bars, Path(registry.url)) as again:
            assert nothing_to_do in again.finish()


@pytest.mark.slow
def test_a_rerun_mends_what_is_cut_off_before_any_change_of_the_store(tmp_path: Path) -> None:
    """One process is driver and worker. It is killed before its first change of the registry, its second, and so on.

    All it leaves is swept by a rerun, but for the marker until its lease has expired; where it had no record yet, it
    passes for alive until then.
    """
    bars = tmp_path / "bars"
    write_world(bars, symbols=1, days=2, seed=3, world="signal")
    read_all = small(bars, tmp_path / "whole")
    run_here(read_all)
    models = latest_models(store_of(read_all))
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.here", "job.train.commit", "skops.io"])
    for change in count(1):
        config, note = small(bars, tmp_path / f"before{change}"), tmp_path / f"note{change}"
        process = processes.Process(target=die_before, args=(change, run_here, config, note))
        process.start()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        with told_with(f"killed before change {change}: {note.read_text()}"):
            check_what_was_cut_off(config, models)
    assert change > 60


def check_what_was_cut_off(config: Config, models: Mapping[Key, tuple[Any, ...]]) -> None:
    registry = store_of(config)
    before, told = committed(registry), records(registry)
    run_here(config)
    assert latest_models(registry) == models
    after = committed(registry)
    assert before.items() <= after.items()
    assert len(after) == len(models)
    assert strays(registry) <= {open_marker(one) for one in told} or not told
    assert {ended for one, ended in records(registry).items() if one in told} <= {ABORTED, ("finished", None)}
    others = open_runs(registry, lease_s=0)
    sweep(registry, "", [replace(one, live=False, expires_at=datetime.now(UTC)) for one in others])
    assert strays(registry) == set()


def small(bars: Path, registry: Path) -> Config:
    """Return the settings of a run of two small models, of which one is a blend."""
    models = {"timeframes": ["5m"], "n_estimators": 3}
    trainer = {
        "model_directory": str(registry),
        "enable_tactician_models": False,
        "cv_folds": 1,
        "analyst_models": models,
        "models": {"pool": {**models, "timeframes": ["15m"], "algorithm": "blend", "label": "direction(10)"}},
    }
    return load_config({"data": {"input": str(bars)}, "model_trainer": trainer}).with_absolute_paths()


def store_of(config: Config) -> Storage:
    return Storage(config.model_trainer.model_directory)


SCORES = {"accuracy": 0.5, "log_loss": 0.69, "base_log_loss": 0.69, "skill": 0.0, "skill_low": 0.0, "skill_high": 0.0}
KEY = Key("synthetic", "S0000", "1h", "analyst")
OTHER = "20240102_000000_00000b"


@pytest.fixture
def trained(tmp_path: Path) -> Config:
    """Return the settings of a run that has nothing to train."""
    return many_models(tmp_path, symbols=1, scores=SCORES)


def leave_half_a_run(registry: Storage, lease: Lease) -> dict[str, bytes]:
    """Write what a run leaves that dies while it commits a model; return all files of the registry."""
    registry.create(open_marker(OTHER), b"")
    renew(registry, lease)
    record_attempt(registry, OTHER, 1, Attempt.of_this_process(KEY, "training"))
    for path in (
        f"{KEY.folder}/{version_name(KEY, OTHER)}.skops",
        f"{KEY.folder}/{temporary_name(OTHER)}",
        f"runs/{temporary_name(OTHER)}",
        temporary_name(OTHER),
    ):
        registry.replace(path, b"half")
    return content(registry)


def renew(registry: Storage, lease: Lease) -> None:
    record = {"run_id": OTHER, "status": "running", "reason": None, "lease": lease.record()}
    registry.replace(record_path(OTHER), json.dumps(record).encode())


def content(registry: Storage) -> dict[str, bytes]:
    """Return the bytes of all files of a registry, whole or not."""
    return registry.read_many([*registry.list(), *registry.unfinished()])


def run_again(config: Config) -> int:
    return main(["--input", str(config.data.input), "--output", config.model_trainer.model_directory])


def test_a_run_whose_driver_is_gone_is_swept_at_once_on_its_own_host(
    trained: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = store_of(trained)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as driver:
        started = psutil.Process(driver.pid).create_time()
        driver.kill()
    lease = replace(Lease.of_this_process(3_600), pid=driver.pid, process_started=started)
    leave_half_a_run(registry, lease)
    assert run_again(trained) == 0
    assert "is writing to" not in capsys.readouterr().err
    assert strays(registry) == {open_marker(OTHER)}, "workers may outlive the driver, until the lease expires"
    assert records(registry)[OTHER] == ABORTED


def test_a_run_on_another_host_is_left_alone_and_mentioned_until_its_lease_expires(
    trained: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = store_of(trained)
    lease = replace(Lease.of_this_process(3_600), host="elsewhere")
    before = leave_half_a_run(registry, lease)
    assert run_again(trained) == 0
    assert f"run {OTHER} is writing to {registry.url}, too: both will commit what they train" in capsys.readouterr().err
    assert before.items() <= content(registry).items()
    renew(registry, replace(lease, expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    assert run_again(trained) == 0
    assert "is writing to" not in capsys.readouterr().err
    assert strays(registry) == set()
    assert records(registry)[OTHER] == ABORTED


def test_a_run_that_its_store_refuses_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Storage) -> None:
        raise RegistryError("no conditional writes")

    monkeypatch.setattr(Storage, "check_writable", refuse)
    registry = Storage(str(tmp_path))
    with pytest.raises(RegistryError, match="no conditional writes"):
        TrainingRecord(OTHER, Config(), registry, planned=1).open()
    assert not content(registry)
