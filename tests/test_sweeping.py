"""What dead runs leave is swept; what living ones are writing is not."""

import json
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from job.runs.leases import Lease
from job.runs.record import open_marker, record_path
from job.runs.sweeping import other_runs, sweep
from job.store import Store, commit, version_name
from job.store.local import temporary_name
from job.worker.notes import Note, leave
from tests.stores import KEY, fitted

OWN, DEAD, ALIVE = "20240101_000000_00000a", "20240102_000000_00000b", "20240103_000000_00000c"


def open_run(store: Store, run_id: str, lease: Lease) -> None:
    """Leave what a run has written when it has just begun a model."""
    store.create(open_marker(run_id), b"")
    record = {"run_id": run_id, "status": "running", "lease": lease.record()}
    store.create(record_path(run_id), json.dumps(record).encode())
    leave(store, run_id, 1, Note.of_this_process(KEY, "training"))


def half_version(store: Store, run_id: str) -> list[str]:
    """Leave a model without scaler and metadata, and a file that was not finished."""
    torn = f"{KEY.folder}/{version_name(KEY, run_id)}.skops"
    unfinished = f"{KEY.folder}/{temporary_name(run_id)}"
    for path in (torn, unfinished):
        store.replace(path, b"half")
    return [torn, unfinished]


def all_files(store: Store) -> set[str]:
    return {*store.list(), *store.unfinished()}


def expired(host: str = "elsewhere") -> Lease:
    return replace(Lease.of_this_process(-1), host=host)


def live(host: str = "elsewhere") -> Lease:
    return replace(Lease.of_this_process(60), host=host)


def test_what_an_expired_run_left_is_swept_and_its_record_closed(store: Store) -> None:
    open_run(store, DEAD, expired())
    half_version(store, DEAD)
    whole = commit(store, KEY, version_name(KEY, DEAD.replace("b", "d")), model=fitted("scaler"),
                   scaler=fitted("scaler"), metadata={})  # fmt: skip
    others = other_runs(store, OWN, lease_s=60)
    assert [(one.run_id, one.live) for one in others] == [(DEAD, False)]
    assert sweep(store, OWN, others) == 2
    left = {f"{KEY.folder}/{whole['version']}{part}" for part in (".json", ".skops", "_scaler.skops")}
    assert all_files(store) == {record_path(DEAD), *left}
    record = json.loads(store.read(record_path(DEAD)))
    assert (record["status"], record["reason"]) == ("aborted", "its process ended without closing the record")


def test_a_living_run_is_mentioned_and_left_alone(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    open_run(store, ALIVE, live())
    open_run(store, DEAD, expired())
    kept, gone = half_version(store, ALIVE), half_version(store, DEAD)
    with caplog.at_level(logging.WARNING):
        others = other_runs(store, OWN, lease_s=60)
    assert f"run {ALIVE} is writing to {store.url}, too" in caplog.text
    assert DEAD not in caplog.text
    sweep(store, OWN, others, at_end=True)
    assert set(kept) <= all_files(store)
    assert not set(gone) & all_files(store)
    assert open_marker(ALIVE) in all_files(store)


def test_a_run_whose_process_is_gone_is_swept_at_once_but_its_marker_stays_until_the_lease_ends(store: Store) -> None:
    """Workers outlive their driver by seconds: what they still write is swept by a later run."""
    lease = Lease.of_this_process(60)
    open_run(store, DEAD, replace(lease, process_started=lease.process_started - 100))
    half_version(store, DEAD)
    others = other_runs(store, OWN, lease_s=60)
    assert [one.live for one in others] == [False]
    assert sweep(store, OWN, others) == 2
    assert all_files(store) == {record_path(DEAD), open_marker(DEAD)}
    late = half_version(store, DEAD)
    (again,) = other_runs(store, OWN, lease_s=60)
    assert not again.live
    assert sweep(store, OWN, [replace(again, expires_at=datetime.now(UTC))], at_end=True) == len(late)
    assert all_files(store) == {record_path(DEAD)}


def test_a_runs_own_pieces_are_swept_at_its_end_only(store: Store) -> None:
    pieces = half_version(store, OWN)
    assert sweep(store, OWN, []) == 0
    assert set(pieces) <= all_files(store)
    assert sweep(store, OWN, [], at_end=True) == 2
    assert not all_files(store)


def test_files_of_a_run_that_nobody_knows_are_left_alone_for_a_day(store: Store) -> None:
    young = f"{datetime.now(UTC) - timedelta(hours=1):%Y%m%d_%H%M%S}_00000f"
    kept, gone = half_version(store, young), half_version(store, DEAD)
    sweep(store, OWN, [])
    assert all_files(store) == set(kept)
    assert not set(gone) & all_files(store)


@pytest.mark.parametrize("record", [None, b"", b"{}", b"[]", b'{"lease": 3}', b'{"status": "running", "lease": {}}'])
def test_a_run_that_died_before_its_record_was_whole_is_dead_after_a_lease(record: bytes | None) -> None:
    store = Store("memory://torn-record")
    store.remove_folder("runs")
    store.create(open_marker(DEAD), b"")
    if record is not None:
        store.replace(record_path(DEAD), record)
    others = other_runs(store, OWN, lease_s=60)
    assert [one.live for one in others] == [False]
    sweep(store, OWN, others)
    assert open_marker(DEAD) not in store.list()
    young = f"{datetime.now(UTC):%Y%m%d_%H%M%S}_00000f"
    store.create(open_marker(young), b"")
    assert [one.live for one in other_runs(store, OWN, lease_s=60)] == [True]


def test_a_folder_of_a_run_is_removed_whole(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    leave(store, OWN, 1, Note.of_this_process(KEY, "training"))
    store.remove_folder(f"runs/{OWN}.attempts")
    store.remove_folder(f"runs/{OWN}.attempts")
    assert not list((tmp_path / "runs").iterdir())
