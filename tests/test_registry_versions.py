"""Versions: committed by their metadata, found again, and refused with the reason where they must not be loaded."""

import json
import pickle
import re
import signal
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from job.core.errors import RegistryError
from job.core.keys import Key
from job.registry.names import version_name
from job.registry.versions import commit, list_versions, load, new_run_id
from job.storage.files import ExistingFileError, Storage
from tests.algorithms import each
from tests.forks import Fresh
from tests.registries import KEY, NATIVE, VERSION, find_version, fitted, samples
from tests.test_registry_artifacts import Payload

FOLDER = "binance/BTC%2FUSDT%3AUSDT"
MODEL = f"{FOLDER}/{VERSION}.skops"
SCALER = f"{FOLDER}/{VERSION}_scaler.skops"
METADATA = f"{FOLDER}/{VERSION}.json"
LATER = "analyst_1h_20240101_000000_000000"


def commit_one(
    registry: Storage,
    version: str = VERSION,
    *,
    key: Key = KEY,
    model: str = "logistic_regression",
    format_: str = "skops",
) -> dict[str, Any]:
    return commit(
        registry,
        key,
        version,
        model=fitted(model),
        scaler=fitted("scaler"),
        metadata={"fingerprint": "f" * 64, "scores": {"accuracy": 0.5}},
        format=format_,
    )


def change_metadata(registry: Storage, change: Callable[[dict[str, Any]], object]) -> None:
    metadata = json.loads(registry.read(METADATA))
    change(metadata)
    registry.replace(METADATA, json.dumps(metadata).encode())


def test_a_version_is_three_files_and_loads_as_it_was(registry: Storage) -> None:
    committed = commit_one(registry, model="random_forest")
    assert registry.list() == sorted([MODEL, SCALER, METADATA])
    model, scaler, metadata = load(registry, KEY)
    features, _ = samples()
    assert metadata == committed == find_version(registry, KEY, VERSION)
    assert model.predict_proba(features).tobytes() == fitted("random_forest").predict_proba(features).tobytes()
    assert scaler.transform(features).tobytes() == fitted("scaler").transform(features).tobytes()


def test_lists_of_numbers_are_on_one_line_each(memory: Storage) -> None:
    odd = "[\n 1,\n 2\n]"
    document = {
        "names": {"name": odd, odd: [odd]},
        "numbers": [1, 2.5, -3e-05, 1e22],
        "pairs": [[1, 2], [3, 4]],
        "mixed": [1, None, "2", True, []],
        "none": [],
    }
    estimators = {"model": fitted("logistic_regression"), "scaler": fitted("scaler")}
    committed = commit(memory, KEY, VERSION, **estimators, metadata=document)
    text = memory.read(METADATA).decode()
    assert json.loads(text) == committed
    assert document.items() <= committed.items()
    assert '\n "numbers": [1, 2.5, -3e-05, 1e+22],\n "pairs": [\n  [1, 2],\n  [3, 4]\n ],\n' in text


def test_metadata_says_what_the_artefacts_are(memory: Storage) -> None:
    metadata = commit_one(memory)
    assert metadata["schema_version"] == 1
    assert metadata["key"] == {
        "exchange": "binance",
        "symbol": "BTC/USDT:USDT",
        "timeframe": "1h",
        "model_type": "analyst",
    }
    assert (metadata["version"], metadata["fingerprint"]) == (VERSION, "f" * 64)
    assert datetime.fromisoformat(metadata["created_at"]).utcoffset() == timedelta(0)
    assert metadata["artefacts"]["format"] == "skops"
    for role, path in (("model", MODEL), ("scaler", SCALER)):
        described = metadata["artefacts"][role]
        assert described["file"] == path.rpartition("/")[2]
        assert described["bytes"] == len(memory.read(path))
        assert len(described["sha256"]) == 64


def test_the_metadata_is_written_last(memory: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    created: list[str] = []
    create = memory.create

    def spy(path: str, data: bytes) -> None:
        created.append(path)
        create(path, data)

    monkeypatch.setattr(memory, "create", spy)
    commit_one(memory)
    assert created == [MODEL, SCALER, METADATA]


def test_artefacts_without_metadata_are_no_version(memory: Storage) -> None:
    commit_one(memory)
    memory.remove(METADATA)
    assert (list_versions(memory, KEY), find_version(memory, KEY), find_version(memory, KEY, VERSION)) == (
        [],
        None,
        None,
    )
    with pytest.raises(RegistryError, match=rf"{memory.url} holds no model binance/BTC/USDT:USDT analyst 1h"):
        load(memory, KEY)


def test_a_repeated_commit_finds_the_first_one(registry: Storage) -> None:
    first = commit_one(registry)
    again = commit(
        registry, KEY, VERSION, model=fitted("logistic_regression"), scaler=fitted("scaler"), metadata={"seconds": 9.9}
    )
    assert again == first == find_version(registry, KEY)


def test_another_models_commit_of_the_same_version_is_refused(memory: Storage) -> None:
    commit_one(memory)
    with pytest.raises(ExistingFileError, match=f"{MODEL} exists already, with other content"):
        commit_one(memory, model="random_forest")
    load(memory, KEY)


def test_a_version_has_one_format(memory: Storage) -> None:
    commit_one(memory)
    with pytest.raises(ExistingFileError, match=f"{METADATA} exists already, with other content"):
        commit_one(memory, format_="pkl")
    load(memory, KEY)


@pytest.mark.parametrize("name", ["random_forest", *each(*NATIVE)])
def test_a_commit_that_was_killed_is_completed_by_the_next_attempt(name: str, fresh: Fresh, tmp_path: Path) -> None:
    """A process is killed before it writes the first, the second or the last of its files."""
    format_ = name if name in NATIVE else "skops"
    for written in range(3):
        registry = Storage(str(tmp_path / str(written)))
        script = f"""
import os, signal
from job.storage.files import Storage
from tests.test_registry_versions import commit_one
link, left = os.link, [{written}]
def dying_link(*names):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    link(*names)
os.link = dying_link
commit_one(Storage({registry.url!r}), model={name!r}, format_={format_!r})
"""
        assert fresh(script, tmp_path).returncode == -signal.SIGKILL
        assert registry.list() == [f"{FOLDER}/{VERSION}.{format_}", SCALER][:written]
        assert find_version(registry, KEY) is None
        commit_one(registry, model=name, format_=format_)
        features, _ = samples()
        model, _, _ = load(registry, KEY)
        assert model.predict_proba(features).tobytes() == fitted(name).predict_proba(features).tobytes()


def test_metadata_that_is_no_json_writes_nothing(memory: Storage) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        commit(memory, KEY, VERSION, model=fitted("scaler"), scaler=fitted("scaler"), metadata={"x": float("nan")})
    assert memory.list() == []


@pytest.mark.parametrize(
    "version", ["analyst_1h", "tactician_1h_20231201_120000_a1b2c3", f"../{VERSION}", f"{VERSION}\n"]
)
def test_only_a_version_of_the_key_can_be_committed(memory: Storage, version: str) -> None:
    with pytest.raises(ValueError, match="is no version of binance/BTC/USDT:USDT analyst 1h"):
        commit_one(memory, version)


def test_the_latest_version_is_the_one_of_the_latest_run(memory: Storage) -> None:
    commit_one(memory, LATER)
    commit_one(memory, model="random_forest")
    commit_one(memory, "analyst_15m_20250101_000000_000000", key=Key("binance", KEY.symbol, "15m", "analyst"))
    assert list_versions(memory, KEY) == [VERSION, LATER]
    assert load(memory, KEY)[2]["version"] == LATER
    assert load(memory, KEY, VERSION)[2]["version"] == VERSION


@pytest.mark.parametrize(
    "version", ["Champion", f"../BTC%2FUSDT%3AUSDT/{VERSION}", "analyst_1h_20200101_000000_ffffff", ""]
)
def test_an_unknown_version_is_refused_with_the_known_ones(memory: Storage, version: str) -> None:
    commit_one(memory)
    with pytest.raises(RegistryError, match=f"holds no version '{version}' of .*; the latest are {VERSION}"):
        load(memory, KEY, version)


@pytest.mark.parametrize("path", [MODEL, SCALER])
def test_a_changed_artefact_is_refused_before_it_is_parsed(memory: Storage, path: str) -> None:
    commit_one(memory)
    data = bytearray(memory.read(path))
    data[len(data) // 2] ^= 1
    memory.replace(path, bytes(data))
    with pytest.raises(
        RegistryError, match=rf"{path} is not the (model|scaler) that was committed \(its SHA-256 differs"
    ):
        load(memory, KEY)


def test_a_swapped_scaler_is_refused(memory: Storage) -> None:
    commit_one(memory)
    memory.replace(SCALER, memory.read(MODEL))
    with pytest.raises(RegistryError, match=f"{SCALER} is not the scaler that was committed"):
        load(memory, KEY)


@pytest.mark.parametrize("path", [MODEL, SCALER])
def test_a_missing_artefact_is_named(memory: Storage, path: str) -> None:
    commit_one(memory)
    memory.remove(path)
    with pytest.raises(
        RegistryError, match=f"{path} is missing although its version is committed; train the model again"
    ):
        load(memory, KEY, VERSION)


@pytest.mark.parametrize("path", [MODEL, SCALER])
def test_a_version_that_misses_an_artefact_is_not_the_latest(memory: Storage, path: str) -> None:
    commit_one(memory)
    memory.remove(path)
    with pytest.raises(RegistryError, match="holds no model"):
        load(memory, KEY)


@pytest.mark.parametrize("schema", [2, "1", None])
def test_metadata_from_the_future_is_refused(memory: Storage, schema: object) -> None:
    commit_one(memory)
    change_metadata(memory, lambda metadata: metadata.update(schema_version=schema))
    with pytest.raises(
        RegistryError, match=rf"{METADATA} has metadata schema {schema!r}, newer than the 1 .*; upgrade"
    ):
        load(memory, KEY)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"{}", b"\xff", b'{"schema_version": 1, "version": "x"}', b"[" * 99_999]
)
def test_damaged_metadata_is_refused(memory: Storage, data: bytes) -> None:
    commit_one(memory)
    memory.replace(METADATA, data)
    with pytest.raises(RegistryError, match=f"{METADATA} is damaged .*; delete the version or train the model again"):
        load(memory, KEY)


def test_metadata_of_another_model_is_refused(memory: Storage) -> None:
    commit_one(memory, key=Key("binance", "ETHUSDT", "1h", "analyst"))
    commit_one(memory)
    memory.replace(METADATA, memory.read(f"binance/ETHUSDT/{VERSION}.json"))
    with pytest.raises(
        RegistryError, match=rf"{METADATA} describes another model \({VERSION}\); it was moved or altered"
    ):
        load(memory, KEY)


@pytest.mark.parametrize(
    "artifacts", [{"format": "joblib"}, {"format": "../pkl"}, {"format": []}, {}, [], None, "skops"]
)
def test_an_unknown_format_is_refused(memory: Storage, artifacts: object) -> None:
    commit_one(memory)
    change_metadata(memory, lambda metadata: metadata.update(artefacts=artifacts))
    with pytest.raises(RegistryError, match=rf"{METADATA}: unknown artifact format .* \(known: skops, pkl, .*\)"):
        load(memory, KEY)


@pytest.mark.parametrize("described", [None, {}, {"file": "../../etc/passwd", "bytes": 1, "sha256": "x"}])
def test_metadata_that_describes_an_artefact_otherwise_is_refused(memory: Storage, described: object) -> None:
    commit_one(memory)
    change_metadata(memory, lambda metadata: metadata["artefacts"].update(model=described))
    with pytest.raises(RegistryError, match=f"{MODEL} is not the model that was committed"):
        load(memory, KEY)


def test_pickles_load_only_where_the_caller_opts_in(registry: Storage, tmp_path: Path) -> None:
    commit_one(registry, format_="pkl")
    assert registry.list() == sorted([MODEL.replace(".skops", ".pkl"), SCALER.replace(".skops", ".pkl"), METADATA])
    with pytest.raises(RegistryError, match=rf"{VERSION}\.pkl is a pickle, .* load it with allow_pickle=True"):
        load(registry, KEY)
    features, _ = samples()
    model, _, _ = load(registry, KEY, allow_pickle=True)
    assert model.predict_proba(features).tobytes() == fitted("logistic_regression").predict_proba(features).tobytes()


def test_a_hostile_pickle_in_place_of_an_artefact_is_not_run(memory: Storage, tmp_path: Path) -> None:
    commit_one(memory, format_="pkl")
    memory.replace(MODEL.replace(".skops", ".pkl"), pickle.dumps(Payload(tmp_path / "ran")))
    with pytest.raises(RegistryError, match="is not the model that was committed"):
        load(memory, KEY, allow_pickle=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("symbol", ["..", "../../x", "a/b", "x y", "比特币", "runs", "."])
def test_odd_symbols_stay_inside_the_store(tmp_path: Path, symbol: str) -> None:
    registry = Storage(str(tmp_path / "store"))
    key = Key("aliases", symbol, "1h", "analyst")
    commit_one(registry, key=key)
    assert load(registry, key)[2]["key"]["symbol"] == symbol
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {len(path.relative_to(tmp_path).parts) for path in files} == {4}


def test_run_ids_are_utc_and_sort_as_the_runs_began() -> None:
    noon = datetime(2023, 12, 1, 13, 0, 0, tzinfo=timezone(timedelta(hours=1)))
    ids = [new_run_id(noon + timedelta(microseconds=passed)) for passed in (0, 1, 2, 500_000, 999_999, 1_000_000)]
    assert ids == sorted(ids)
    assert [one[:16] for one in ids] == [*5 * ["20231201_120000_"], "20231201_120001_"]
    assert all(re.fullmatch("[0-9a-f]{6}", one[16:]) for one in ids)
    assert len({new_run_id(noon) for _ in range(100)}) > 10, "two runs of one microsecond are told apart"
    assert version_name(KEY, "20231201_120000_a1b2c3") == VERSION
