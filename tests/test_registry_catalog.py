"""The catalog: small, a cache that can be lost, and never believed against a listing."""

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import pytest

from job.core.errors import RegistryError
from job.core.keys import Key
from job.registry import catalog
from job.registry.catalog import (
    CATALOG,
    Summary,
    key_of,
    keys,
    list_summaries,
    read_catalog,
    rebuild,
    summarize,
    write_catalog,
)
from job.storage.files import Storage
from job.train.task import version_of
from tests.registries import KEY, VERSION, open_registry

ETHER = Key("kraken", "ETH/EUR", "1h", "analyst")
LATER = "analyst_1h_20240101_000000_000000"


@pytest.fixture(params=["file", "memory"])
def registry(request: pytest.FixtureRequest) -> Storage:
    return open_registry(request.param, request)


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


def put(registry: Storage, key: Key = KEY, version: str = VERSION) -> Summary:
    """Write a version, its artifacts empty, and return its summary."""
    metadata = metadata_of(key, version)
    for artifact in ("", "_scaler"):
        registry.create(f"{key.folder}/{version}{artifact}.skops", b"")
    registry.create(f"{key.folder}/{version}.json", json.dumps(metadata).encode())
    return summarize(metadata)


def reads(registry: Storage, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that fills with every path that is read from now on."""
    seen: list[str] = []
    read = registry.read

    def spy(path: str) -> bytes:
        seen.append(path)
        return read(path)

    monkeypatch.setattr(registry, "read", spy)
    return seen


def test_a_summary_keeps_what_planning_and_tables_need() -> None:
    assert summarize(metadata_of(KEY, VERSION)) == {
        "version": VERSION,
        "key": ["binance", "BTC/USDT:USDT", "1h", "analyst"],
        "created_at": "20231201T1200Z",
        "label_end": "20231201T1159Z",
        "fingerprint": "0123456789abcdef",
        "rows": 2_628_000,
        "seconds": 1235.0,
        **dict.fromkeys(("accuracy", "log_loss", "skill", "skill_low", "skill_high"), -3.333e-05),
    }


def test_a_summary_of_bare_metadata_is_bare() -> None:
    assert summarize({"key": asdict(KEY), "version": VERSION, "scores": {"skill": None}, "seconds": 3.0}) == {
        "version": VERSION,
        "key": list(asdict(KEY).values()),
    }


@pytest.mark.parametrize("underpowered", [True, False])
def test_a_summary_says_so_where_a_model_is_underpowered(underpowered: bool) -> None:
    metadata = {"key": asdict(KEY), "version": VERSION, "scores": {"underpowered": underpowered}}
    assert bool(summarize(metadata).get("weak")) is underpowered
    assert len(summarize(metadata)) == 2 + underpowered


def test_a_summary_takes_at_most_400_bytes(registry: Storage) -> None:
    key = Key("binance_futures", "1000000MOGUSDT_240628:USDT", "15m", "tactician")
    write_catalog(registry, [put(registry, key, "tactician_15m_20231201_120000_a1b2c3")])
    lines = registry.read(CATALOG).splitlines()
    assert len(lines) == 3
    assert len(lines[1]) <= 400


def test_what_was_tried_takes_no_more(registry: Storage) -> None:
    key = Key("synthetic", "SYN00USDT", "15m", "analyst")
    made = metadata_of(key, "analyst_15m_20231201_120000_a1b2c3")
    made["scores"] |= {"base_log_loss": 0.6931, "accuracy": 0.5312, "log_loss": 0.6922}
    made["scores"] |= {"skill": 0.1189, "skill_low": 0.09603, "skill_high": 0.1418}
    made |= {
        "peak_rss_mb": 387.2,
        "label": {"definition": {"kind": "direction", "horizon": 10}},
        "algorithm": {"name": "hist_gradient_boosting"},
        "split": {"holdout": {"test_from": "2023-11-24T03:00:00+00:00", "test_to": "2023-12-01T09:59:00+00:00"}},
    }
    summary = summarize(made)
    assert summary["tried"].startswith("472443 ")
    assert len(json.dumps(summary, separators=(",", ":"))) <= 400


def test_versions_are_what_is_committed_by_key_and_age(registry: Storage) -> None:
    ether, later, first = put(registry, ETHER), put(registry, KEY, LATER), put(registry)
    assert list_summaries(registry) == [first, later, ether]
    assert list_summaries(registry, KEY.folder) == [first, later]
    assert list_summaries(registry, "kraken") == [ether]
    assert list_summaries(registry, "absent") == []
    assert keys(registry) == [KEY, ETHER]
    assert key_of(ether) == ETHER


def test_only_the_metadata_that_the_catalogue_lacks_is_read(registry: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    write_catalog(registry, [put(registry), put(registry, ETHER)])
    put(registry, KEY, LATER)
    seen = reads(registry, monkeypatch)
    assert len(list_summaries(registry)) == 3
    assert seen == [CATALOG, f"{KEY.folder}/{LATER}.json"]


def test_a_version_that_is_gone_is_not_listed(registry: Storage) -> None:
    kept, gone = put(registry), put(registry, ETHER)
    write_catalog(registry, [kept, gone])
    registry.remove(f"{ETHER.folder}/{VERSION}.json")
    assert list_summaries(registry) == [kept]
    assert rebuild(registry).summaries == read_catalog(registry) == [kept]


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
def test_other_files_are_no_versions(registry: Storage, path: str) -> None:
    registry.create(path, b"{}")
    assert (list_summaries(registry), keys(registry)) == ([], [])


def test_writing_adds_to_what_is_there(registry: Storage) -> None:
    first, ether = put(registry), put(registry, ETHER)
    write_catalog(registry, [ether])
    write_catalog(registry, [first])
    assert read_catalog(registry) == [first, ether]


def test_a_catalogue_that_has_it_all_is_left_alone(registry: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    write_catalog(registry, [put(registry)])
    monkeypatch.setattr(registry, "replace", lambda *_: pytest.fail("it was written again"))
    write_catalog(registry, list_summaries(registry))
    write_catalog(registry, [])
    assert read_catalog(registry) == list_summaries(registry)


def test_two_runs_that_write_at_once_both_end_up_in_it(registry: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = put(registry), put(registry, ETHER)
    replace = catalog.replace_catalog
    lost = iter([True, True, False])

    def overwritten(target: Storage, summaries: Iterable[Summary]) -> None:
        replace(target, summaries)
        if next(lost):
            replace(target, [theirs])

    monkeypatch.setattr(catalog, "replace_catalog", overwritten)
    write_catalog(registry, [ours])
    assert read_catalog(registry) == [ours, theirs]


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
def test_a_damaged_catalogue_is_made_anew(registry: Storage, caplog: pytest.LogCaptureFixture, data: bytes) -> None:
    summary = put(registry)
    registry.replace(CATALOG, data)
    with caplog.at_level(logging.WARNING):
        assert list_summaries(registry) == [summary]
    assert f"{registry.url}/{CATALOG} is damaged" in caplog.text
    write_catalog(registry, [summary])
    assert read_catalog(registry) == [summary]


def test_a_catalogue_from_the_future_is_refused(registry: Storage) -> None:
    registry.replace(CATALOG, b'{"schema_version":2,"versions":[]}')
    with pytest.raises(RegistryError, match=rf"{CATALOG} has schema 2, newer than this release reads; upgrade"):
        read_catalog(registry)


def test_damaged_metadata_is_named_and_its_version_left_out(
    registry: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    put(registry)
    good = put(registry, KEY, LATER)
    registry.replace(f"{KEY.folder}/{VERSION}.json", b"{}")
    assert list_summaries(registry) == [good]
    assert f"{KEY.folder}/{VERSION}.json is damaged" in caplog.text


@pytest.mark.parametrize("absent", ["", "_scaler"])
def test_metadata_without_its_artefacts_is_no_version(registry: Storage, absent: str) -> None:
    put(registry)
    registry.remove(f"{KEY.folder}/{VERSION}{absent}.skops")
    assert (list_summaries(registry), keys(registry)) == ([], [])


def test_fingerprints_are_compared_by_their_start() -> None:
    summary = summarize(metadata_of(KEY, VERSION))
    assert summary["fingerprint"] == "0123456789abcdef"
    assert version_of(((summary["fingerprint"], VERSION),), "0123456789abcdef" * 4) == VERSION
