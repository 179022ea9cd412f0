"""The catalogue: small, a cache that can be lost, and never believed against a listing."""

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import pytest

from job.errors import StoreError
from job.keys import Key
from job.store import (
    CATALOGUE,
    Store,
    Summary,
    catalogue,
    key_of,
    keys,
    read_catalogue,
    rebuild,
    short_fingerprint,
    summarise,
    versions,
    write_catalogue,
)
from tests.stores import KEY, VERSION, open_store

ETHER = Key("kraken", "ETH/EUR", "1h", "analyst")
LATER = "analyst_1h_20240101_000000_000000"


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest) -> Store:
    return open_store(request.param, request)


def metadata_of(key: Key, version: str) -> dict[str, Any]:
    scores = dict.fromkeys(
        ("accuracy", "precision", "recall", "log_loss", "skill", "skill_low", "skill_high"), -1 / 30_000
    )
    return {
        "schema_version": 1,
        "key": asdict(key),
        "version": version,
        "created_at": "2023-12-01T12:00:07+00:00",
        "label_end": "2023-12-01T11:59:00+00:00",
        "fingerprint": "0123456789abcdef" * 4,
        "data": {"samples": {"used": 2_628_000}},
        "seconds": {"samples": 12.345678, "training": 1234.5678},
        "scores": scores | {"roc_auc": None},
    }


def put(store: Store, key: Key = KEY, version: str = VERSION) -> Summary:
    """Write a version, its artefacts empty, and return its summary."""
    metadata = metadata_of(key, version)
    for artefact in ("", "_scaler"):
        store.create(f"{key.folder}/{version}{artefact}.skops", b"")
    store.create(f"{key.folder}/{version}.json", json.dumps(metadata).encode())
    return summarise(metadata)


def reads(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that fills with every path that is read from now on."""
    seen: list[str] = []
    read = store.read

    def spy(path: str) -> bytes:
        seen.append(path)
        return read(path)

    monkeypatch.setattr(store, "read", spy)
    return seen


def test_a_summary_keeps_what_planning_and_tables_need() -> None:
    assert summarise(metadata_of(KEY, VERSION)) == {
        "version": VERSION,
        "key": ["binance", "BTC/USDT:USDT", "1h", "analyst"],
        "created_at": "2023-12-01T12:00:07+00:00",
        "label_end": "2023-12-01T11:59:00+00:00",
        "fingerprint": "0123456789abcdef",
        "rows": 2_628_000,
        "seconds": 1235.0,
        **dict.fromkeys(("accuracy", "log_loss", "skill", "skill_low", "skill_high"), -3.333e-05),
    }


def test_a_summary_of_bare_metadata_is_bare() -> None:
    assert summarise({"key": asdict(KEY), "version": VERSION, "scores": {"skill": None}, "seconds": 3.0}) == {
        "version": VERSION,
        "key": list(asdict(KEY).values()),
    }


def test_a_summary_takes_at_most_400_bytes(store: Store) -> None:
    key = Key("binance_futures", "1000000MOGUSDT_240628:USDT", "15m", "tactician")
    write_catalogue(store, [put(store, key, "tactician_15m_20231201_120000_a1b2c3")])
    lines = store.read(CATALOGUE).splitlines()
    assert len(lines) == 3
    assert len(lines[1]) <= 400


def test_versions_are_what_is_committed_by_key_and_age(store: Store) -> None:
    ether, later, first = put(store, ETHER), put(store, KEY, LATER), put(store)
    assert versions(store) == [first, later, ether]
    assert versions(store, KEY.folder) == [first, later]
    assert versions(store, "kraken") == [ether]
    assert versions(store, "absent") == []
    assert keys(store) == [KEY, ETHER]
    assert key_of(ether) == ETHER


def test_only_the_metadata_that_the_catalogue_lacks_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write_catalogue(store, [put(store), put(store, ETHER)])
    put(store, KEY, LATER)
    seen = reads(store, monkeypatch)
    assert len(versions(store)) == 3
    assert seen == [CATALOGUE, f"{KEY.folder}/{LATER}.json"]


def test_a_version_that_is_gone_is_not_listed(store: Store) -> None:
    kept, gone = put(store), put(store, ETHER)
    write_catalogue(store, [kept, gone])
    store.remove(f"{ETHER.folder}/{VERSION}.json")
    assert versions(store) == [kept]
    assert rebuild(store).summaries == read_catalogue(store) == [kept]


@pytest.mark.parametrize(
    "path",
    [
        f"aliases/binance/BTCUSDT/analyst_1h/{VERSION}.json",
        f"rejected/binance/{VERSION}.json",
        "runs/20231201_120000_a1b2c3.json",
        f"binance/{VERSION}.json",
        f"binance/BTC USDT/{VERSION}.json",
        f"binance/BTCUSDT/deeper/{VERSION}.json",
        "binance/BTCUSDT/notes.json",
        f"binance/BTCUSDT/{VERSION}_scaler.skops",
    ],
)
def test_other_files_are_no_versions(store: Store, path: str) -> None:
    store.create(path, b"{}")
    assert (versions(store), keys(store)) == ([], [])


def test_writing_adds_to_what_is_there(store: Store) -> None:
    first, ether = put(store), put(store, ETHER)
    write_catalogue(store, [ether])
    write_catalogue(store, [first])
    assert read_catalogue(store) == [first, ether]


def test_a_catalogue_that_has_it_all_is_left_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write_catalogue(store, [put(store)])
    monkeypatch.setattr(store, "replace", lambda *_: pytest.fail("it was written again"))
    write_catalogue(store, versions(store))
    write_catalogue(store, [])
    assert read_catalogue(store) == versions(store)


def test_two_runs_that_write_at_once_both_end_up_in_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = put(store), put(store, ETHER)
    replace = catalogue._replace
    lost = iter([True, True, False])

    def overwritten(target: Store, summaries: Iterable[Summary]) -> None:
        replace(target, summaries)
        if next(lost):
            replace(target, [theirs])

    monkeypatch.setattr(catalogue, "_replace", overwritten)
    write_catalogue(store, [ours])
    assert read_catalogue(store) == [ours, theirs]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'{"schema_version":1,"versions":[',
        b"[]",
        b"{}",
        b"\xff",
        b'{"schema_version":1,"versions":[{"key":[]}]}',
        b"null",
    ],
)
def test_a_damaged_catalogue_is_made_anew(store: Store, caplog: pytest.LogCaptureFixture, data: bytes) -> None:
    summary = put(store)
    store.replace(CATALOGUE, data)
    with caplog.at_level(logging.WARNING):
        assert versions(store) == [summary]
    assert f"{store.url}/{CATALOGUE} is damaged" in caplog.text
    write_catalogue(store, [summary])
    assert read_catalogue(store) == [summary]


def test_a_catalogue_from_the_future_is_refused(store: Store) -> None:
    store.replace(CATALOGUE, b'{"schema_version":2,"versions":[]}')
    with pytest.raises(StoreError, match=rf"{CATALOGUE} has schema 2, newer than this release reads; upgrade"):
        read_catalogue(store)


def test_damaged_metadata_is_named_and_its_version_left_out(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    put(store)
    good = put(store, KEY, LATER)
    store.replace(f"{KEY.folder}/{VERSION}.json", b"{}")
    assert versions(store) == [good]
    assert f"{KEY.folder}/{VERSION}.json is damaged" in caplog.text


@pytest.mark.parametrize("absent", ["", "_scaler"])
def test_metadata_without_its_artefacts_is_no_version(store: Store, absent: str) -> None:
    put(store)
    store.remove(f"{KEY.folder}/{VERSION}{absent}.skops")
    assert (versions(store), keys(store)) == ([], [])


def test_fingerprints_are_compared_by_their_start() -> None:
    assert short_fingerprint("0123456789abcdef" * 4) == "0123456789abcdef"
