"""What dead runs leave is swept; what living ones are writing is not."""

import json
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from job.config.settings import load_config
from job.core.synth import write_world
from job.registry.attempts import Attempt, record_attempt
from job.registry.cleanup import open_runs, sweep
from job.registry.leases import Lease
from job.registry.names import version_name
from job.registry.runs import open_marker, record_path
from job.registry.versions import commit
from job.storage.files import Storage
from job.storage.local import temporary_name
from tests.here import run_here
from tests.registries import KEY, fitted

OWN, DEAD, ALIVE = "20240101_000000_00000a", "20240102_000000_00000b", "20240103_000000_00000c"


def open_run(registry: Storage, run_id: str, lease: Lease) -> None:
    """Leave what a run has written when it has just begun a model."""
    registry.create(open_marker(run_id), b"")
    record = {"run_id": run_id, "status": "running", "lease": lease.record()}
    registry.create(record_path(run_id), json.dumps(record).encode())
    record_attempt(registry, run_id, 1, Attempt.of_this_process(KEY, "training"))


def half_version(registry: Storage, run_id: str) -> list[str]:
    """Leave a model without scaler and metadata, and a file that was not finished."""
    torn = f"{KEY.folder}/{version_name(KEY, run_id)}.skops"
    unfinished = f"{KEY.folder}/{temporary_name(run_id)}"
    for path in (torn, unfinished):
        registry.replace(path, b"half")
    return [torn, unfinished]


def all_files(registry: Storage) -> set[str]:
    return {*registry.list(), *registry.unfinished()}


def expired(host: str = "elsewhere") -> Lease:
    return replace(Lease.of_this_process(-1), host=host)


def live(host: str = "elsewhere") -> Lease:
    return replace(Lease.of_this_process(60), host=host)


def test_what_an_expired_run_left_is_swept_and_its_record_closed(registry: Storage) -> None:
    open_run(registry, DEAD, expired())
    half_version(registry, DEAD)
    read_all = commit(registry, KEY, version_name(KEY, DEAD.replace("b", "d")), model=fitted("scaler"),
                   scaler=fitted("scaler"), metadata={})  # fmt: skip
    others = open_runs(registry, lease_s=60)
    assert [(one.run_id, one.live) for one in others] == [(DEAD, False)]
    assert sweep(registry, OWN, others) == 2
    left = {f"{KEY.folder}/{read_all['version']}{part}" for part in (".json", ".skops", "_scaler.skops")}
    assert all_files(registry) == {record_path(DEAD), *left}
    record = json.loads(registry.read(record_path(DEAD)))
    assert (record["status"], record["reason"]) == ("aborted", "its process ended without closing the record")


def test_a_living_run_is_left_alone(registry: Storage) -> None:
    open_run(registry, ALIVE, live())
    open_run(registry, DEAD, expired())
    kept, gone = half_version(registry, ALIVE), half_version(registry, DEAD)
    sweep(registry, OWN, open_runs(registry, lease_s=60), at_end=True)
    assert set(kept) <= all_files(registry)
    assert not set(gone) & all_files(registry)
    assert open_marker(ALIVE) in all_files(registry)


def test_a_run_tells_of_living_ones_and_not_of_dead_ones(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_world(tmp_path / "bars", symbols=1, days=3, seed=3)
    registry = Storage(str(tmp_path / "models"))
    trainer = {
        "analyst_models": {"timeframes": ["15m"], "n_estimators": 5},
        "enable_tactician_models": False,
        "cv_folds": 2,
        "model_directory": registry.url,
    }
    open_run(registry, ALIVE, live())
    open_run(registry, DEAD, expired())
    with caplog.at_level(logging.WARNING):
        run_here(load_config({"data": {"input": str(tmp_path / "bars")}, "model_trainer": trainer}))
    assert f"run {ALIVE} is writing to {registry.url}, too" in caplog.text
    assert f"run {DEAD} is writing" not in caplog.text


def test_a_run_whose_process_is_gone_is_swept_at_once_but_its_marker_stays_until_the_lease_ends(
    registry: Storage,
) -> None:
    """Workers outlive their driver by seconds: what they still write is swept by a later run."""
    lease = Lease.of_this_process(60)
    open_run(registry, DEAD, replace(lease, process_started=lease.process_started - 100))
    half_version(registry, DEAD)
    others = open_runs(registry, lease_s=60)
    assert [one.live for one in others] == [False]
    assert sweep(registry, OWN, others) == 2
    assert all_files(registry) == {record_path(DEAD), open_marker(DEAD)}
    late = half_version(registry, DEAD)
    (again,) = open_runs(registry, lease_s=60)
    assert not again.live
    assert sweep(registry, OWN, [replace(again, expires_at=datetime.now(UTC))], at_end=True) == len(late)
    assert all_files(registry) == {record_path(DEAD)}


def test_a_runs_own_pieces_are_swept_at_its_end_only(registry: Storage) -> None:
    pieces = half_version(registry, OWN)
    assert sweep(registry, OWN, []) == 0
    assert set(pieces) <= all_files(registry)
    assert sweep(registry, OWN, [], at_end=True) == 2
    assert not all_files(registry)


def test_files_of_a_run_that_nobody_knows_are_left_alone_for_a_day(registry: Storage) -> None:
    young = f"{datetime.now(UTC) - timedelta(hours=1):%Y%m%d_%H%M%S}_00000f"
    kept, gone = half_version(registry, young), half_version(registry, DEAD)
    sweep(registry, OWN, [])
    assert all_files(registry) == set(kept)
    assert not set(gone) & all_files(registry)


@pytest.mark.parametrize("record", [None, b"", b"{}", b"[]", b'{"lease": 3}', b'{"status": "running", "lease": {}}'])
def test_a_run_that_died_before_its_record_was_whole_is_dead_after_a_lease(record: bytes | None) -> None:
    registry = Storage("memory://torn-record")
    registry.remove_folder("runs")
    registry.create(open_marker(DEAD), b"")
    if record is not None:
        registry.replace(record_path(DEAD), record)
    others = open_runs(registry, lease_s=60)
    assert [one.live for one in others] == [False]
    sweep(registry, OWN, others)
    assert open_marker(DEAD) not in registry.list()
    young = f"{datetime.now(UTC):%Y%m%d_%H%M%S}_00000f"
    registry.create(open_marker(young), b"")
    assert [one.live for one in open_runs(registry, lease_s=60)] == [True]


def test_a_folder_of_a_run_is_removed_whole(tmp_path: Path) -> None:
    registry = Storage(str(tmp_path))
    record_attempt(registry, OWN, 1, Attempt.of_this_process(KEY, "training"))
    registry.remove_folder(f"runs/{OWN}.attempts")
    registry.remove_folder(f"runs/{OWN}.attempts")
    assert not list((tmp_path / "runs").iterdir())
