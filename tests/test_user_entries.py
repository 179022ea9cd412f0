"""Features and labels of a user's module: from settings to predictions, and refused where they have changed."""

import json
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import astuple
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from job.api.frames import predict_bars
from job.config.settings import Config, DataSettings, load_config
from job.config.yaml_text import read_yaml
from job.core.entries import import_entry, source_digest
from job.core.errors import ConfigError, RegistryError
from job.core.keys import Key
from job.core.synth import make_bars
from job.learning.features import features_at, resolve_features
from job.learning.labels import label_at, parse_label
from job.learning.spec import ModelSpec
from job.learning.training import train
from job.registry.definition import Definition
from job.registry.fingerprints import Recipe, prediction_fingerprints
from job.registry.versions import read_metadata
from job.sources.series import Series
from job.storage.files import Storage
from job.train.commit import commit_version
from job.train.pooled import flat_samples
from job.train.steps import samples_of
from job.train.task import SamplesRow, Task
from job.worker.messages import BarsRow, Bundle, Job, SeriesInfo, pack
from job.worker.scorer import load_scorer
from tests.conformance import FEATURE_PROPERTIES, LABEL_PROPERTIES
from transforms.bars import clean
from transforms.features import DEFAULT_FEATURES, FEATURES, PACKS
from transforms.features.feature import Feature
from transforms.labels import LABELS

ROOT = Path(__file__).resolve().parents[1]
KEY = Key("synthetic", "SYN00USDT", "5m", "analyst")
VERSION = "analyst_5m_20240101_000000_00000a"

ALPHAS = """
import polars as pl
from transforms.features.feature import Feature, exponential_average, window_total
from .windows import WINDOWS

close = pl.col("close")
slow = exponential_average("slow_close", 1 / 40, close)

def over_average(bars):
    total = window_total("close_sum", bars, close)
    return Feature(f"over_{bars}", ("close",), bars - 1, close / (pl.col(total.name) / bars) - 1, (total,))

FEATURES = [
    *map(over_average, WINDOWS),
    Feature("over_slow", ("close",), 0, close / pl.col("slow_close") - 1, (slow,)),
]
RANGE = Feature("true_range", ("high", "low", "close"), 1, (pl.col("high") - pl.col("low")) / close.shift(1))
BY_NAME = {"anything": RANGE}
EMPTY = []
NUMBER = 7
MIXED = [RANGE, "change_1"]
TWICE = [RANGE, RANGE]
OURS = Feature("rsi_14", ("close",), 1, close / close.shift(1) - 1)
COLUMN = Feature("label", ("close",), 1, close / close.shift(1) - 1)
ODD = Feature("a b", ("close",), 1, close / close.shift(1) - 1)
OTHER_RANGE = Feature("true_range", ("high", "low"), 0, pl.col("high") / pl.col("low") - 1)
"""
LABELS_OF_USER = """
from dataclasses import dataclass
from typing import ClassVar
import polars as pl
from transforms.labels import NOTES, Direction, Label

@dataclass(frozen=True)
class Rise(Label):
    horizon: int = 4
    least: float = 0.0
    strict: bool = False

    def resolve(self, bars):
        move = pl.col("close").shift(-self.horizon) / self.entry_price() - 1
        return bars.select(
            label=pl.when(move.abs() > self.least).then((move > 0).cast(pl.Int8)),
            steps=pl.lit(self.horizon, dtype=pl.Int64),
            note=pl.when(move.abs() <= self.least).then(pl.lit("tie", dtype=NOTES)),
            barrier=pl.lit(None, dtype=pl.Float64),
        )

@dataclass(frozen=True)
class Needy(Label):
    least: float
    horizon: int = 4
    resolve = Rise.resolve

@dataclass(frozen=True)
class Named(Rise):
    kind: ClassVar[str] = "rise"

class Bare(Label):
    def resolve(self, bars):
        return bars

def inside():
    @dataclass(frozen=True)
    class Hidden(Rise):
        pass
    return Hidden

HIDDEN = inside()
NUMBER = 7
"""
names = count()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's package with a name that no other test has; what was cached of it is forgotten afterwards."""
    folder = tmp_path / "code" / f"mine_{next(names)}"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "windows.py").write_text("WINDOWS = (7, 50)\n")
    (folder / "alphas.py").write_text(ALPHAS)
    (folder / "labels.py").write_text(LABELS_OF_USER)
    monkeypatch.syspath_prepend(folder.parent)
    yield folder
    forget(folder)


def forget(package: Path) -> None:
    """Make the next look at a package a first one, as in another process."""
    for cached in (import_entry, source_digest, features_at):
        cached.cache_clear()
    for module in [name for name in sys.modules if name.partition(".")[0] == package.name]:
        del sys.modules[module]


@cache
def small_bars() -> pl.DataFrame:
    return clean(make_bars(seed=11, days=6, world="signal"), timeframe="1m").bars


def config_with(**analyst: Any) -> Config:
    kind = {"timeframes": ["5m"], "n_estimators": 8, **analyst}
    return load_config({"model_trainer": {"cv_folds": 2, "enable_tactician_models": False, "analyst_models": kind}})


def spec_with(**analyst: Any) -> ModelSpec:
    ((_, _, spec),) = config_with(**analyst).model_specs()
    return spec


def identity(spec: ModelSpec) -> str:
    return Recipe(spec, timeframe="5m", data=DataSettings()).fingerprint("abc")


def commit(config: Config, folder: Path) -> tuple[Storage, pl.DataFrame]:
    """Train on small bars and commit, as a worker does; return the registry, and the holdout as it was scored."""
    ((_, _, spec),) = config.model_specs()
    bars = small_bars()
    task = Task(key=KEY, spec=spec, series=(), rows=0, seconds=0.0, memory=0)
    info = SeriesInfo("1m", 0, bars["timestamp"][0], bars["timestamp"][-1], {}, "0" * 64, ())
    made, left_out = samples_of(task, bars, info, config.data, name="X")
    job = Job(run_id=VERSION.removeprefix("analyst_5m_"), config=config, output=str(folder), versions={})
    commit_version(SamplesRow(task, info, made.counts, made.label_stats, left_out), made.frame, job)
    return job.registry(), train(made.frame, spec, key=KEY).holdout


def settings_of(package: Path) -> dict[str, Any]:
    path = f"{package.name}.alphas"
    features = ["default", "change_1", f"{path}:FEATURES", f"{path}:RANGE"]
    return {"features": features, "label": f"{package.name}.labels:Rise(5, least=1e-5)"}


PROGRAM = """
import sys
import polars as pl
from job.core.keys import Key
from job.storage.files import Storage
from job.worker.scorer import load_scorer
from transforms.bars import clean
bars = pl.read_parquet(sys.argv[2])
scorer = load_scorer(Storage(sys.argv[1]), Key(*sys.argv[3:]))
frame = scorer.definition.features_of(bars, clean(bars)).frame
print(scorer.definition.label.definition(), scorer.score(frame).tolist())
"""


def fresh_process(registry: Storage, bars: Path, path: Path) -> str:
    """Return what a process says that knows nothing but the registry, some bars, the job and a folder of code."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, registry.url, str(bars), *astuple(KEY)],
        cwd=ROOT,
        env={"PYTHONPATH": str(path), "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_user_s_features_and_label_go_all_the_way(package: Path, tmp_path: Path) -> None:
    config = config_with(**settings_of(package))
    registry, holdout = commit(config, tmp_path / "store")
    scorer = load_scorer(registry, KEY)
    added = ("over_7", "over_50", "over_slow", "true_range")
    assert scorer.definition.names == (*DEFAULT_FEATURES, *added)
    assert scorer.definition.label == parse_label(f"{package.name}.labels:Rise(5, least=1e-5)")
    frame = scorer.definition.features_of(small_bars(), clean(small_bars())).frame
    scored = frame.select("available_at", p_here=pl.Series(scorer.score(frame)))
    both = holdout.join(scored, on="available_at", how="left").drop_nulls("p_here")
    assert both.height > 200
    assert both["p"].equals(both["p_here"].alias("p"))
    predictions = predict_bars(small_bars(), load_scorer(registry, KEY, data=config.data), config.data)
    assert predictions["probability_up"].to_list() == scored["p_here"].to_list()
    small_bars().write_parquet(tmp_path / "bars.parquet")
    elsewhere = fresh_process(registry, tmp_path / "bars.parquet", package.parent)
    assert elsewhere == f"{scorer.definition.label.definition()} {scored['p_here'].to_list()}"


def test_what_the_metadata_keeps(package: Path, tmp_path: Path) -> None:
    registry, _ = commit(config_with(**settings_of(package)), tmp_path / "store")
    metadata = read_metadata(registry, KEY, VERSION)
    path, label = f"{package.name}.alphas:FEATURES", f"{package.name}.labels:Rise"
    (slow,) = [entry for entry in metadata["features"] if entry["name"] == "over_slow"]
    assert slow == {
        "name": "over_slow",
        "import_path": path,
        "source_digest": source_digest(path),
        "version": 1,
        "inputs": ["close"],
        "lookback": 0,
        "warmup": 364,
    }
    assert {tuple(entry) for entry in metadata["features"][: len(DEFAULT_FEATURES)]} == {
        ("name", "version", "inputs", "lookback", "warmup")
    }
    assert metadata["label"]["definition"] == {"kind": label, "horizon": 5, "least": 1e-5, "strict": False}
    assert metadata["label"]["source_digest"] == source_digest(label)
    assert set(metadata["importances"]["values"]) >= {"over_slow", "true_range", "rsi_14"}


@pytest.mark.parametrize("what", ["features", "label"])
def test_a_version_whose_module_is_gone_or_has_changed_is_refused(what: str, package: Path, tmp_path: Path) -> None:
    registry, _ = commit(config_with(**{what: settings_of(package)[what]}), tmp_path / "store")
    module = f"{package.name}.{'alphas' if what == 'features' else 'labels'}"
    trained_on = rf"5m {VERSION} was trained on the (feature over_7|label \S+) of module {module}"
    remedy = "retrain the model, or restore the module"
    changed = package / ("windows.py" if what == "features" else "labels.py")  # what a module imports counts, too
    changed.write_text(changed.read_text() + "\nMORE = 1\n")
    forget(package)
    with pytest.raises(RegistryError, match=rf"{trained_on}, whose source has changed since \(.* now\): {remedy}"):
        load_scorer(registry, KEY)
    (package / f"{module.rpartition('.')[2]}.py").unlink()
    forget(package)
    with pytest.raises(RegistryError, match=rf"{trained_on}, of which there is no source on node \S+: {remedy}$"):
        load_scorer(registry, KEY)


@pytest.mark.parametrize("path", ["antigravity:fly", "os:system", "zlib:crc32", "not a path", "gone.module:X"])
@pytest.mark.parametrize("what", ["feature", "label"])
def test_metadata_makes_no_other_module_run(what: str, path: str, package: Path, tmp_path: Path) -> None:
    """Even if it knows the digest of a module that is installed here."""
    registry, _ = commit(config_with(**settings_of(package)), tmp_path / "store")
    metadata = read_metadata(registry, KEY, VERSION)
    digest = source_digest(path) if path == "antigravity:fly" else "0" * 12
    if what == "feature":
        metadata["features"][-1] |= {"import_path": path, "source_digest": digest}
    else:
        metadata["label"] |= {"definition": {"kind": path, "horizon": 5}, "source_digest": digest}
    reasons = "of which there is no source|whose source has changed|which uses no Feature or Label|unknown label"
    with pytest.raises(RegistryError, match=rf"(?s)it.* ({reasons}).*retrain the model"):
        Definition.of(metadata, DataSettings(), where="it")
    assert "antigravity" not in sys.modules


def test_a_module_that_does_not_run_here_is_refused(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package / "alphas.py").write_text(f"import os\nif os.environ.get('MISSING'):\n    import gone_library\n{ALPHAS}")
    registry, _ = commit(config_with(**settings_of(package)), tmp_path / "store")
    forget(package)
    monkeypatch.setenv("MISSING", "1")
    with pytest.raises(
        RegistryError, match=rf"{VERSION}: \S+: no module 'gone_library' on node .*; retrain the model, or"
    ):
        load_scorer(registry, KEY)


def test_only_models_that_use_a_module_hang_on_it(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what a user's module says nor a new feature of the table changes a model that does not use it."""
    settings = settings_of(package)
    kinds: list[dict[str, Any]] = [{}, {"features": settings["features"]}, {"label": settings["label"]}]
    before = [identity(spec_with(**kind)) for kind in kinds]
    file = prediction_fingerprints([(KEY, VERSION)], DataSettings())
    assert len(set(before)) == 3
    for module in ("alphas", "labels"):
        source = package / f"{module}.py"
        source.write_text(source.read_text() + "\nMORE = 1\n")
    forget(package)
    monkeypatch.setitem(FEATURES, "brand_new", Feature("brand_new", ("close",), 0, pl.col("close") / pl.col("close")))
    after = [identity(spec_with(**kind)) for kind in kinds]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, False]
    assert spec_with().features == DEFAULT_FEATURES
    assert prediction_fingerprints([(KEY, VERSION)], DataSettings()) == file
    assert "sources" not in json.dumps(spec_with().model_dump(mode="json"))


def test_features_as_settings_name_them(package: Path) -> None:
    path = f"{package.name}.alphas"
    own = tuple(f"{path}:FEATURES[{name}]" for name in ("over_7", "over_50", "over_slow"))
    spec = spec_with(features=["rsi_14", f"{path}:FEATURES", f"{path}:BY_NAME"])
    assert spec.features == ("rsi_14", *own, f"{path}:BY_NAME[true_range]")
    assert spec.feature_names == ("rsi_14", "over_7", "over_50", "over_slow", "true_range")
    assert [feature.name for feature in resolve_features(spec.features)] == list(spec.feature_names)
    assert spec_with(features=f"default, {path}:FEATURES[over_7]").features == (*DEFAULT_FEATURES, own[0])
    assert spec_with(features=["change_1", "default"]).features == DEFAULT_FEATURES
    again = load_config(config_with(**settings_of(package)).model_dump())
    assert again == config_with(**settings_of(package))


def test_names_of_columns_need_no_module() -> None:
    spec = spec_with().model_copy(update={"features": ("gone.module:FEATURES[alpha]", "any: [column]", "x[0]")})
    assert spec.feature_names == ("alpha", "any: [column]", "x[0]")


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            "chnge_1",
            r"unknown feature 'chnge_1'; did you mean 'change_1'\? \(packs: default, .*, market; .*README.md\)",
        ),
        (
            "gone.alphas:FEATURES",
            r"gone.alphas:FEATURES: no module 'gone' on node .*put it into the folder",
        ),
        ("{mine}.alphas:GONE", "alphas on node .* has no 'GONE'"),
        ("{mine}.alphas:FEATURES[gone]", r"has no feature 'gone' \(it has over_7, over_50, over_slow\)"),
        ("{mine}.alphas:NUMBER", "expected a Feature of transforms.features.feature, or an iterable .* got int 7"),
        ("{mine}.alphas:MIXED", "expected a Feature .* got str 'change_1'"),
        ("{mine}.alphas:EMPTY", "alphas:EMPTY holds no feature: put some into it"),
        ("{mine}.alphas:TWICE", "alphas:TWICE: two features are named 'true_range': rename one"),
        ("{mine}.alphas:OURS", "a feature of this project is named 'rsi_14' too: rename yours"),
        ("{mine}.alphas:COLUMN", "a column of bars or samples is named 'label' too: rename the feature"),
        ("{mine}.alphas:ODD", "feature name 'a b': use letters, digits, _, . and - only"),
        (
            "{mine}.alphas:RANGE, {mine}.alphas:OTHER_RANGE",
            r"alphas:RANGE\[true_range\] and \S+:OTHER_RANGE\[true_range\] are both named 'true_range': rename one",
        ),
    ],
)
def test_features_that_are_refused(features: str, message: str, package: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^model_trainer.analyst_models.features.*: .*{message}"):
        config_with(features=features.format(mine=package.name))


def test_a_module_that_fails_is_told_on_one_line(package: Path) -> None:
    (package / "broken.py").write_text("raise OSError('no\\ncredentials')\n")
    message = r"module \S+broken cannot be imported on node \S+ \(OSError: no credentials\)"
    with pytest.raises(ConfigError, match=message):
        config_with(features=f"{package.name}.broken:FEATURES")


@pytest.mark.parametrize(
    ("label", "parameters"),
    [
        ("{mine}.labels:Rise", {"horizon": 4, "least": 0.0, "strict": False}),
        ("{mine}.labels:Rise(5, strict=True)", {"horizon": 5, "least": 0.0, "strict": True}),
        ({"kind": "{mine}.labels:Rise", "least": 1}, {"horizon": 4, "least": 1.0, "strict": False}),
        ("{mine}.labels:Needy(0.5)", {"least": 0.5, "horizon": 4}),
    ],
)
def test_labels_as_settings_name_them(label: Any, parameters: dict[str, Any], package: Path) -> None:
    written = json.loads(json.dumps(label).replace("{mine}", package.name))
    made = spec_with(label=written).label
    definition = made.definition()
    assert definition.pop("kind").startswith(f"{package.name}.labels:")
    assert definition == parameters
    again = [parse_label(json.loads(json.dumps(made.definition()))), pickle.loads(pickle.dumps(made)), deepcopy(made)]
    assert again == [made] * 3


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("gone.labels:Rise(5)", "gone.labels:Rise: no module 'gone' on node .*put it into the folder"),
        ("{mine}.labels:Gone", "has no 'Gone'"),
        ("{mine}.labels:NUMBER", "expected a class that derives from transforms.labels.Label and has `resolve`, got 7"),
        ("{mine}.labels:Label", "expected a class that derives from transforms.labels.Label and has `resolve`"),
        ("{mine}.labels:Bare", "a label is a frozen dataclass with the field `horizon`, in bars"),
        ("{mine}.labels:HIDDEN", "define the class at the top of its module, and leave `kind` unset"),
        ("{mine}.labels:Named", "define the class at the top of its module, and leave `kind` unset"),
        ("{mine}.labels:Needy", r"label \S+labels:Needy: parameter least is not given"),
        ("{mine}.labels:Rise(0)", "Rise: horizon must be at least 1 bar, got 0"),
        ("{mine}.labels:Rise(entry='open')", "Rise: unknown parameter 'entry'"),
        ("{mine}.labels:Rise(strict=1)", "Rise: strict must be true or false, got 1"),
        ("{mine}.labels:Rise(5", "expected something like direction"),
    ],
)
def test_labels_that_are_refused(label: str, message: str, package: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^model_trainer.analyst_models.label: .*{message}"):
        config_with(label=label.format(mine=package.name))


def test_the_example_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "transforms" / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    package = tmp_path / "code" / "mypackage"
    package.mkdir(parents=True)
    for name, block in zip(("__init__", "alphas", "labels"), ("", *blocks), strict=True):
        (package / f"{name}.py").write_text(block)
    monkeypatch.syspath_prepend(package.parent)
    written = [line.strip() for line in text.splitlines() if line.startswith(("    features: ", "    label: "))]
    settings = read_yaml("\n".join(written))
    try:
        config = config_with(**settings)
        ((_, _, spec),) = config.model_specs()
        for feature in resolve_features(spec.features[len(DEFAULT_FEATURES) :]):
            for holds in FEATURE_PROPERTIES:
                holds(feature)
        for check in LABEL_PROPERTIES:
            check(spec.label)
        registry, _ = commit(config, tmp_path / "store")
        assert load_scorer(registry, KEY).definition.names[-3:] == ("gap", "close_ma_50", "close_ema_50")
    finally:
        forget(package)


def test_own_labels_have_an_import_path_too() -> None:
    for kind, label in LABELS.items():
        assert parse_label(f"transforms.labels:{label.__name__}") == parse_label(kind)


def test_a_label_without_its_module_says_so_where_it_is_read(package: Path) -> None:
    """As when a worker on another node reads a task: the message names the node and the remedy."""
    sent = pickle.dumps(parse_label(f"{package.name}.labels:Rise(5)"))
    (package / "labels.py").unlink()
    forget(package)
    with pytest.raises(ConfigError, match=rf"no module '{package.name}.labels' on node .*put it into the folder"):
        pickle.loads(sent)


def test_pooled_rows_have_the_columns_of_a_user_s_features(package: Path, tmp_path: Path) -> None:
    config = config_with(**settings_of(package))
    ((_, _, spec),) = config.model_specs()
    job = Job(run_id="a", config=config, output=str(tmp_path), versions={})
    task = Task(key=KEY, spec=spec, series=(), rows=0, seconds=0.0, memory=0)
    failed = BarsRow(Bundle(Series(KEY.exchange, KEY.symbol, "1m", ()), (task,)), None, {"message": "no bars"})
    (table,) = flat_samples(pack(failed), job=job, caps={}, feature_names=spec.feature_names)
    rows = pl.DataFrame(pl.from_arrow(table))
    assert {rows.schema[name] for name in ("over_slow", "rsi_14")} == {pl.Float32}


@pytest.mark.parametrize("holds", FEATURE_PROPERTIES)
def test_the_user_s_features_of_this_file_are_sound(holds: Any, package: Path) -> None:
    for feature in features_at(f"{package.name}.alphas:FEATURES").values():
        holds(feature)


@pytest.mark.parametrize("holds", LABEL_PROPERTIES)
def test_the_user_s_label_of_this_file_is_sound(holds: Any, package: Path) -> None:
    holds(label_at(f"{package.name}.labels:Rise")())


def test_a_feature_outside_of_the_default_pack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One entry makes a pack known by name, to settings and to metadata; the default model stays as it is."""
    gap = Feature("gap", ("open", "close"), 1, pl.col("open") / pl.col("close").shift(1) - 1)
    before = identity(spec_with())
    monkeypatch.setitem(PACKS, "gaps", (gap,))
    monkeypatch.setitem(FEATURES, "gap", gap)
    assert identity(spec_with()) == before
    registry, _ = commit(config_with(features=["gaps", "rsi_14"]), tmp_path)
    assert load_scorer(registry, KEY).definition.features == (gap, FEATURES["rsi_14"])
