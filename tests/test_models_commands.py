"""`models list|show|promote|rollback|prune`: what they change, what they print, and how mistakes end."""

import json
from pathlib import Path
from typing import Any

import pytest

from job import setup_model_trainer
from job.cli import main
from job.core.errors import RegistryError
from job.core.keys import Key
from job.registry.aliases import history, read_aliases
from job.registry.catalog import CATALOG, read_catalog, rebuild
from job.registry.names import version_name
from job.registry.versions import commit, list_versions
from job.storage.files import Storage
from tests.registries import fitted

RUNS = [f"2023120{day}_120000_a1b2c3" for day in range(1, 4)]
KEYS = [
    Key("binance", "BTC/USDT", "1h", "analyst"),
    Key("binance", "BTC/USDT", "15m", "analyst"),
    Key("binance", "ETHUSDT", "1m", "tactician"),
]
HOUR, QUARTER, MINUTE = KEYS


@pytest.fixture
def registry(tmp_path: Path) -> Storage:
    """Three models with three versions each."""
    registry = Storage(str(tmp_path / "models"))
    for key in KEYS:
        for number, run in enumerate(RUNS):
            metadata = {"run_id": run, "scores": {"skill": number / 100, "log_loss": 0.69}}
            commit_version(registry, key, run, metadata)
    rebuild(registry)
    return registry


def commit_version(registry: Storage, key: Key, run: str, metadata: dict[str, Any]) -> None:
    estimators = {"model": fitted("logistic_regression"), "scaler": fitted("scaler")}
    commit(registry, key, version_name(key, run), metadata=metadata, **estimators)


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["models", *arguments])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def answer(capsys: pytest.CaptureFixture[str], registry: Storage, *arguments: str, status: int = 0) -> dict[str, Any]:
    done, out, err = call(capsys, *arguments, "--models", registry.url, "--json")
    assert done == status, err
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def champions(registry: Storage) -> list[str | None]:
    return [read_aliases(registry, key).champion for key in KEYS]


def test_list_shows_every_model(registry: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "promote", "binance/ETHUSDT/tactician_1m", "--version", RUNS[0], "--models", registry.url)
    rows = answer(capsys, registry, "list")["keys"]
    assert [(row["symbol"], row["timeframe"], row["versions"]) for row in rows] == [
        ("BTC/USDT", "15m", 3),
        ("BTC/USDT", "1h", 3),
        ("ETHUSDT", "1m", 3),
    ]
    assert [row["latest"]["skill"] for row in rows] == [0.02] * 3
    assert [row["champion"] and row["champion"]["skill"] for row in rows] == [None, None, 0.0]
    status, out, _ = call(capsys, "list", "--models", registry.url)
    assert status == 0
    assert "binance/BTC%2FUSDT/analyst_15m" in out
    assert out.count(RUNS[2]) == 3
    assert out.count(RUNS[0]) == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--symbols", "BTC/USDT"], {HOUR, QUARTER}),
        (["--symbol", "BTC/USDT", "--timeframes", "1h"], {HOUR}),
        (["--timeframes", "1h,1m"], {HOUR, MINUTE}),
        (["--model-types", "tactician"], {MINUTE}),
        (["--exchange", "binance"], {*KEYS}),
        (["binance/BTC%2FUSDT/analyst_1h"], {HOUR}),
        (["binance/BTC/USDT/analyst_1h", "binance/ETHUSDT tactician 1m"], {HOUR, MINUTE}),
        (["binance/BTC/USDT/analyst_1h", "--timeframes", "1h"], {HOUR}),
    ],
)
def test_models_are_chosen_by_name_and_by_filter(
    registry: Storage, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: set[Key]
) -> None:
    rows = answer(capsys, registry, "list", *arguments)["keys"]
    assert {Key(row["exchange"], row["symbol"], row["timeframe"], row["model_type"]) for row in rows} == expected


def test_show_prints_metadata_and_history(registry: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (0, 1):
        call(
            capsys,
            "promote",
            "--all",
            "--version",
            RUNS[number],
            "--reason",
            f"[b]try {number}",
            "--models",
            registry.url,
        )
    (one,) = answer(capsys, registry, "show", "binance/ETHUSDT/tactician_1m", "--version", "champion")["keys"]
    assert one["version"] == version_name(MINUTE, RUNS[1])
    assert one["metadata"]["scores"]["skill"] == 0.01
    assert [(decision["after"], decision["reason"]) for decision in one["history"]] == [
        (version_name(MINUTE, RUNS[0]), "[b]try 0"),
        (version_name(MINUTE, RUNS[1]), "[b]try 1"),
    ]
    _, out, _ = call(capsys, "show", "--model-types", "tactician", "--version", "champion", "--models", registry.url)
    assert f"tactician_1m_{RUNS[1]} (champion)" in out
    assert "[b]try 0" in out


def test_promote_one_and_many(registry: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    moved = answer(capsys, registry, "promote", "--timeframes", "1h,1m", "--reason", "why")
    assert champions(registry) == [version_name(HOUR, RUNS[2]), None, version_name(MINUTE, RUNS[2])]
    assert [(move["before"], move["changes"]) for move in moved["moves"]] == [(None, True)] * 2
    assert history(registry, HOUR)[0].reason == "why"
    again = answer(capsys, registry, "promote", "--all")
    assert [move["changes"] for move in again["moves"]] == [True, False, False]
    assert champions(registry) == [version_name(key, RUNS[2]) for key in KEYS]
    answer(capsys, registry, "promote", "--all", "--alias", "challenger", "--version", RUNS[0])
    assert read_aliases(registry, HOUR).challenger == version_name(HOUR, RUNS[0])
    assert champions(registry) == [version_name(key, RUNS[2]) for key in KEYS]


def test_promotion_says_what_it_would_do(registry: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = call(capsys, "promote", "--all", "--dry-run", "--models", registry.url)
    assert status == 0
    assert f"binance/ETHUSDT tactician 1m: would move champion from none to {version_name(MINUTE, RUNS[2])}" in err
    assert champions(registry) == [None, None, None]


def test_some_of_many_that_fail_are_named_and_the_rest_promoted(
    registry: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.replace(f"{HOUR.folder}/{version_name(HOUR, RUNS[2])}.skops", b"other")
    found = answer(capsys, registry, "promote", "--all", status=1)
    assert [one["timeframe"] for one in found["failures"]] == ["1h"]
    assert champions(registry) == [None, version_name(QUARTER, RUNS[2]), version_name(MINUTE, RUNS[2])]
    status, _, err = call(capsys, "promote", "binance/BTC/USDT/analyst_1h", "--models", registry.url)
    assert (status, err.count("\n")) == (2, 1)
    assert "its SHA-256 differs" in err


def test_rollback_restores_the_previous_champion_in_one_command(
    registry: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    for run in RUNS:
        answer(capsys, registry, "promote", "--all", "--version", run)
    answer(capsys, registry, "rollback", "--all", "--dry-run")
    assert champions(registry) == [version_name(key, RUNS[2]) for key in KEYS]
    answer(capsys, registry, "rollback", "--all", "--reason", "it lost money")
    assert champions(registry) == [version_name(key, RUNS[1]) for key in KEYS]
    answer(capsys, registry, "rollback", "binance/ETHUSDT/tactician_1m")
    assert champions(registry)[2] == version_name(MINUTE, RUNS[0])
    failed = answer(capsys, registry, "rollback", "--all", status=1)
    assert "holds no champion before" in failed["failures"][0]["message"]
    assert champions(registry) == [version_name(key, RUNS[0]) for key in KEYS]


def test_prune_says_first_what_it_would_delete(registry: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    answer(capsys, registry, "promote", "--timeframes", "1h", "--version", RUNS[0])
    plan = answer(capsys, registry, "prune", "--keep", "1", "--dry-run")
    assert [list_versions(registry, key) for key in KEYS] == [[version_name(key, run) for run in RUNS] for key in KEYS]
    done = answer(capsys, registry, "prune", "--keep", "1")
    assert (done["deleted"], done["bytes"]) == (plan["deleted"], plan["bytes"])
    assert len(done["deleted"]) == 5
    assert done["bytes"] > 1_000
    assert [[name[-22:] for name in list_versions(registry, key)] for key in KEYS] == [
        [RUNS[0], RUNS[2]],
        [RUNS[2]],
        [RUNS[2]],
    ]
    assert len(read_catalog(registry)) == 4
    assert answer(capsys, registry, "prune", "--keep", "1")["deleted"] == []


def test_prune_of_some_models_leaves_the_others(registry: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    answer(capsys, registry, "prune", "--keep", "1", "--symbols", "ETHUSDT")
    assert [len(list_versions(registry, key)) for key in KEYS] == [3, 3, 1]


def test_the_python_api_loads_the_champion(registry: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    with setup_model_trainer({"model_trainer": {"model_directory": registry.url}}) as trainer:
        assert trainer.load_model("analyst", "1h")
        with pytest.raises(RegistryError, match="has no champion"):
            trainer.load_model("analyst", "1h", version="champion")
        answer(capsys, registry, "promote", "--all")
        model, scaler = trainer.load_model("analyst", "1h", version="champion")
    assert model.n_features_in_ == scaler.n_features_in_


ACTIONS = (["list"], ["show"], ["promote", "--all"], ["rollback", "--all"], ["prune", "--keep", "1"])


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action[0])
@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--models", "EMPTY"], 3, "holds no model: name the model registry with --models"),
        (["--symbols", "NOPE"], 3, "--symbols: no model has 'NOPE'; those left have BTC/USDT, ETHUSDT"),
        (["--symbols", "ETHUSDT", "--timeframes", "1m,1h"], 3, "--timeframes: no model has '1h'; those left have 1m"),
        (["binance/BTC/USDT/analyst_2h"], 2, "holds no model 'binance/BTC/USDT/analyst_2h'; did you mean"),
        (["--symbols", ""], 2, "--symbols is empty"),
        (["--models", ""], 2, "--models is empty"),
        (["--config", "absent.yaml"], 2, "config file absent.yaml: No such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_cost_one_line_and_a_status(  # noqa: PLR0917 - what pytest passes
    registry: Storage,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    action: list[str],
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    before = registry.list()
    given = [str(tmp_path / "empty") if one == "EMPTY" else one for one in arguments]
    where = [] if "--models" in given else ["--models", registry.url]
    done, out, err = call(capsys, *action, *given, *where)
    assert (done, out, err.count("\n")) == (status, "", 1), err
    assert message in err
    assert registry.list() == before
    assert not (tmp_path / "empty").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["promote"], "name the models to change: KEY, --symbols"),
        (["rollback"], "name the models to change: KEY, --symbols"),
        (["show", "binance/ETHUSDT/tactician_1m", "--version", "nope"], "holds no version 'nope'"),
        (["show", "binance/ETHUSDT/tactician_1m", "--version", "champion"], "has no champion"),
        (["promote", "binance/ETHUSDT/tactician_1m", "--version", "nope"], "holds no version 'nope'"),
        (["promote", "binance/ETHUSDT/tactician_1m", "--version", "challenger"], "has no challenger"),
        (["rollback", "binance/ETHUSDT/tactician_1m"], "has no champion"),
        (["prune", "--keep", "0"], "--keep 0: keep at least 1 version"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_done_costs_one_line_and_status_2(
    registry: Storage, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    before = registry.list()
    status, out, err = call(capsys, *arguments, "--models", registry.url)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert message in err
    assert registry.list() == before


def test_a_store_that_ignores_conditions_is_refused(
    registry: Storage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Storage, "_create", Storage.replace)
    for arguments in (["promote", "--all"], ["promote", "--all", "--alias", "challenger"], ["rollback", "--all"]):
        status, _, err = call(capsys, *arguments, "--models", registry.url)
        assert status == 2
        assert "this object store ignores conditional writes" in err
    assert champions(registry) == [None, None, None]


def test_reindex_makes_the_catalog_again(registry: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    registry.replace(CATALOG, b"{")
    assert main(["reindex", "--output", registry.url, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert answer == {"models": registry.url, "versions": 9, "keys": 3, "problems": []}
    assert len(read_catalog(registry)) == 9


def test_an_unknown_action_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["models", "promot"])
    assert stopped.value.code == 2
    assert "invalid choice: 'promot' (choose from" in capsys.readouterr().err
