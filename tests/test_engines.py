"""What fits a forest is told by the driver, from settings and what is installed there, and told apart ever after."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from job.cli import main
from job.config.settings import Config, load_config
from job.core.environment import versions
from job.core.errors import ConfigError
from job.learning.algorithms import Window
from job.learning.estimators import ALGORITHMS, OPTIONAL_LIBRARIES, build
from job.learning.fitting import fit_scaled
from job.learning.forests import engines
from job.learning.forests.engines import Engine, EngineSetting, leaf_rows, resolve
from job.learning.training import train
from job.registry.fingerprints import Recipe
from job.train.plan import plan_tasks
from job.train.task import Plan
from job.worker.messages import version_differences
from tests.oracles_training import KEY, made_samples, model_spec
from tests.test_forest import problem
from tests.test_planning import series

LIBRARY = engines.ONEDAL_LIBRARY


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Have oneDAL installed, or not, as far as settings are concerned."""
    monkeypatch.setattr(engines, "installed", {LIBRARY: request.param}.get)


here, absent = (pytest.mark.parametrize("library", [found], indirect=True) for found in ("2026.1.0", None))


@pytest.mark.parametrize(
    ("setting", "params", "with_library", "without"),
    [
        ("auto", {}, "histogram", "histogram"),
        ("auto", {"max_features": 0.5, "max_depth": None, "random_state": 1}, "histogram", "histogram"),
        ("auto", {"min_samples_leaf": 0.02}, "histogram", "histogram"),
        ("auto", {"min_samples_leaf": 0.019}, "onedal", "histogram"),
        ("auto", {"min_samples_leaf": 1}, "onedal", "histogram"),
        ("auto", {"min_samples_leaf": 5_000}, "onedal", "histogram"),
        ("auto", {"min_samples_leaf": 1, "n_estimators": 6_025}, "histogram", "histogram"),
        ("auto", {"min_samples_leaf": 1, "class_weight": "balanced"}, "sklearn", "sklearn"),
        ("auto", {"criterion": "entropy"}, "sklearn", "sklearn"),
        ("sklearn", {}, "sklearn", "sklearn"),
        ("sklearn", {"min_samples_leaf": 1}, "sklearn", "sklearn"),
        ("onedal", {}, "onedal", None),
        ("onedal", {"min_samples_leaf": 1}, "onedal", None),
    ],
)
def test_a_setting_is_resolved(
    setting: EngineSetting,
    params: dict[str, Any],
    with_library: Engine,
    without: Engine | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for found, engine in (("2026.1.0", with_library), (None, without)):
        monkeypatch.setattr(engines, "installed", {LIBRARY: found}.get)
        if engine is not None:
            assert resolve(setting, "random_forest", 100, params) == engine


@here
@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "random_forest"])
@pytest.mark.parametrize("setting", ["auto", "sklearn", "onedal"])
def test_other_algorithms_are_scikit_learns(setting: EngineSetting, algorithm: str) -> None:
    assert resolve(setting, algorithm, 100, {"min_samples_leaf": 1}) == "sklearn"


@here
@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"params": {"criterion": "gini"}}, "does not follow params.criterion of random_forest: leave that out, or"),
        ({"n_estimators": 6_025}, "grows at most 6024 trees, got 6025: lower n_estimators, or leave engine out"),
    ],
)  # fmt: skip
def test_forests_that_onedal_cannot_grow_are_refused(settings: dict[str, Any], message: str) -> None:
    config = load_config({"model_trainer": {"engine": "onedal", "analyst_models": settings}})
    with pytest.raises(ConfigError, match=f"^model_trainer.engine: onedal {message}"):
        list(config.model_specs())


@absent
@pytest.mark.usefixtures("library")
def test_an_absent_engine_is_refused_before_bars_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = ["--input", str(tmp_path / "absent"), "--output", str(tmp_path / "models")]
    for command in ("train", "plan"):
        assert main([command, *paths, "--set", "model_trainer.engine=onedal"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.endswith(
            " model_trainer.engine: onedal needs scikit-learn-intelex, which is not installed: pip install '.[onedal]' "
            "(Linux or Windows on x86-64), or leave engine out"
        )
    boosting = ["--model-types", "tactician", "--set", "model_trainer.engine=onedal"]
    assert main(["plan", *paths, *boosting]) == 3, "no forest, no engine; but the bars are absent"


def test_unknown_engines_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model_trainer\.engine: .*'auto', 'sklearn' or 'onedal'.*got 'daal'"):
        load_config({"model_trainer": {"engine": "daal"}})


def test_default_models_depend_on_nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def specs(found: str | None) -> list[Any]:
        monkeypatch.setattr(engines, "installed", {LIBRARY: found}.get)
        return list(Config().model_specs())

    assert specs("2026.1.0") == specs(None)
    assert [spec.engine for _, _, spec in specs(None)] == ["histogram"] * 4 + ["sklearn"]


@pytest.mark.parametrize(("leaf", "rows", "count"), [(3, 1_000, 3), (0.1, 1_000, 100), (0.1, 1_001, 101), (1e-9, 9, 1)])
def test_leaves_are_counted_as_scikit_learn_does(leaf: float, rows: int, count: int) -> None:
    assert leaf_rows(leaf, rows) == count


@pytest.mark.parametrize(("leaf", "large"), [(20, True), (19, False), (0.02, True), (0.019, False)])
def test_a_window_is_fitted_by_histograms_where_its_leaves_are_large(leaf: float, *, large: bool) -> None:
    spec = model_spec(params={"min_samples_leaf": leaf})
    matrix, label = problem(1_000)
    scikit_learns = build(spec, Window(1_000)).fit(matrix, label).predict_proba(matrix)
    fitted = fit_scaled(matrix, label, spec, pooled=False, n_jobs=1)
    assert np.array_equal(fitted.predict_proba(matrix), scikit_learns) is not large
    engine = ALGORITHMS["random_forest"].engine_for(fitted, 1_000, "histogram")
    assert engine == ("histogram" if large else "sklearn")


@pytest.mark.parametrize("algorithm", ["random_forest", "extra_trees"])
def test_scikit_learns_engine_is_its_own_fit(algorithm: str) -> None:
    matrix, label = problem(600)
    spec = model_spec(algorithm, engine="sklearn")
    fitted = fit_scaled(matrix, label, spec, pooled=False, n_jobs=1)
    own = build(spec, Window(600)).fit(matrix, label)
    assert np.array_equal(fitted.predict_proba(matrix), own.predict_proba(matrix))


@pytest.mark.parametrize(
    ("algorithm", "engine", "used"),
    [
        ("random_forest", "histogram", "histogram"),
        ("random_forest", "sklearn", "sklearn"),
        ("hist_gradient_boosting", "sklearn", "sklearn"),
    ],
)
@pytest.mark.parametrize("refit", [False, True])
def test_the_metadata_names_the_engine(algorithm: str, engine: Engine, used: Engine, *, refit: bool) -> None:
    spec = model_spec(algorithm, engine=engine, refit=refit, n_estimators=3, cv_folds=1)
    assert train(made_samples(400), spec, key=KEY).metadata["engine"] == {"name": used}


def test_fingerprints_differ_by_engine_and_hold_the_library_of_their_own_only(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config()
    (_, _, spec), *_ = config.model_specs()

    def of(engine: Engine, found: str) -> str:
        known = {**versions(), LIBRARY: found}
        monkeypatch.setattr(
            "job.registry.fingerprints.versions", lambda *names: known if LIBRARY in names else versions()
        )
        changed = spec.model_copy(update={"engine": engine})
        return Recipe(changed, timeframe="1m", data=config.data).fingerprint("abc")

    assert len({of(engine, "1") for engine in ("sklearn", "histogram", "onedal")}) == 3
    assert of("onedal", "1") != of("onedal", "2")
    assert of("histogram", "1") == of("histogram", "2")


@here
@pytest.mark.usefixtures("library")
def test_a_worker_without_the_library_is_told_so() -> None:
    tasks = plan_tasks([series("BTC")], load_config({"model_trainer": {"engine": "onedal"}}))
    assert Plan(tuple(tasks)).libraries == (LIBRARY,)
    wanted = {**versions(*Plan(tuple(tasks)).libraries), LIBRARY: "1.0"}
    (difference,) = version_differences(wanted)
    assert difference.startswith(f"has {LIBRARY} ")
    assert difference.endswith(", the driver has 1.0: install the same versions on every node")


def test_what_is_installed_besides_is_no_difference() -> None:
    assert not version_differences(versions())
    assert {*OPTIONAL_LIBRARIES} >= {LIBRARY, "lightgbm"}
    assert not set(versions()) & set(OPTIONAL_LIBRARIES)


def test_models_that_need_no_library_import_none() -> None:
    script = """
import sys
from job.learning.training import train
from tests.oracles_training import KEY, made_samples, model_spec
for engine in ("histogram", "sklearn"):
    train(made_samples(300), model_spec(engine=engine, n_estimators=2, cv_folds=1), key=KEY)
assert not {"sklearnex", "daal4py", "onedal"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1], check=True, timeout=120)


def test_a_plan_for_onedal_imports_it_not() -> None:
    script = f"""
import sys
from job.config.settings import load_config
from job.learning.forests import engines
engines.installed = {{"{LIBRARY}": "1"}}.get
config = load_config({{"model_trainer": {{"engine": "onedal"}}}})
assert [spec.engine for _, _, spec in config.model_specs()] == ["onedal"] * 4 + ["sklearn"]
assert not {{"sklearnex", "daal4py", "onedal", "sklearn"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1], check=True, timeout=120)
