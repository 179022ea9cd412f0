"""LightGBM and XGBoost: the same bits stored, beside any rows, by any threads; and what a process without them does."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom

from job.config.settings import Config, load_config
from job.core.errors import ConfigError
from job.core.synth import write_world
from job.learning.algorithms import Window
from job.learning.estimators import ALGORITHMS, build
from job.learning.fitting import fit_scaled
from job.registry.names import listed_versions
from job.registry.prune import prunable, prune
from job.registry.versions import load, verify
from job.storage.files import Storage
from job.train.plan import make_plan
from tests.algorithms import PRESENT, each, quick
from tests.forks import Fresh
from tests.here import run_here, without_ray
from tests.oracles_training import model_spec
from tests.registries import KEY, NATIVE, VERSION, fitted, samples
from tests.test_forest import problem
from tests.test_registry_versions import FOLDER, commit_one
from tests.worlds import in_two_processes, model_of, samples_for, specs, world

pytestmark = pytest.mark.boosters

OTHERS = ("random_forest", "logistic_regression")
NOISE_SYMBOLS = 8


@pytest.mark.parametrize("name", each(*NATIVE))
def test_many_rows_give_the_same_bits_by_any_number_of_jobs(name: str) -> None:
    matrix, label = problem(60_000)
    weight = np.random.default_rng(2).uniform(0.5, 1.5, len(label))
    spec = model_spec(name, n_estimators=30, params={"subsample": 0.7})
    one, many = (fit_scaled(matrix, label, spec, weight=weight, pooled=False, n_jobs=jobs) for jobs in (1, 3))
    assert vars(one)["artifact_"] == vars(many)["artifact_"]


@pytest.mark.parametrize("name", each(*NATIVE))
@pytest.mark.parametrize("rows", [1, 2, 63, 64, 65, 1_000])
def test_a_row_is_predicted_alike_whatever_stands_beside_it(name: str, rows: int) -> None:
    model: Any = fitted(name)
    features, _ = samples()
    everything = model.predict_proba(features)
    for layout in (np.ascontiguousarray, np.asfortranarray):
        assert model.predict_proba(layout(features[:rows])).tobytes() == everything[:rows].tobytes()
        assert model.predict_proba(layout(features[:rows].astype(np.float64))).tobytes() == everything[:rows].tobytes()
    assert np.array_equal(model.predict(features), everything[:, 1] >= 0.5)


@pytest.mark.parametrize("name", each(*NATIVE))
@pytest.mark.parametrize(
    "params",
    [
        {"subsample": 0.5, "colsample_bytree": 0.5},
        {"reg_lambda": 0, "reg_alpha": 1.0, "learning_rate": 1.0, "max_bin": 3},
        {"n_estimators": 300, "max_depth": 1},
    ],
    ids=str,
)
def test_any_parameters_give_models_that_are_stored_and_loaded(name: str, params: dict[str, Any]) -> None:
    matrix, label = problem(1_000)
    model: Any = fit_scaled(matrix, label, model_spec(name, params=params), pooled=False, n_jobs=1)
    loaded = type(model)().restore(model.artifact_, matrix.shape[1])
    assert loaded.predict_proba(matrix).tobytes() == model.predict_proba(matrix).tobytes()


@pytest.mark.parametrize(("name", "leaf"), [("lightgbm", "min_child_samples"), ("xgboost", "min_child_weight")])
def test_nothing_to_split_gives_the_base_rate(name: str, leaf: str) -> None:
    if name not in PRESENT:
        pytest.skip(f"{name} is absent")
    matrix, label = problem(1_000)
    model = fit_scaled(matrix, label, model_spec(name, params={leaf: 900}), pooled=False, n_jobs=1)
    assert np.ptp(model.predict_proba(matrix)[:, 1]) == 0
    assert model.predict_proba(matrix)[0, 1] == pytest.approx(label.mean(), abs=0.01)


@pytest.mark.parametrize("name", each(*NATIVE))
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"early_stopping_rounds": 5}, "params.early_stopping_rounds of .* cannot be set: it holds out shuffled rows"),
        ({"objective": "multiclass"}, "unknown parameter params.objective of"),
        ({"learning_rate": 0}, "The 'learning_rate' parameter of .* must be a float"),
        ({"subsample": 1.5}, "The 'subsample' parameter of .* must be a float in the range"),
        ({"max_depth": 0}, "The 'max_depth' parameter of .* must be an int"),
        ({"n_jobs": 4}, "params.n_jobs of .* cannot be set"),
    ],
    ids=str,
)
def test_parameters_are_checked_when_the_run_is_planned(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(model_spec(name, params=params), Window(1_000))


@pytest.mark.parametrize("name", each(*NATIVE))
def test_versions_of_any_format_are_listed_verified_and_pruned(name: str, memory: Storage) -> None:
    later = VERSION.replace("20231201", "20231202")
    for version, model, format_ in ((VERSION, name, name), (later, "random_forest", "skops")):
        commit_one(memory, version, model=model, format_=format_)
    assert [(one.version, one.committed) for one in listed_versions(memory.list())] == [(VERSION, True), (later, True)]
    verify(memory, KEY, VERSION)
    assert type(load(memory, KEY, VERSION)[0]) is ALGORITHMS[name].estimator
    (old,) = prunable(memory, [KEY], keep=1, lease_s=60)
    assert sorted(old.files) == sorted(f"{FOLDER}/{VERSION}{part}" for part in (f".{name}", "_scaler.skops", ".json"))
    prune(memory, [old])
    assert [one.version for one in listed_versions(memory.list())] == [later]


def config_of(folder: Path, *names: str) -> Config:
    """Return the settings of a run that trains a kind of model by each algorithm at 15m."""
    usual = {"timeframes": ["15m"], "label": "direction(10)", "n_estimators": 5}
    kinds = {name: {**usual, "algorithm": name, "params": quick(name)} for name in names}
    trainer = {
        "model_directory": str(folder / "models"),
        "enable_analyst_models": False,
        "enable_tactician_models": False,
        "models": kinds,
        "cv_folds": 2,
    }
    return load_config({"data": {"input": str(folder / "bars")}, "model_trainer": trainer}).with_absolute_paths()


def without_native(fresh: Fresh, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that can import neither library."""
    for name in NATIVE:
        (folder / f"{name}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{name}'\", name='{name}')\n")
    script = f"""
from job.cli import main
from tests.here import without_ray
with without_ray():
    raise SystemExit(main({list(arguments)!r}))
"""
    return fresh(script, folder)


@pytest.mark.skipif(not {*NATIVE} <= {*PRESENT}, reason="lightgbm or xgboost is absent")
def test_one_run_predicts_and_compares_all_kinds_and_one_without_a_library_all_others(
    fresh: Fresh, tmp_path: Path
) -> None:
    write_world(tmp_path / "bars", symbols=1, days=20, seed=3, world="signal")
    settings = config_of(tmp_path, *NATIVE, *OTHERS)
    for end in ("2024-01-14", "2024-01-16"):
        until = settings.data.model_copy(update={"end": load_config({"data": {"end": end}}).data.end})
        assert run_here(settings.model_copy(update={"data": until})).counts["trained"] == 4
    everywhere = ("--models", str(tmp_path / "models"), "--input", str(tmp_path / "bars"))
    from job.cli import main

    with without_ray():
        assert main(["predict", *everywhere, "--output", str(tmp_path / "all")]) == 0
        assert {path.parent.name for path in (tmp_path / "all").rglob("*.parquet")} == {*NATIVE, *OTHERS}
        registry = Storage(str(tmp_path / "models"))
        runs = sorted({one.run_id for one in listed_versions(registry.list())})
        assert main(["compare", *everywhere, "--a", runs[0], "--b", runs[1]]) == 0

    done = without_native(fresh, tmp_path, "predict", *everywhere, "--output", str(tmp_path / "some"))
    assert done.returncode == 1, done.stderr
    assert {path.parent.name for path in (tmp_path / "some").rglob("*.parquet")} == {*OTHERS}
    for name in NATIVE:
        assert f"pip install '.[{name}]'" in done.stdout + done.stderr
    for other in OTHERS:
        one, again = (
            pl.read_parquet(next((tmp_path / folder).rglob(f"{other}/*.parquet"))) for folder in ("all", "some")
        )
        assert one.equals(again)


@pytest.mark.parametrize("name", NATIVE)
def test_a_plan_names_the_extra_that_is_missing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("job.train.plan.installed", lambda _library: None)
    monkeypatch.setitem(sys.modules, f"job.learning.boosters.{name}", None)
    message = rf"algorithm {name}: cannot import job.learning.boosters.{name}:.*: pip install '.\[{name}\]'$"
    with pytest.raises(ConfigError, match=message):
        make_plan(config_of(tmp_path, name))


def test_other_models_import_no_library_of_boosting(fresh: Fresh, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom job.storage.files import Storage\nfrom job.registry.versions import load\n"
        "from tests.test_registry_versions import commit_one\nfrom tests.registries import KEY\n"
        f"registry = Storage({str(tmp_path)!r})\ncommit_one(registry)\nload(registry, KEY)\n"
        "assert not {'lightgbm', 'xgboost'} & {*sys.modules}\n"
    )
    done = fresh(script, tmp_path)
    assert done.returncode == 0, done.stderr


def noise_models(symbol: int, *, algorithm: str) -> list[float | None]:
    """Return the lower ends of the skill's intervals of the default models, by another algorithm."""
    bars = world(symbol, days=30, kind="noise")
    found = []
    for kind, timeframe, default in specs():
        if timeframe != "1m":
            spec = default.model_copy(update={"algorithm": algorithm})
            scores = model_of(samples_for(bars, timeframe, spec), symbol, kind, timeframe, spec).scores
            found.append(scores["skill_low"])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", each(*NATIVE))
def test_noise_shows_no_skill(name: str) -> None:
    by_symbol = in_two_processes(partial(noise_models, algorithm=name), range(NOISE_SYMBOLS))
    lows = [low for models in by_symbol for low in models]
    assert len(lows) == 3 * NOISE_SYMBOLS
    above = sum(low is not None and low > 0 for low in lows)
    assert above <= binom.ppf(0.99, len(lows), 0.025)


@pytest.mark.parametrize("name", each(*NATIVE))
def test_skill_is_found_where_there_is_some(name: str) -> None:
    bars = world(1, days=20, kind="signal")
    _, timeframe, default = next(one for one in specs() if one[1] == "1m")
    spec = default.model_copy(update={"algorithm": name})
    low = model_of(samples_for(bars, timeframe, spec), 1, "analyst", timeframe, spec).scores["skill_low"]
    assert low is not None
    assert low > 0
