"""Every malformed input is refused in one line that says where and what to do, and leaves no trace."""

import json
import os
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import polars as pl
import pytest

from job.cli import main
from job.config.settings import DataSettings
from job.core.keys import Key
from job.registry.catalog import keys, list_summaries
from job.registry.versions import load
from job.sources.reading import read_series
from job.storage.files import Storage
from tests.corpus import FILES, MOST_MB, SETTINGS, BadFile, BadSetting, bars, csv, peak_mb, refuse, snapshot, traces
from tests.registries import VERSION
from tests.test_registry_versions import commit_one
from tests.vendors import find

ONE_MODEL = ("--model-types", "analyst", "--timeframes", "1m")
REMEDY = re.compile(
    r"(?:[;,:(]|or) (?:check|choose|complete|correct|data.columns|did you mean|download|give|known|it begins|it has|"
    r"name|raise|rename|set|shorten|unpack|write)\b"
)
EXPECTATION = re.compile(
    r"expected|should be|must be|unknown|cannot|could not|give|leave it out|use |write |name a|is not |is given twice|"
    r"do not belong|unacceptable|nested|out of range|can't decode|found unhashable|Exceeds"
)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield an empty folder; whatever the test does in it, nothing may run and nothing beside `registry` may change."""
    (tmp_path / "bars").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield tmp_path
    assert not list(tmp_path.rglob("ran"))


def refused(scene: Path, said: Callable[[], str], *arguments: str) -> tuple[int, str]:
    """Return exit status and message of a refusal, once it is sure that it is a clean one."""
    before, memory = snapshot(scene, without=scene / "store"), peak_mb()
    with traces(scene / "store") as heard:
        status, errors = refuse(
            ["--input", str(scene / "bars"), "--output", str(scene / "store"), *ONE_MODEL, *arguments], said
        )
    assert heard == []
    assert snapshot(scene, without=scene / "store") == before
    assert peak_mb() - memory < MOST_MB
    (message,) = errors
    assert message.isprintable()
    assert "Traceback" not in message
    assert len(message.replace(str(scene), "")) < 700
    return status, message


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    return lambda: capsys.readouterr().err


@pytest.mark.timeout(30)
@pytest.mark.parametrize("bad", FILES, ids=lambda bad: bad.name)
def test_bad_files_are_refused(bad: BadFile, scene: Path, said: Callable[[], str]) -> None:
    bad.make(scene / "bars")
    status, message = refused(scene, said, *bad.arguments)
    assert (status, [words for words in bad.says if words not in message]) == (bad.status, []), message
    assert REMEDY.search(message), message


@pytest.mark.timeout(30)
@pytest.mark.parametrize("bad", SETTINGS, ids=lambda bad: bad.name)
def test_bad_settings_are_refused(bad: BadSetting, scene: Path, said: Callable[[], str]) -> None:
    (scene / "bars" / "BTCUSDT-1m.csv").write_text(csv())
    file = scene / "job.yaml"
    file.write_bytes(bad.text if isinstance(bad.text, bytes) else bad.text.encode())
    status, message = refused(scene, said, "--config", str(file), *bad.arguments)
    assert (status, [words for words in bad.says if words not in message]) == (2, []), message
    assert EXPECTATION.search(message), message
    assert not (scene / "store").exists()


def test_the_same_check_passes_good_bars(scene: Path, said: Callable[[], str]) -> None:
    (scene / "bars" / "BTCUSDT-1m.csv").write_text(csv())
    (scene / "job.yaml").write_text("data: {gaps: segment}\nray: {num_cpus: 1}\n")
    arguments = ["--input", str(scene / "bars"), "--output", str(scene / "store"), *ONE_MODEL]
    assert refuse([*arguments, "--config", str(scene / "job.yaml")], said) == (0, [])


def test_names_of_cases_are_unique() -> None:
    for table in (FILES, SETTINGS):
        assert len({case.name for case in table}) == len(table)
    assert len({case.says for case in FILES}) > 60


@pytest.mark.parametrize(
    "name",
    ["bomb", "Feather called Parquet", "folder without a symbol", "symbol of no letters", "archive in an archive"],
)
def test_a_bad_file_beside_a_good_one_costs_its_own_models_only(
    name: str, scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (bad,) = [case for case in FILES if case.name == name]
    bad.make(scene / "bars")
    bars().write_parquet(scene / "bars" / "ETHUSDT-1m.parquet")
    status = main(["plan", "--input", str(scene / "bars"), "--output", str(scene / "store"), *ONE_MODEL, "--json"])
    captured = capsys.readouterr()
    (error,) = [line for line in captured.err.splitlines() if " ERROR " in line]
    assert (status, [words for words in bad.says if words not in error]) == (1, [])
    assert json.loads(captured.out.splitlines()[-1])["models"] == 1


NAMES = (
    "../../x", "..", ".", "...", "/etc/passwd", "a\0b", "A" * 200, "CON", "nul.txt", "LPT1", "runs", "aliases",
    "listings", "rejected", "model_metadata.json", "trailing.", "BTC/USDT:USDT", "1000PEPE", "a b", "Ünï", "比特币",
    "🚀", "-rf", "~", "%2e%2e", "a\\b", "C:", "a\nb", "\x1b[2J", "*?[x]", "NaN", "null", "0700", "#1", "a=b",
)  # fmt: skip


@pytest.mark.parametrize("how", ["column", "folder"])
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_any_name_goes_through_the_store_and_comes_back(name: str, how: str, scene: Path) -> None:
    if how == "column":
        frame = bars().with_columns(symbol=pl.lit(name), exchange=pl.lit(name))
        frame.write_parquet(scene / "bars" / "all-1m.parquet")
    else:
        folder = scene / "bars" / f"exchange={quote(name, safe='')}" / f"symbol={quote(name, safe='')}"
        folder.mkdir(parents=True)
        bars().write_parquet(folder / "0.parquet")
    before = snapshot(scene, without=scene / "store")
    with traces(scene / "store") as heard:
        found = find(scene / "bars")
        (series,) = found.series
        registry, key = Storage(str(scene / "store")), Key(series.exchange, series.symbol, "1h", "analyst")
        commit_one(registry, key=key)
        (one,) = list_summaries(registry)
        _, _, metadata = load(registry, key)
    assert (series.exchange, series.symbol, found.problems) == (name, name, ())
    assert read_series(series, settings_of(scene)).bars.height == bars().height
    assert (one["key"], metadata["key"]["symbol"], keys(registry)) == ([name, name, "1h", "analyst"], name, [key])
    assert heard == []
    assert snapshot(scene, without=scene / "store") == before
    for path in (scene / "store").rglob("*"):
        assert path.resolve().is_relative_to(scene / "store")
    assert {path.name for path in (scene / "store" / key.folder).iterdir()} == {
        f"{VERSION}{rest}" for rest in (".json", ".skops", "_scaler.skops")
    }


def settings_of(scene: Path) -> DataSettings:
    return DataSettings(input=str(scene / "bars"))


def test_names_that_differ_in_case_only_stay_apart(scene: Path) -> None:
    (scene / "case").touch()
    if (scene / "CASE").exists():
        pytest.skip("this file system does not tell cases apart")
    both = [bars().with_columns(symbol=pl.lit(name)) for name in ("btcusdt", "BTCUSDT")]
    pl.concat(both).write_parquet(scene / "bars" / "all-1m.parquet")
    found = find(scene / "bars")
    registry = Storage(str(scene / "store"))
    for series in found.series:
        commit_one(registry, key=Key(series.exchange, series.symbol, "1h", "analyst"))
    assert [one["key"][1] for one in list_summaries(registry)] == ["BTCUSDT", "btcusdt"]


def test_blanks_around_a_symbol_lose_no_row(scene: Path) -> None:
    """Row groups are chosen by the symbol as it is asked for, which is without blanks."""
    symbols = pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit("A")).otherwise(pl.lit(" A "))
    exchanges = [bars().with_columns(symbol=symbols, exchange=pl.lit(name)) for name in ("okx", "bybit")]
    pl.concat(exchanges).write_parquet(scene / "bars" / "all-1m.parquet")
    for series in find(scene / "bars").series:
        assert read_series(series, settings_of(scene)).bars.height == bars().height


def test_traces_are_heard(scene: Path) -> None:
    """The check that nothing runs or changes can fail."""
    with traces(scene / "store") as heard:
        (scene / "here" / "outside").write_text("x")
        (scene / "store").mkdir()
        (scene / "store" / "inside").write_text("x")
        os.system("true")
        pickle.loads(pickle.dumps(Path))
    assert [one.split()[0] for one in heard] == ["open", "os.system", "pickle.find_class"]
