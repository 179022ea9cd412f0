"""Settings: defaults, overrides, and one clear line for each mistake."""

from pathlib import Path
from typing import Any

import pytest

from job.config.overrides import parse_override
from job.config.settings import Config, load_config, mask
from job.config.yaml_text import read_yaml
from job.core.errors import ConfigError
from job.core.keys import Key
from job.registry.names import listed_versions, version_name
from transforms.labels import Direction, TripleBarrier


def test_defaults_give_five_models_a_series() -> None:
    specs = list(Config().model_specs())
    assert [(kind, timeframe) for kind, timeframe, _ in specs] == [
        ("analyst", "1h"),
        ("analyst", "15m"),
        ("analyst", "5m"),
        ("analyst", "1m"),
        ("tactician", "1m"),
    ]
    analyst, tactician = specs[0][2], specs[-1][2]
    assert (analyst.algorithm, analyst.label) == ("random_forest", Direction(horizon=10))
    assert (tactician.algorithm, tactician.label) == (
        "hist_gradient_boosting",
        TripleBarrier(k=1.5, window=20, horizon=15),
    )
    assert (analyst.test_size, analyst.cv_folds, analyst.embargo, analyst.random_state) == (0.2, 5, 0, 42)


def test_file_then_overrides(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("model_trainer:\n  cv_folds: 3\n  analyst_models: {timeframes: [1h], label: direction(1)}\n")
    config = load_config(file, ["model_trainer.cv_folds=4", "data.symbols=[BTC, ETH]", "data.start=2024-01-01"])
    assert config.model_trainer.cv_folds == 4
    assert config.data.symbols == ("BTC", "ETH")
    assert config.data.start is not None
    assert config.data.start.isoformat() == "2024-01-01T00:00:00+00:00"
    assert config.model_trainer.analyst_models.label == Direction(horizon=1)
    assert config.model_trainer.analyst_models.algorithm == "random_forest"


@pytest.mark.parametrize(
    "label",
    ["direction(3)", {"kind": "direction", "horizon": 3}, {"name": "direction", "horizon": 3}, Direction(horizon=3)],
    ids=str,
)
def test_labels_in_every_wording(label: Any) -> None:
    config = load_config({"model_trainer": {"analyst_models": {"label": label}}})
    assert config.model_trainer.analyst_models.label == Direction(horizon=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dta": {}}, "unknown key dta; did you mean 'data'"),
        ({"data": {"simbols": []}}, "unknown key data.simbols; did you mean 'symbols'"),
        ({"model_trainer": {"analyst_models": {"timeframe": []}}}, "did you mean 'timeframes'"),
        ({"model_trainer": {"cv_folds": "many"}}, "model_trainer.cv_folds: .*integer.*'many'"),
        ({"model_trainer": {"test_size": 1.5}}, "model_trainer.test_size: .*less than 1.*1.5"),
        ({"model_trainer": {"analyst_models": {"timeframes": ["1x"]}}}, "analyst_models.timeframes.0: .*1x"),
        ({"model_trainer": {"analyst_models": {"algorithm": "random_forrest"}}}, "did you mean 'random_forest'"),
        ({"model_trainer": {"analyst_models": {"features": ["rsi14"]}}}, "did you mean 'rsi_14'"),
        ({"model_trainer": {"analyst_models": {"label": "direktion(1)"}}}, "did you mean 'direction'"),
        ({"model_trainer": {"group_by": ["symbol"]}}, "model_trainer.group_by: use one of exchange,symbol,timeframe"),
        (
            {"model_trainer": {"enable_analyst_models": False, "enable_tactician_models": False}},
            "both kinds of model are disabled",
        ),
        ({"ray": {"address": "ray://head:10001"}}, "ray.address: ray:// is not supported.*ray job submit"),
        ({"storage": {"format": "joblib"}}, "storage.format: .*'skops' or 'pkl'"),
    ],
)  # fmt: skip
def test_mistakes_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("[1, 2]", "expected a mapping at the top, got list"), ("a: [", "is not YAML")],
)
def test_files_that_are_no_settings(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(file)


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "+1e-4", "1.e-4", ".1e-3", "0.1e-3", "1.0e-4"])
def test_numbers_with_an_exponent_are_numbers(text: str) -> None:
    space = read_yaml(f"{{low: {text}, high: 1e3, symbols: [e4, 1e, 1-4, 1e4T, '1e4']}}")
    assert space == {"low": 1e-4, "high": 1000.0, "symbols": ["e4", "1e", "1-4", "1e4T", "1e4"]}


def test_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: No such file"):
        load_config(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.symbols", "expected dotted.key=value"),
        ("data.symbols=[", "not a YAML value"),
        ("storage.options.secret=x", "secrets do not belong on a command line"),
    ],
)
def test_bad_overrides(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_override(override)


def test_an_override_through_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="cv_folds"):
        load_config({}, ["model_trainer.cv_folds.deep=1"])


def test_secrets_are_masked_at_any_depth() -> None:
    options = {"key": "AKIA", "client_kwargs": {"aws_secret_access_key": "s", "endpoint_url": "http://here"}}
    assert mask(options) == {
        "key": "***",
        "client_kwargs": {"aws_secret_access_key": "***", "endpoint_url": "http://here"},
    }
    headers = {"client_kwargs": {"headers": {"Authorization": "Bearer me", "Cookie": "me"}, "sso_passphrase": "me"}}
    assert "me'" not in str(mask(headers))
    config = load_config({"storage": {"options": options}})
    assert "AKIA" not in str(config.masked())


def test_settings_survive_a_round_trip() -> None:
    config = load_config({"model_trainer": {"tactician_models": {"label": "triple_barrier(2, 30, 5)"}}})
    assert load_config(config.model_dump(mode="json")) == config
    assert load_config(config.model_dump()) == config


def test_names_given_twice_count_once() -> None:
    config = load_config(
        {"model_trainer": {"analyst_models": {"timeframes": ["1h", "1h", "1m"]}}}, ["data.symbols=A,A"]
    )
    assert config.model_trainer.analyst_models.timeframes == ("1h", "1m")
    assert config.data.symbols == ("A",)


def test_one_kind_may_have_no_timeframe_but_not_both() -> None:
    none: dict[str, list[str]] = {"timeframes": []}
    assert len(list(load_config({"model_trainer": {"analyst_models": none}}).model_specs())) == 1
    with pytest.raises(ConfigError, match="nothing to train"):
        load_config({"model_trainer": {"analyst_models": none, "tactician_models": none}})


SCALPER: dict[str, Any] = {"timeframes": ["1m"], "algorithm": "extra_trees", "label": "direction(5)"}


def with_kinds(**kinds: Any) -> dict[str, Any]:
    return {"model_trainer": {"models": kinds}}


def test_a_kind_of_model_is_added_by_name() -> None:
    config = load_config(with_kinds(scalper=SCALPER, Swing_2=SCALPER | {"timeframes": ["4h", "1d"], "max_depth": 3}))
    specs = {(model_type, timeframe): spec for model_type, timeframe, spec in config.model_specs()}
    assert [*specs][5:] == [("scalper", "1m"), ("Swing_2", "4h"), ("Swing_2", "1d")]
    scalper = specs["scalper", "1m"]
    assert (scalper.algorithm, scalper.label, scalper.n_estimators) == ("extra_trees", Direction(horizon=5), 100)
    assert scalper.features == specs["analyst", "1m"].features
    assert specs["Swing_2", "4h"].max_depth == 3
    assert load_config(config.model_dump(mode="json")) == config
    changed = load_config(config.model_dump(), ["model_trainer.models.scalper.n_estimators=7"])
    assert changed.spec_of("scalper").n_estimators == 7


def test_kinds_by_name_are_enough() -> None:
    off = {"enable_analyst_models": False, "enable_tactician_models": False}
    config = load_config({"model_trainer": {**off, "models": {"scalper": SCALPER}}})
    assert [(model_type, timeframe) for model_type, timeframe, _ in config.model_specs()] == [("scalper", "1m")]


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ({"scalper": {"timeframes": ["1m"], "label": "direction(5)"}}, r"models\.scalper\.algorithm: Field required"),
        ({"scalper": SCALPER | {"labels": 1}}, r"unknown key .*\.scalper\.labels; did you mean 'label'"),
        ({"scalper": SCALPER | {"algorithm": "extra_tree"}}, "did you mean 'extra_trees'"),
        ({"scalper": 3}, r"models\.scalper: expected a section of settings, got 3"),
        ({"analyst": SCALPER}, "cannot be called 'analyst': model_trainer.analyst_models has that name"),
        ({"Tactician": SCALPER}, "cannot be called 'Tactician': model_trainer.tactician_models has that name"),
        ({"scalper": SCALPER, "Scalper": SCALPER}, "cannot be called 'Scalper': model_trainer.models.scalper has that"),
        ({"a-b": SCALPER}, "cannot be called 'a-b': use a letter, then letters, digits and underscores"),
        ({"": SCALPER}, "cannot be called ''"),
        ({"../x": SCALPER}, "cannot be called '../x'"),
        ({"scälper": SCALPER}, "cannot be called 'scälper'"),
        ({"1m": SCALPER}, "cannot be called '1m'"),
        ({"scalper_1h": SCALPER}, "cannot be called 'scalper_1h': .*no timeframe at its end"),
        ({"s" * 41: SCALPER}, "at most 40"),
    ],
)  # fmt: skip
def test_mistakes_in_kinds_are_named(kinds: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(with_kinds(**kinds))
    assert "\n" not in str(caught.value)


def test_names_of_kinds_survive_the_way_through_the_registry() -> None:
    """What a file is called tells kind and timeframe apart for every name that settings let pass."""
    config = load_config(with_kinds(**dict.fromkeys(("a", "a_", "a_b", "scalper_1", "h1_scaler", "A2"), SCALPER)))
    for model_type in config.model_trainer.kinds:
        key = Key("binance", "BTC", "15m", model_type)
        version = version_name(key, "20231201_120000_a1b2c3")
        paths = [f"{key.folder}/{version}{end}" for end in (".skops", "_scaler.skops", ".json")]
        (found,) = listed_versions(paths)
        assert (found.key, found.version, found.committed) == (key, version, True)
