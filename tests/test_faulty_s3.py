"""Remote failures: which of them are transient, that reads and writes outlast those, and messages of the others."""

import errno
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import fsspec
import polars as pl
import pytest

from job.config.settings import DataSettings
from job.core.errors import DataError, JobError, RegistryError
from job.core.synth import make_bars, write_world
from job.registry.catalog import keys
from job.registry.versions import load
from job.sources.finding import find_series
from job.sources.reading import read_series
from job.storage import errors as remote
from job.storage.errors import retry, transient_cause
from job.storage.files import ExistingFileError, Storage
from job.storage.listing import list_files
from job.storage.messages import input_errors, masked, with_retries
from job.storage.opening import content
from tests.faulty_s3 import TRANSIENT_ERRNOS, Traffic, always, at_random, faulty_s3, once
from tests.registries import BUCKET, SECRET, s3_options

ROOT = Path(__file__).resolve().parents[1]
FAST = (
    *("--set", "model_trainer.cv_folds=2", "--set", "model_trainer.analyst_models.n_estimators=5"),
    *("--set", "model_trainer.tactician_models.n_estimators=5", "--timeframes", "15m,5m,1m", "--json"),
)


@pytest.fixture
def proxy(s3_endpoint: str) -> Iterator[tuple[str, Traffic]]:
    """Endpoint of a proxy that fails nothing yet, and what goes through it."""
    with faulty_s3(s3_endpoint, lambda _method, _path: None) as running:
        yield running


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "RETRY_DELAYS_S", (0.05, 0.05, 0.05, 0.05))


def upload(endpoint: str, folder: Path, name: str) -> str:
    """Copy a folder to the bucket past any proxy, and return its URL."""
    fsspec.filesystem("s3", **s3_options(endpoint)).put(f"{folder}/", f"{BUCKET}/{name}/", recursive=True)
    return f"s3://{BUCKET}/{name}"


def chained(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def aiohttp_errors(name: str, *arguments: object, **named: object) -> Exception:
    aiohttp = pytest.importorskip("aiohttp", reason="the s3 extra is not installed")
    made: Exception = getattr(aiohttp, name)(*arguments, **named)
    return made


def botocore_errors(name: str, **named: object) -> Exception:
    exceptions = pytest.importorskip("botocore.exceptions", reason="the s3 extra is not installed")
    made: Exception = getattr(exceptions, name)(**named)
    return made


def status(number: int) -> Exception:
    return aiohttp_errors("ClientResponseError", None, (), status=number)


@pytest.mark.parametrize(
    ("make", "transient"),
    [
        (lambda: OSError(errno.EBUSY, "SlowDown"), True),
        (lambda: OSError(errno.EIO, "409"), True),
        (lambda: OSError(errno.ECONNRESET, "reset"), True),
        (TimeoutError, True),
        (lambda: OSError(errno.EINVAL, "InvalidArgument"), False),
        (lambda: OSError(errno.ENOSPC, "No space left on device"), False),
        (lambda: PermissionError("Access Denied"), False),
        (lambda: FileNotFoundError("The specified bucket does not exist"), False),
        (lambda: ConnectionRefusedError(errno.ECONNREFUSED, "refused"), False),
        (lambda: aiohttp_errors("ServerDisconnectedError"), True),
        (lambda: aiohttp_errors("ClientPayloadError"), True),
        *[(partial(status, number), True) for number in (429, 500, 502, 503, 504)],
        *[(partial(status, number), False) for number in (400, 401, 403, 404, 501)],
        (lambda: botocore_errors("ConnectionClosedError", endpoint_url="x"), True),
        (lambda: botocore_errors("ReadTimeoutError", endpoint_url="x"), True),
        (lambda: botocore_errors("EndpointConnectionError", endpoint_url="x"), False),
        (lambda: botocore_errors("ConnectTimeoutError", endpoint_url="x"), False),
        (lambda: botocore_errors("NoCredentialsError"), False),
        (lambda: chained(DataError("x.zip: damaged"), TimeoutError()), True),
        (lambda: chained(FileNotFoundError("x"), status(503)), True),
        (lambda: chained(botocore_errors("EndpointConnectionError", endpoint_url="x"), ConnectionResetError()), True),
        (lambda: chained(botocore_errors("ConnectTimeoutError", endpoint_url="x"), TimeoutError()), False),
    ],
)
def test_which_errors_are_transient(make: Callable[[], Exception], transient: bool) -> None:
    assert (transient_cause(make()) is not None) == transient


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("GET https://me:pw@host/a", "GET https://host/a"),
        ("503, url='https://host/a.csv?X-Amz-Signature=abc&x=1'", "503, url='https://host/a.csv?***'"),
        (f"bad {SECRET}", "bad ***"),
        ("unlisted-header of eu-west-3 by auto", "*** of eu-west-3 by auto"),
    ],
)
def test_secrets_are_masked_and_harmless_options_are_not(text: str, redacted: str) -> None:
    options = {
        "secret": SECRET,
        "client_kwargs": {"region_name": "eu-west-3"},
        "headers": {"x": "unlisted-header"},
        "config_kwargs": {"s3": {"addressing_style": "auto"}},
    }
    assert masked(text, options) == redacted


def failing(*errors: Exception) -> Callable[[], str]:
    left = [*errors]

    def call() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return call


def test_a_transient_failure_is_tried_five_times() -> None:
    assert retry(failing(*[TimeoutError() for _ in range(4)])) == "done"
    with pytest.raises(TimeoutError):
        retry(failing(*[TimeoutError() for _ in range(5)]))
    with pytest.raises(PermissionError):
        retry(failing(TimeoutError(), PermissionError(), TimeoutError()))


def test_an_interruption_is_not_told_as_damage() -> None:
    damage = [chained(DataError("x.zip: damaged; download it again"), TimeoutError("timed out")) for _ in range(5)]
    with pytest.raises(DataError, match=r"^s3://x.zip: cannot be read: timed out; it failed again and again: check "):
        with_retries("s3://x.zip", {}, failing(*damage))
    with pytest.raises(DataError, match="damaged; download it again"):
        with_retries("s3://x.zip", {}, failing(DataError("x.zip: damaged; download it again")))


def test_a_refusal_says_why_and_where() -> None:
    expected = r"s3://b/a.csv: permission denied \(The clock is wrong\); check the credentials"
    with pytest.raises(DataError, match=expected), input_errors("s3://b/a.csv", {}):
        raise PermissionError("The clock is wrong")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.csv", ["odd[1].csv", "top.csv"]),
        ("a", ["a/1.csv", "a/2.txt", "a/deep/3.csv"]),
        ("?", ["a/1.csv", "a/2.txt", "a/deep/3.csv", "b/1.csv"]),
        ("*/1.csv", ["a/1.csv", "b/1.csv"]),
        ("[ab]/[12].*", ["a/1.csv", "a/2.txt", "b/1.csv"]),
        ("a/*", ["a/1.csv", "a/2.txt", "a/deep/3.csv"]),
        ("**/3.csv", ["a/deep/3.csv"]),
        ("*/**/*.csv", ["a/1.csv", "a/deep/3.csv", "b/1.csv"]),
        ("**", ["a/1.csv", "a/2.txt", "a/deep/3.csv", "b/1.csv", "odd[1].csv", "top.csv"]),
        ("odd[1].csv", ["odd[1].csv"]),
    ],
)
def test_what_patterns_find(tmp_path: Path, pattern: str, names: list[str]) -> None:
    for name in ("top.csv", "odd[1].csv", "a/1.csv", "a/2.txt", "a/deep/3.csv", "b/1.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    found = [file.path.removeprefix(f"{tmp_path}/") for file in list_files(f"{tmp_path}/{pattern}", {})]
    assert sorted(found) == names


@pytest.mark.slow
def test_a_store_outlasts_a_failing_server(s3_endpoint: str, proxy: tuple[str, Traffic]) -> None:
    endpoint, traffic = proxy
    traffic.choose = at_random(seed=1)
    registry = Storage(f"s3://{BUCKET}/outlasts", options=s3_options(endpoint))
    direct = Storage(f"s3://{BUCKET}/outlasts", options=s3_options(s3_endpoint))
    wanted = {f"folder{number % 5}/file{number:02}": f"{number} ".encode() * 500 for number in range(60)}
    for path, data in wanted.items():
        registry.create(path, data)
    assert direct.read_many(direct.list()) == wanted
    assert registry.read_many(registry.list()) == wanted
    for path in [*wanted][:20]:
        registry.remove(path)
        assert not registry.exists(path)
        del wanted[path]
    for path in wanted:
        registry.replace(path, wanted[path][::-1])
        assert registry.read(path) == wanted[path][::-1]
    assert direct.read_many(direct.list()) == {path: data[::-1] for path, data in wanted.items()}
    assert set(TRANSIENT_ERRNOS) <= traffic.did.keys()
    assert traffic.faults > 0.1 * traffic.did["passed"]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["lost_reply", "lost_request", "slow_down"])
def test_a_commit_whose_reply_is_lost_is_known_as_ours(proxy: tuple[str, Traffic], fault: str) -> None:
    endpoint, traffic = proxy
    registry = Storage(f"s3://{BUCKET}/ours-{fault}", options=s3_options(endpoint))
    traffic.choose = once(fault, method="PUT", containing="/a/x")
    registry.create("a/x", b"ours")
    assert traffic.did[fault] == 1
    assert sum(request.startswith("PUT") for request in traffic.requests) == 2
    assert registry.read("a/x") == b"ours"


@pytest.mark.slow
def test_another_writers_commit_is_not_taken_for_ours(s3_endpoint: str, proxy: tuple[str, Traffic]) -> None:
    endpoint, traffic = proxy
    Storage(f"s3://{BUCKET}/theirs", options=s3_options(s3_endpoint)).create("a/x", b"theirs")
    registry = Storage(f"s3://{BUCKET}/theirs", options=s3_options(endpoint))
    traffic.choose = once("lost_reply", method="PUT", containing="/a/x")
    with pytest.raises(ExistingFileError, match=r"theirs/a/x exists already, with other content"):
        registry.create("a/x", b"ours")
    assert traffic.did["lost_reply"] == 1
    assert registry.read("a/x") == b"theirs"


def write_csv(bars: pl.DataFrame, path: Path) -> None:
    bars.write_csv(path.with_suffix(".csv"))


def write_zip(bars: pl.DataFrame, path: Path) -> None:
    with zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{path.stem}.csv", bars.write_csv())


def write_parquet(bars: pl.DataFrame, path: Path) -> None:
    bars.write_parquet(path.with_suffix(".parquet"), row_group_size=500)


def write_feather(bars: pl.DataFrame, path: Path) -> None:
    bars.write_ipc(path.with_suffix(".feather"))


def all_bars(settings: DataSettings) -> dict[str, pl.DataFrame]:
    found = find_series(settings)
    assert not found.problems
    return {series.symbol: read_series(series, settings).bars for series in found.series}


def both_symbols() -> dict[str, pl.DataFrame]:
    return {name: make_bars(seed=5, days=1, symbol=number) for number, name in enumerate(("BTCUSDT", "ETHUSDT"))}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "together"), [(write_csv, False), (write_zip, True), (write_parquet, False), (write_feather, True)]
)
def test_bars_are_read_whole_from_a_failing_server(
    write: Callable[[pl.DataFrame, Path], None],
    together: bool,
    s3_endpoint: str,
    proxy: tuple[str, Traffic],
    tmp_path: Path,
) -> None:
    endpoint, traffic = proxy
    symbols = both_symbols()
    if together:
        tall = pl.concat([bars.with_columns(pl.lit(name).alias("symbol")) for name, bars in symbols.items()])
        write(tall, tmp_path / "bars-1m")
    else:
        for name, bars in symbols.items():
            write(bars, tmp_path / f"{name}-1m")
    url = upload(s3_endpoint, tmp_path, f"read-{write.__name__}-{together}")
    traffic.choose = at_random(seed=2, share=0.3)
    (suffix,) = {path.suffix for path in tmp_path.iterdir()}
    local = all_bars(DataSettings(input=str(tmp_path)))
    assert sorted(local) == ["BTCUSDT", "ETHUSDT"]
    for place in (url, f"{url}/*{suffix}"):
        remote_bars = all_bars(DataSettings(input=place, options=s3_options(endpoint)))
        assert remote_bars.keys() == local.keys()
        assert all(remote_bars[name].equals(local[name]) for name in local)
    assert traffic.faults


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_csv, write_zip, write_parquet, write_feather])
def test_reading_begins_again_where_the_libraries_give_up(
    write: Callable[[pl.DataFrame, Path], None], s3_endpoint: str, proxy: tuple[str, Traffic], tmp_path: Path
) -> None:
    """Half a body is no error of the request any more, so that no library asks again."""
    endpoint, traffic = proxy
    bars = both_symbols()["BTCUSDT"]
    write(bars, tmp_path / "BTCUSDT-1m")
    settings = DataSettings(
        input=upload(s3_endpoint, tmp_path, f"again-{write.__name__}"), options=s3_options(endpoint)
    )
    (series,) = find_series(settings).series
    cuts = iter(["cut_reply"] * 3)
    traffic.choose = lambda method, _path: next(cuts, None) if method == "GET" else None
    assert read_series(series, settings).bars.height == bars.height
    assert traffic.did["cut_reply"] == 3


@pytest.mark.slow
def test_a_listing_is_whole_or_fails(s3_endpoint: str, proxy: tuple[str, Traffic], tmp_path: Path) -> None:
    """A folder that cannot be listed must not look like an empty one."""
    endpoint, traffic = proxy
    for name in ("one/BTCUSDT-1m.csv", "two/ETHUSDT-1m.csv"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("x")
    url = upload(s3_endpoint, tmp_path, "listing")
    options = {**s3_options(endpoint), "config_kwargs": {"retries": {"total_max_attempts": 1}}}
    assert len(list_files(f"{url}/*/*.csv", options)) == 2
    traffic.choose = always("internal_error", containing="listing%2Ftwo")
    for place in (f"{url}/*/*.csv", f"{url}/two", f"{url}/*"):
        with pytest.raises(DataError, match=r"cannot be read: .*; it failed again and again: check the storage and"):
            list_files(place, options)
    assert traffic.did["internal_error"] == 3 * 5, "the options' number of attempts holds"


def one_line(error: JobError) -> str:
    text = str(error)
    assert "\n" not in text
    assert SECRET not in text
    return text


@pytest.mark.slow
def test_refusals_are_final_and_named(s3_endpoint: str, proxy: tuple[str, Traffic], tmp_path: Path) -> None:
    endpoint, traffic = proxy
    write_csv(both_symbols()["BTCUSDT"], tmp_path / "BTCUSDT-1m")
    url, options = upload(s3_endpoint, tmp_path, "refused"), s3_options(endpoint)
    settings = DataSettings(input=url, options=options)
    (series,) = find_series(settings).series
    traffic.requests.clear()
    traffic.choose = always("access_denied", containing="BTCUSDT-1m.csv")
    with pytest.raises(DataError) as read:
        read_series(series, settings)
    assert one_line(read.value).startswith(f"{url}/BTCUSDT-1m.csv: permission denied (")
    assert "check the credentials" in one_line(read.value)
    assert len(traffic.requests) == 1
    registry = Storage(url, options=options)
    with pytest.raises(RegistryError) as written:
        registry.create("BTCUSDT-1m.csv", b"x")
    assert one_line(written.value).startswith(f"cannot create {url}/BTCUSDT-1m.csv: Access Denied; check the cred")
    assert len(traffic.requests) == 2


@pytest.mark.slow
@pytest.mark.parametrize("place", ["s3://absent", "s3://absent/bars", "s3://absent/bars/*.csv"])
def test_a_missing_bucket_is_named_at_once(proxy: tuple[str, Traffic], place: str) -> None:
    endpoint, traffic = proxy
    with pytest.raises(DataError) as caught:
        list_files(place, s3_options(endpoint))
    assert one_line(caught.value).startswith(f"{place}: no such file (")
    assert "NoSuchBucket" in str(caught.value) or "HeadBucket" in str(caught.value)
    assert len(traffic.requests) == len(set(traffic.requests))


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["slow_down", "lost_request"])
def test_attempts_do_not_multiply(s3_endpoint: str, proxy: tuple[str, Traffic], fault: str) -> None:
    """Three libraries could try again, each what the one below it gave up: here two do, three times and five."""
    endpoint, traffic = proxy
    options = s3_options(endpoint)
    Storage(f"s3://{BUCKET}/bounded-{fault}", options=s3_options(s3_endpoint)).create("x", b"x")
    traffic.choose = always(fault)
    url = f"s3://{BUCKET}/bounded-{fault}"
    registry = Storage(url, options=options)
    from_input = partial(with_retries, f"{url}/x", options, partial(content, f"{url}/x", None, options))
    reads: list[Callable[[], bytes]] = [partial(registry.read, "x"), from_input]
    for read in reads:
        traffic.requests.clear()
        with pytest.raises(JobError, match="it failed again and again"):
            read()
        assert 5 <= len(traffic.requests) <= 30  # aiohttp sends a read once more where a kept connection was closed


@pytest.mark.slow
def test_a_dead_endpoint_fails_within_a_minute() -> None:
    begun = time.monotonic()
    with pytest.raises(DataError) as caught:
        list_files(f"s3://{BUCKET}/bars", s3_options("http://127.0.0.1:1"))
    assert time.monotonic() - begun < 60
    assert one_line(caught.value).startswith(f"s3://{BUCKET}/bars: cannot be read: Could not connect to the endpoint")
    assert "http://127.0.0.1:1/" in str(caught.value)


def settings_file(folder: Path, endpoint: str) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment of a run whose settings hold the credentials."""
    options = s3_options(endpoint)
    (folder / "run.yaml").write_text(json.dumps({"data": {"options": options}, "storage": {"options": options}}))
    return ["--config", "run.yaml"], {}


def environment(folder: Path, endpoint: str) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment of a run whose environment holds the credentials."""
    names = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": SECRET}
    return [], {**names, "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.mark.slow
@pytest.mark.parametrize("told", [settings_file, environment])
def test_a_whole_run_outlasts_a_failing_server(
    told: Callable[[Path, str], tuple[list[str], dict[str, str]]],
    s3_endpoint: str,
    proxy: tuple[str, Traffic],
    tmp_path: Path,
) -> None:
    endpoint, traffic = proxy
    traffic.choose = at_random(seed=3)
    write_world(tmp_path / "world", symbols=2, days=3, seed=3)
    url = upload(s3_endpoint, tmp_path / "world", f"world-{told.__name__}")
    output = f"s3://{BUCKET}/models-{told.__name__}"
    arguments, variables = told(tmp_path, endpoint)
    command = [sys.executable, str(ROOT / "job" / "main.py"), "--input", url, "--output", output, *FAST, *arguments]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | variables, capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["counts"]["trained"] == 8
    assert traffic.faults > 10
    assert SECRET not in done.stdout + done.stderr
    registry = Storage(output, options=s3_options(s3_endpoint))
    models = keys(registry)
    assert len(models) == 8
    for key in models:
        model, scaler, metadata = load(registry, key)
        assert model.n_features_in_ == scaler.n_features_in_
        assert metadata["key"]["symbol"] == key.symbol
    texts = registry.read_many(path for path in registry.list() if path.endswith((".json", ".jsonl")))
    assert len(texts) > 8
    assert not any(SECRET.encode() in text for text in texts.values())
