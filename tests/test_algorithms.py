"""Every algorithm trains, is the same for any number of jobs, and is stored as it was; a user's own is no different."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from job.config.settings import Config, StorageSettings, load_config
from job.core.errors import ConfigError, RegistryError
from job.learning.algorithms import Algorithm, ArtifactFormat, StoredType, Window
from job.learning.estimators import ALGORITHMS, algorithm_named, build
from job.learning.fitting import probability_of_up
from job.learning.spec import ModelSpec
from job.learning.training import Trained, predict_proba, train
from job.registry.artifacts import check_pair, dump, parse
from job.registry.fingerprints import Recipe
from job.registry.names import listed_versions
from job.registry.parts import own_algorithms
from job.storage.files import Storage
from job.train.plan import make_plan, plan_tasks
from tests.algorithms import each, quick
from tests.forks import Fresh
from tests.oracles_training import FEATURES, KEY, made_samples, model_spec
from tests.test_planning import series
from tests.test_scoring import KEY as SCORED_KEY
from tests.test_scoring import commit, config


@dataclass(frozen=True)
class Case:
    """A model that an algorithm was trained into: rows of which the first feature half explains the label."""

    algorithm: Algorithm
    spec: ModelSpec
    samples: pl.DataFrame
    trained: Trained


def trained_by(name: str) -> Case:
    samples, spec = made_samples(1_500, signal=1.5), model_spec(name, n_estimators=40, params=quick(name))
    return Case(algorithm_named(name), spec, samples, train(samples, spec, key=KEY))


@pytest.fixture(scope="module", params=each())
def case(request: pytest.FixtureRequest) -> Case:
    """A trained model of every algorithm in turn: an entry is covered because it exists."""
    return trained_by(request.param)


def test_its_name_cost_and_importance_are_known(case: Case) -> None:
    assert ALGORITHMS[case.algorithm.name] is case.algorithm
    assert case.algorithm.version >= 1
    assert 1e-7 < case.algorithm.seconds_per_row < 1e-2
    settings = {"algorithm": case.algorithm.name}
    trainer = {"analyst_models": settings, "tactician_models": settings}
    tasks = plan_tasks([series("BTC")], load_config({"model_trainer": trainer}))
    assert len(tasks) == 5
    assert all(task.seconds > 0 for task in tasks)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("rows", [1, 30, 1_000])
def test_its_defaults_suit_the_estimator(case: Case, rows: int, *, pooled: bool) -> None:
    for one in case.spec.fits:
        estimator = build(one, Window(rows, pooled=pooled))
        assert type(estimator) is algorithm_named(one.algorithm).estimator
        assert estimator.get_params()["random_state"] == case.spec.random_state


def test_it_finds_a_planted_signal(case: Case) -> None:
    scores, importances = case.trained.scores, case.trained.metadata["importances"]
    assert 0 < scores["skill_low"] < scores["skill"] < scores["skill_high"]  # type: ignore[operator]
    assert scores["accuracy"] > 0.65  # type: ignore[operator]
    assert scores["cv_mean"] > 0.65  # type: ignore[operator]
    assert scores["underpowered"] is False
    assert importances["method"] == case.algorithm.importance
    assert tuple(importances["values"]) == case.trained.features == FEATURES
    assert max(importances["values"], key=importances["values"].__getitem__) == "return_1"


def test_its_metadata_and_scores_are_json(case: Case) -> None:
    for described in (case.trained.metadata, case.trained.scores):
        assert json.loads(json.dumps(described, allow_nan=False)) == described
    assert case.trained.metadata["algorithm"] == {"name": case.algorithm.name, "version": case.algorithm.version}


def test_the_stored_model_is_the_scored_one(case: Case) -> None:
    held = case.samples[-case.trained.holdout.height :]
    again = predict_proba(case.trained.model, case.trained.scaler, held, FEATURES)
    assert len(again) > 200  # the first rows of a model of sequences lack the bars before them
    assert np.array_equal(again, case.trained.holdout["p_raw"].to_numpy()[-len(again) :])
    assert case.trained.model.classes_.tolist() == [0, 1]


def bits(trained: Trained) -> tuple[Any, ...]:
    return trained.scores, trained.metadata, trained.holdout.to_dict(as_series=False)


def test_the_number_of_jobs_changes_no_bit(case: Case) -> None:
    assert bits(train(case.samples, case.spec, key=KEY, n_jobs=2)) == bits(case.trained)


def test_pooled_windows_are_trained_and_stored_too(case: Case) -> None:
    samples = pl.concat([made_samples(300, seed=seed).with_columns(series=pl.lit(str(seed))) for seed in (1, 2)])
    trained = train(samples, case.spec, key=KEY)
    format_ = case.algorithm.format
    loaded = parse(dump(trained.model, format=format_), format=format_, where="here")
    assert np.array_equal(
        predict_proba(loaded, trained.scaler, samples, FEATURES),
        predict_proba(trained.model, trained.scaler, samples, FEATURES),
    )


@pytest.mark.parametrize("pickled", [False, True], ids=["its format", "pkl"])
def test_its_artifacts_load_as_they_were(case: Case, pickled: bool) -> None:
    own, general = ("pkl", "pkl") if pickled else (case.algorithm.format, "skops")
    model, scaler = (
        parse(dump(one, format=format_), format=format_, where="here", allow_pickle=pickled)
        for one, format_ in ((case.trained.model, own), (case.trained.scaler, general))
    )
    check_pair(model, scaler, features=len(FEATURES), where="here")
    before = predict_proba(case.trained.model, case.trained.scaler, case.samples, FEATURES)
    assert predict_proba(model, scaler, case.samples, FEATURES).tobytes() == before.tobytes()
    if not pickled:
        assert dump(model, format=own) == dump(case.trained.model, format=own)


MODELS = '''
"""An algorithm that says how near a row is to the mean of each class."""

from job.learning.algorithms import Algorithm, ArtifactFormat, StoredType

def defaults(spec, window):
    return {"scale": 1.0, "random_state": spec.random_state}

ALGORITHM = Algorithm(
    "nearest_mean", "PACKAGE.estimators:NearestMean", defaults, "permutation", version=1, seconds_per_row=1e-6,
    stored_types=(StoredType("PACKAGE.estimators.Mean"),),
)
PICKLED = Algorithm(
    "pickled_mean", "PACKAGE.estimators:NearestMean", defaults, "permutation", version=1, seconds_per_row=1e-6,
    artifact="pkl",
)
OWN_FORMAT = Algorithm(
    "mean_lines", "PACKAGE.estimators:NearestMean", defaults, "permutation", version=1, seconds_per_row=1e-6,
    artifact=ArtifactFormat("mean_lines", dump="PACKAGE.estimators:dump", parse="PACKAGE.estimators:parse"),
)
UNDECLARED = Algorithm(
    "undeclared", "PACKAGE.estimators:NearestMean", defaults, "permutation", version=1, seconds_per_row=1e-6,
)
LIBRARY = Algorithm(
    "absent", "no_such_library:Model", defaults, "permutation", version=1, seconds_per_row=1e-6,
    library="no-such-library",
)
NUMBER = 7
'''
ESTIMATORS = """
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

class Mean:
    def __init__(self, values):
        self.values = values

class NearestMean(ClassifierMixin, BaseEstimator):
    def __init__(self, scale=1.0, random_state=0):
        self.scale = scale
        self.random_state = random_state

    def fit(self, matrix, label):
        self.classes_ = np.unique(label)
        self.n_features_in_ = matrix.shape[1]
        self.means_ = [Mean(matrix[label == one].mean(axis=0, dtype=np.float64)) for one in self.classes_]
        return self

    def predict_proba(self, matrix):
        down, up = (np.square(matrix - mean.values).sum(axis=1) for mean in self.means_)
        p = 1 / (1 + np.exp(np.clip(self.scale * (up - down), -30, 30)))
        return np.column_stack([1 - p, p])

def dump(model):
    return "\\n".join(" ".join(value.hex() for value in mean.values.tolist()) for mean in model.means_).encode()

def parse(data):
    means = [np.array([float.fromhex(value) for value in line.split()]) for line in data.decode().split("\\n")]
    if len(means) != 2:
        raise ValueError(f"{len(means)} means, not 2")
    model = NearestMean()
    model.classes_, model.n_features_in_, model.means_ = np.array([0, 1]), len(means[0]), [*map(Mean, means)]
    return model
"""


@dataclass(frozen=True)
class Lab:
    """A user's package in a folder of its own, and the import path of its algorithm."""

    folder: Path
    package: str

    @property
    def path(self) -> str:
        return f"{self.package}.models:ALGORITHM"

    def file(self, module: str) -> Path:
        return self.folder / self.package / f"{module}.py"

    def named(self, name: str) -> str:
        return f"{self.package}.models:{name}"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A package under a name that no other test imports, since a process imports a module once."""
    lab = Lab(tmp_path / "code", f"lab_{abs(hash(request.node.nodeid))}")
    lab.file("models").parent.mkdir(parents=True)
    lab.file("__init__").touch()
    lab.file("models").write_text(MODELS.replace("PACKAGE", lab.package))
    lab.file("estimators").write_text(ESTIMATORS)
    monkeypatch.chdir(lab.folder)
    before = [*sys.path]
    yield lab
    sys.path[:] = before
    for name in [name for name in sys.modules if name.partition(".")[0] == lab.package]:
        del sys.modules[name]


Load = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def load_elsewhere(fresh: Fresh, lab: Lab) -> Load:
    """Load the latest version where the user's package is in the current folder only, and print what it predicts."""

    def load(registry: Storage, *, allow_pickle: bool = False) -> subprocess.CompletedProcess[str]:
        script = f"""
import numpy as np
from job.core.errors import RegistryError
from job.core.keys import Key
from job.storage.files import Storage
from job.worker.scorer import load_scorer
try:
    scorer = load_scorer(Storage({registry.url!r}), {SCORED_KEY!r}, allow_pickle={allow_pickle})
except RegistryError as error:
    raise SystemExit(str(error))
matrix = np.random.default_rng(3).normal(size=(50, len(scorer.definition.names))).astype(np.float32)
print(scorer.raw_probabilities(matrix).tobytes().hex())
"""
        return fresh(script, lab.folder)

    return load


def predicted_here(trained: Trained, features: int) -> str:
    matrix = np.random.default_rng(3).normal(size=(50, features)).astype(np.float32)
    p = trained.model.predict_proba(trained.scaler.transform(matrix))[:, 1]
    return np.ascontiguousarray(p, dtype=np.float64).tobytes().hex()


def test_an_algorithm_of_a_users_module_goes_all_the_way(lab: Lab, load_elsewhere: Load, tmp_path: Path) -> None:
    settings = config(algorithm=lab.path)
    (task,) = plan_tasks([series("BTC")], settings)
    assert task.spec.algorithm == lab.path
    assert 0 < task.seconds < plan_tasks([series("BTC")], config())[0].seconds
    registry, trained, samples = commit(tmp_path, settings)
    described = trained.metadata["algorithm"]
    assert (described["name"], described["version"], described["path"]) == ("nearest_mean", 1, lab.path)
    assert len(described["source"]) == 12
    assert bits(train(samples, task.spec, key=SCORED_KEY, n_jobs=2)) == bits(trained)

    done = load_elsewhere(registry)
    assert done.stdout.strip() == predicted_here(trained, len(trained.features)), done.stderr


def test_a_users_algorithm_is_a_member_of_a_blend_like_any_other(
    lab: Lab, load_elsewhere: Load, tmp_path: Path
) -> None:
    settings = config(algorithm="blend", params={"of": ["logistic_regression", lab.path], lab.path: {"scale": 0.5}})
    registry, trained, _ = commit(tmp_path, settings)
    described = trained.metadata["blend"]["members"][lab.path]
    assert described["algorithm"]["path"] == lab.path
    assert described["parameters"]["scale"] == 0.5
    expected = predict_proba_of_blend(trained)
    done = load_elsewhere(registry)
    assert done.stdout.strip() == expected, done.stderr
    lab.file("models").write_text(f"{lab.file('models').read_text()}#")
    changed = load_elsewhere(registry)
    assert "whose source has changed since; restore the module" in changed.stderr


def predict_proba_of_blend(trained: Trained) -> str:
    """Return what `load_elsewhere` prints, by the function that every command predicts by."""
    matrix = np.random.default_rng(3).normal(size=(50, len(trained.features))).astype(np.float32)
    return probability_of_up(trained.model, trained.scaler.transform(matrix)).tobytes().hex()


def test_a_pickled_member_pickles_its_blend(lab: Lab, load_elsewhere: Load, tmp_path: Path) -> None:
    members = ["logistic_regression", lab.named("PICKLED")]
    registry, trained, _ = commit(tmp_path, config(algorithm="blend", params={"of": members}))
    assert "is a pickle, which can run any code" in load_elsewhere(registry).stderr
    loaded = load_elsewhere(registry, allow_pickle=True)
    assert loaded.stdout.strip() == predict_proba_of_blend(trained), loaded.stderr


def test_a_source_of_a_member_enters_the_fingerprint(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(algorithm="blend", params={"of": ["logistic_regression", lab.path]})
    ((_, timeframe, spec),) = settings.model_specs()
    assert lab.path in spec.import_paths
    before = Recipe(spec, timeframe=timeframe, data=settings.data).fingerprint("abc")
    monkeypatch.setattr("job.learning.estimators.source_digest", lambda *_: "another")
    assert Recipe(spec, timeframe=timeframe, data=settings.data).fingerprint("abc") != before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda lab: shutil.rmtree(lab.folder / lab.package), "of whose module there is no source on node"),
        (lambda lab: lab.file("models").unlink(), "of whose module there is no source on node"),
        (lambda lab: lab.file("models").write_text(f"{lab.file('models').read_text()}#"), "whose source has changed"),
        (lambda lab: lab.file("estimators").write_text(f"{ESTIMATORS}#"), "whose source has changed"),
        (lambda lab: lab.file("models").write_text("import job.learning.algorithms\n1 / 0"), "ZeroDivisionError"),
        (lambda lab: lab.file("models").write_text("ALGORITHM = 1"), "whose module defines no Algorithm"),
    ],
    ids=["package gone", "module gone", "module changed", "its class changed", "module fails", "another module"],
)
def test_a_version_whose_module_is_gone_or_changed_is_refused(
    spoil: Any, message: str, lab: Lab, load_elsewhere: Load, tmp_path: Path
) -> None:
    registry, _, _ = commit(tmp_path, config(algorithm=lab.path))
    spoil(lab)
    done = load_elsewhere(registry)
    (line,) = done.stderr.splitlines()
    assert f"{registry.url}/synthetic/SYN00USDT/analyst_5m_" in line
    assert f"was trained by the algorithm '{lab.path}', " in line
    assert message in line
    assert line.endswith(f"restore the module '{lab.package}.models' as it was at training, or train the model again")


def test_a_users_pickles_load_only_where_the_caller_opts_in(lab: Lab, load_elsewhere: Load, tmp_path: Path) -> None:
    registry, trained, _ = commit(tmp_path, config(algorithm=lab.named("PICKLED")))
    refused = load_elsewhere(registry)
    assert "is a pickle, which can run any code" in refused.stderr
    loaded = load_elsewhere(registry, allow_pickle=True)
    assert loaded.stdout.strip() == predicted_here(trained, len(trained.features)), loaded.stderr


def test_models_are_stored_in_a_format_of_a_users_own(lab: Lab, load_elsewhere: Load, tmp_path: Path) -> None:
    registry, trained, _ = commit(tmp_path, config(algorithm=lab.named("OWN_FORMAT")))
    (one,) = listed_versions(registry.list())
    assert one.committed
    assert sorted(one.files) == [".json", ".mean_lines", "_scaler.skops"]
    done = load_elsewhere(registry)
    assert done.stdout.strip() == predicted_here(trained, len(trained.features)), done.stderr

    metadata = json.loads(registry.read(one.files[".json"]))
    assert metadata["artefacts"]["format"] == "mean_lines"
    damaged = b"0x1p+0"
    metadata["artefacts"]["model"] |= {"bytes": len(damaged), "sha256": sha256(damaged).hexdigest()}
    registry.replace(one.files[".mean_lines"], damaged)
    registry.replace(one.files[".json"], json.dumps(metadata).encode())
    refused = load_elsewhere(registry)
    assert "is no mean_lines artifact of this job: 1 means, not 2; train the model again" in refused.stderr


def test_pickles_win_over_a_format_of_an_algorithms_own(lab: Lab, load_elsewhere: Load, tmp_path: Path) -> None:
    settings = config(algorithm=lab.named("OWN_FORMAT"))
    registry, trained, _ = commit(tmp_path, settings.model_copy(update={"storage": StorageSettings(format="pkl")}))
    (one,) = listed_versions(registry.list())
    assert sorted(one.files) == [".json", ".pkl", "_scaler.pkl"]
    loaded = load_elsewhere(registry, allow_pickle=True)
    assert loaded.stdout.strip() == predicted_here(trained, len(trained.features)), loaded.stderr


@pytest.mark.parametrize("name", ["json", "skops", "pkl", "", "Tree", "a/b", "x" * 33])
def test_a_format_needs_a_name_that_suits_files(name: str) -> None:
    with pytest.raises(ValueError, match=r"artifact format .*: expected up to 32 lower-case letters, digits or"):
        ArtifactFormat(name, dump="a:b", parse="a:b")


def test_types_that_a_user_does_not_declare_are_not_stored(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=rf"{lab.package}\.estimators\.Mean: no type that may be stored as skops"):
        commit(tmp_path, config(algorithm=lab.named("UNDECLARED")))


def test_declared_types_are_loaded_for_their_own_algorithm_only(lab: Lab) -> None:
    algorithm = algorithm_named(lab.path)
    trained = trained_by(lab.path).trained
    data = dump(trained.model, format="skops", own={lab.path: algorithm})
    assert type(parse(data, format="skops", where="here", own={lab.path: algorithm})) is algorithm.estimator
    with pytest.raises(RegistryError, match="holds types outside the allow-list"):
        parse(data, format="skops", where="here")
    with pytest.raises(RegistryError, match="the model is of type NearestMean"):
        check_pair(trained.model, trained.scaler, features=4, where="here")


def test_checks_that_a_user_declares_are_added_to_ours() -> None:
    """One for a type of ours takes nothing away from ours."""
    tree = StoredType("sklearn.tree._tree.Tree", loader="TreeNode", check="tests.test_algorithms:refuse")
    own = replace(ALGORITHMS["random_forest"], stored_types=(tree,))
    data = dump(trained_by("random_forest").trained.model, format="skops")
    with pytest.raises(RegistryError, match="here is no skops artifact of this job: refused; train"):
        parse(data, format="skops", where="here", own={"own": own})


def refuse(_part: object, _features: int) -> None:
    raise ValueError("refused")


def test_fingerprints_follow_a_users_source_and_no_other_model_does(lab: Lab, fresh: Fresh) -> None:
    def of(settings: Config) -> str:
        ((_, timeframe, spec),) = settings.model_specs()
        return Recipe(spec, timeframe=timeframe, data=settings.data).fingerprint("abc")

    script = f"""
from job.config.settings import load_config
from job.registry.fingerprints import Recipe
for name in ({lab.path!r}, 'random_forest'):
    kind = {{"timeframes": ["5m"], "n_estimators": 8, "algorithm": name}}
    settings = {{"cv_folds": 2, "enable_tactician_models": False, "analyst_models": kind}}
    settings = load_config({{"model_trainer": settings}})
    ((_, timeframe, spec),) = settings.model_specs()
    print(Recipe(spec, timeframe=timeframe, data=settings.data).fingerprint('abc'))
"""
    own, default = of(config(algorithm=lab.path)), of(config())
    lab.file("models").write_text(f"{lab.file('models').read_text()}\n# changed\n")
    changed, same = fresh(script, lab.folder).stdout.split()
    assert changed != own
    assert same == default


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("random_forst", r"unknown algorithm 'random_forst'; did you mean 'random_forest'\? \(known: random_forest, "),
        ("my-package:X", r"unknown algorithm 'my-package:X' \(known: .*; your own is named like mypackage.models:AL"),
    ],
)
def test_names_that_are_no_algorithm_are_refused_by_the_settings(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"analyst_models\.algorithm: {message}"):
        config(algorithm=name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NUMBER", r"models:NUMBER is a value of type int: expected an Algorithm of job\.learning\.algorithms"),
        ("NOTHING", r"models:NOTHING: module .*\.models on node .* has no 'NOTHING'"),
        ("LIBRARY", r"algorithm absent: cannot import no_such_library:Model \(.*\): pip install no-such-library$"),
    ],
)
def test_import_paths_that_lead_to_no_algorithm_are_refused_before_anything_is_read(
    name: str, message: str, lab: Lab, tmp_path: Path
) -> None:
    def plan_it() -> None:
        settings = config(algorithm=lab.named(name))
        data = settings.data.model_copy(update={"input": str(tmp_path / "absent")})
        make_plan(settings.model_copy(update={"data": data}))

    with pytest.raises(ConfigError, match=message):
        plan_it()


@pytest.mark.parametrize("params", [{"scal": 2.0}, {"n_jobs": 2}])
def test_params_of_a_users_algorithm_are_checked_by_name(params: dict[str, Any], lab: Lab) -> None:
    (name,) = params
    with pytest.raises(ConfigError, match=rf"params\.{name} of nearest_mean"):
        build(model_spec(lab.path, params=params), Window(100))
    assert build(model_spec(lab.path, params={"scale": 2.0}), Window(100)).scale == 2.0


@pytest.mark.parametrize("path", ["antigravity:fly", "this.x:y", 5, ["a:b"], "../x:y", "os:system", "job.cli:main"])
def test_metadata_makes_nothing_run_by_naming_it(path: object) -> None:
    """Whoever can write to a registry can name any module: importing one would run it."""
    before = {*sys.modules}
    with pytest.raises(RegistryError, match=r"^v was trained by the algorithm .*, or train the model again$"):
        own_algorithms({"algorithm": {"path": path, "source": "0" * 12}}, where="v")
    assert not {"antigravity", "this"} & ({*sys.modules} - before)


@pytest.mark.parametrize("metadata", [{}, {"algorithm": None}, {"algorithm": {"name": "x"}}, {"algorithm": [1]}])
def test_versions_of_this_releases_algorithms_need_no_module(metadata: dict[str, Any]) -> None:
    assert own_algorithms(metadata, where="v") == {}


def test_an_entry_is_all_that_an_algorithm_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    entry = Algorithm(
        "ridge", "sklearn.linear_model:LogisticRegression", lambda _spec, _window: {"C": 0.1},
        "absolute_coefficient", version=3, seconds_per_row=1e-3, precision=np.float64,
    )  # fmt: skip
    monkeypatch.setitem(ALGORITHMS, "ridge", entry)
    settings = config(algorithm="ridge")
    (task,) = plan_tasks([series("BTC")], settings)
    assert task.seconds > plan_tasks([series("BTC")], config())[0].seconds
    registry, trained, _ = commit(tmp_path, settings)
    assert trained.metadata["algorithm"] == {"name": "ridge", "version": 3}
    assert type(trained.model) is LogisticRegression
    from job.worker.scorer import load_scorer

    assert load_scorer(registry, SCORED_KEY).model.C == 0.1
