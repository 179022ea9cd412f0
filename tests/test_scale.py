"""What thousands of models cost: one listing for all, read as a listing for each would be; pages instead of a flood."""

import json
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from job.cli import main
from job.cli import models as models_command
from job.compare.plan import plan as plan_comparison
from job.config.settings import Config
from job.core.keys import Key, decode
from job.learning.algorithms import FORMAT_NAME
from job.predict.plan import Request
from job.predict.plan import plan as plan_predictions
from job.registry.catalog import (
    CATALOG,
    find_summaries,
    keys,
    list_summaries,
    open_registry,
    read_catalog,
    write_catalog,
)
from job.registry.names import RUN_ID, ListedVersion, listed_versions
from job.registry.versions import list_versions, resolve_version
from job.storage.files import CONCURRENT_READS, Storage
from job.storage.snapshot import Snapshot
from job.train.plan import plan as plan_training
from tests.many import MODELS_A_SYMBOL, many_models
from tests.registries import open_registry as open_storage

SCORES = {"accuracy": 0.5, "log_loss": 0.69, "base_log_loss": 0.69, "skill": 0.0, "skill_low": 0.0, "skill_high": 0.0}
SYMBOLS = CONCURRENT_READS + 4
"""So many that their folders are found by listing the folder above."""

OLD_NAME = re.compile(
    rf"(?P<version>(?P<model_type>[A-Za-z0-9_]+)_(?P<timeframe>[1-9]\d*[smhd])_(?P<run_id>{RUN_ID}))"
    rf"(?P<part>\.json|\.{FORMAT_NAME}|_scaler\.(?:skops|pkl))"
)


def one_by_one(paths: Iterable[str]) -> list[ListedVersion]:
    """Read every path by itself: the slow, obvious way."""
    found: dict[tuple[Key, str], ListedVersion] = {}
    for path in paths:
        place, _, name = path.rpartition("/")
        exchange, _, symbol = place.partition("/")
        part = OLD_NAME.fullmatch(name)
        if part is None or not exchange or not symbol:
            continue
        key = Key(decode(exchange), decode(symbol), part["timeframe"], part["model_type"])
        if key.folder != place:
            continue
        one = found.setdefault((key, part["version"]), ListedVersion(key, part["version"], part["run_id"], {}))
        found[key, part["version"]] = replace(one, files={**one.files, part["part"]: path})
    return [found[name] for name in sorted(found)]


folders = st.sampled_from(
    [
        "",
        "binance",
        "binance/BTC",
        "binance/BTC%2FUSDT",
        "binance/BTC/USDT",
        "binance/BTC USDT",
        "aliases/x",
        "kraken/A",
    ]
)
stems = st.sampled_from(
    ["analyst_1h_20231201_120000_a1b2c3", "analyst_1h_20231130_120000_a1b2c3", "tact_scaler_15m_20231201_120000_00",
     "my_scaler_5m_20231201_120000_abcdef", "analyst_01h_20231201_120000_a1b2c3", "analyst_1h_20231201_120000_a1b2c3_x"]
)  # fmt: skip
suffixes = st.sampled_from(
    ["", ".json", ".skops", ".pkl", ".lightgbm", ".json.gz", ".JSON", "_scaler", "_scaler.skops", "_scaler.pkl",
     "_scaler.json", "_scaler_scaler.skops", ".skops.tmp", "\n.json", ".a b"]
)  # fmt: skip
names = st.tuples(folders, stems, suffixes).map(lambda parts: f"{parts[0]}/{parts[1]}{parts[2]}")


@settings(deadline=None)
@given(st.lists(names, unique=True, max_size=40))
def test_versions_are_those_that_paths_name_one_by_one(paths: list[str]) -> None:
    found, expected = listed_versions(paths), one_by_one(paths)
    assert found == expected
    assert [one.committed for one in found] == [
        ".json" in one.files
        and any(
            f"_scaler.{'pkl' if part == '.pkl' else 'skops'}" in one.files
            for part in one.files.keys() - {".json", "_scaler.skops", "_scaler.pkl"}
        )
        for one in found
    ]


letters = st.text("ab0/", min_size=1, max_size=6).map(lambda text: "/".join(filter(None, text.split("/"))) or "a")


@settings(deadline=None, max_examples=60)
@given(files=st.lists(letters, max_size=12), prefixes=st.lists(letters, max_size=4))
def test_a_snapshot_lists_what_its_storage_does(files: list[str], prefixes: list[str]) -> None:
    storage = Storage(f"memory://{os.urandom(6).hex()}")
    for path in files:
        storage.replace(f"{path}.x", b"1")
    seen = Snapshot(storage)
    assert seen.list() == storage.list() == sorted({f"{path}.x" for path in files})
    assert seen.list(*prefixes) == storage.list(*prefixes)
    assert all(seen.exists(path) == storage.exists(path) for path in [*seen.list(), *prefixes])


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_many_folders_are_listed_as_one_by_one(kind: str, request: pytest.FixtureRequest) -> None:
    storage = open_storage(kind, request)
    for number in range(CONCURRENT_READS + 3):
        storage.create(f"binance/S{number}/a.json", b"12")
        storage.create(f"binance/S{number}/deeper/b", b"1")
        storage.create(f"kraken/S{number}", b"1")
    wanted = [f"binance/S{number}" for number in range(1, CONCURRENT_READS + 3)]
    expected = sorted(path for folder in wanted for path in storage.list(folder))
    assert len(expected) == 2 * len(wanted)
    assert storage.list(*wanted, "binance/S1/deeper", "absent") == expected
    assert storage.sizes(*wanted) == {path: 2 if path.endswith("json") else 1 for path in expected}


def test_a_local_listing_is_what_fsspec_finds(tmp_path: Path) -> None:
    root = tmp_path / "models"
    for name in ("a/b/c.json", "a/.x.tmp", "d", "a b/ü.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"123")
    (root / "link").symlink_to(root / "a")
    (root / "broken").symlink_to(root / "nowhere")
    expected = {path.removeprefix(f"{root}/") for path in LocalFileSystem().find(str(root))}
    assert {*Storage(str(root)).list(), *Storage(str(root)).unfinished()} == expected == {
        "a/b/c.json", "a/.x.tmp", "d", "a b/ü.json", "link", "broken",
    }  # fmt: skip
    assert Storage(str(tmp_path / "absent")).list() == []
    assert Storage(str(root)).list("d", "a") == ["a/b/c.json"]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A registry of models that are current; each has an older version, which is its champion."""
    return many_models(tmp_path_factory.mktemp("many"), symbols=SYMBOLS, scores=SCORES, champions=True)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that fills with the folders that are listed from now on, as on an object store."""
    listed: list[str] = []
    listing = Storage._list

    def spy(self: Storage, prefix: str, *, sizes: bool) -> Any:
        listed.append(prefix)
        return listing(self, prefix, sizes=sizes)

    monkeypatch.setattr(Storage, "_list", spy)
    return listed


def test_a_rerun_lists_an_object_store_once_for_all_models(many: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    init = Storage.__init__

    def remote(self: Storage, *arguments: Any, **more: Any) -> None:
        init(self, *arguments, **more)
        self._local = False

    monkeypatch.setattr(Storage, "__init__", remote)
    listed = counted(monkeypatch)
    made = plan_training(many)
    assert (len(made.current), len(made.tasks)) == (SYMBOLS * MODELS_A_SYMBOL, 0)
    assert listed == ["synthetic", "listings"]


def test_plans_of_predictions_and_comparisons_make_one_listing(
    many: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = open_registry(many)
    every = keys(registry)
    expected = {key: (list_versions(registry, key), resolve_version(registry, key, "champion")) for key in every}
    listed = counted(monkeypatch)
    predictions = plan_predictions(many, Request(str(tmp_path), version="champion"))
    assert {task.model: task.version for task in predictions.tasks} == {key: one for key, (_, one) in expected.items()}
    assert listed.count("") == 1
    listed.clear()
    comparisons = plan_comparison(many, registry, every, a="champion", b="latest")
    assert {task.key: [task.a, task.b] for task in comparisons.tasks} == {
        key: both for key, (both, _) in expected.items()
    }
    assert listed == [""]


def test_the_catalog_answers_as_the_metadata_do(many: Config) -> None:
    registry = open_registry(many)
    from_metadata = find_summaries(registry, catalog=())
    assert from_metadata.read == from_metadata.summaries == list_summaries(registry)
    assert find_summaries(registry).read == []
    order = [(*one["key"], one["version"]) for one in from_metadata.summaries]
    assert order == sorted(order)


def test_a_catalog_damaged_in_the_middle_is_made_anew(many: Config, caplog: pytest.LogCaptureFixture) -> None:
    registry = open_registry(many)
    whole, expected = registry.read(CATALOG), list_summaries(registry)
    lines = whole.splitlines(keepends=True)
    lines[len(lines) // 2] = b'{"version":"analyst_1h\n'
    registry.replace(CATALOG, b"".join(lines))
    made = plan_training(many)
    assert "is damaged" in caplog.text
    assert len(made.current) == SYMBOLS * MODELS_A_SYMBOL
    write_catalog(registry, made.uncatalogued)
    assert read_catalog(registry) == expected
    assert plan_training(many).uncatalogued == ()
    registry.replace(CATALOG, whole)


def listed_models(many: Config, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[list[str], str]:
    """Return the symbols that `models list` shows, and what it says beside them."""
    assert main(["models", "list", "--models", many.model_trainer.model_directory, *arguments]) == 0
    printed = capsys.readouterr()
    return re.findall(r"synthetic/(S\d+)/", printed.out), printed.err


def test_models_come_in_pages(
    many: Config, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    total = SYMBOLS * MODELS_A_SYMBOL
    whole, said = listed_models(many, capsys)
    assert (len(whole), "more models" in said) == (total, False), "no terminal: all of them"
    assert whole == sorted(whole)
    monkeypatch.setattr(models_command, "console", lambda: Console(force_terminal=True, width=200))
    first, said = listed_models(many, capsys)
    assert first == whole[: models_command.PAGE]
    assert f"{total - models_command.PAGE} more models: --all shows them" in said
    assert listed_models(many, capsys, "--all") == (whole, "")
    some, said = listed_models(many, capsys, "--limit", "60")
    assert (some, f"{total - 60} more models" in said) == (whole[:60], True)
    assert listed_models(many, capsys, "--symbols", "S0003")[0] == ["S0003"] * MODELS_A_SYMBOL


def test_the_json_has_every_model_unless_it_is_limited(many: Config, capsys: pytest.CaptureFixture[str]) -> None:
    paths = ["--models", many.model_trainer.model_directory, "--json"]
    assert main(["models", "list", *paths]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["keys"]
    assert len(rows) == SYMBOLS * MODELS_A_SYMBOL
    assert {row["versions"] for row in rows} == {2}
    assert all(row["champion"]["version"] < row["latest"]["version"] for row in rows)
    assert main(["models", "list", *paths, "--limit", "3"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["keys"] == rows[:3]
    assert main(["models", "list", *paths, "--limit", "0"]) == 2
    assert "--limit 0: show at least 1 model" in capsys.readouterr().err


def test_keys_are_sorted_by_their_parts() -> None:
    unsorted = [Key("b", "A", "1h", "x"), Key("a", "B", "1h", "x"), Key("a", "B", "15m", "y"), Key("a", "A", "1h", "z")]
    assert sorted(unsorted, key=lambda key: key.parts) == sorted(unsorted)
    assert unsorted[0].parts == tuple(asdict(unsorted[0]).values())
