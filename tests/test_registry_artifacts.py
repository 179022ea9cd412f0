"""Estimators survive the registry bit for bit; nothing but the pinned types is ever built."""

import hashlib
import io
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, scalar_dtypes
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from job.core.errors import RegistryError
from job.learning.estimators import ALGORITHMS
from job.registry import artifacts, skops_objects, skops_schema
from job.registry.artifacts import dump, parse
from tests.registries import ESTIMATORS, NATIVE, fitted, samples

WHERE = "file:///models/binance/BTCUSDT/analyst_1h_20231201_120000_a1b2c3.skops"


def load(data: bytes) -> Any:
    return parse(data, format="skops", where=WHERE)


def schema_of(data: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return json.loads(archive.read("schema.json"))


def repacked(data: bytes, change: Callable[[dict[str, bytes]], object]) -> bytes:
    """Return the archive with its members changed by `change`."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def with_schema(data: bytes, change: Callable[[Any], object]) -> bytes:
    schema = schema_of(data)
    change(schema)
    return repacked(data, lambda members: members.update({"schema.json": json.dumps(schema).encode()}))


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if name != "scaler"])
@pytest.mark.parametrize("format_", ["skops", "pkl"])
def test_a_model_predicts_the_same_bits_after_loading(name: str, format_: str) -> None:
    features, _ = samples()
    loaded = parse(dump(fitted(name), format=format_), format=format_, where=WHERE, allow_pickle=True)
    assert loaded.predict_proba(features).tobytes() == fitted(name).predict_proba(features).tobytes()


def test_a_scaler_scales_the_same_after_loading() -> None:
    features, _ = samples()
    assert load(dump(fitted("scaler"), format="skops")).transform(features).tobytes() == (
        fitted("scaler").transform(features).tobytes()
    )


def test_every_algorithm_is_among_the_models_tested() -> None:
    networks = {name for name, one in ALGORITHMS.items() if one.extra == "torch"}
    assert set(ALGORITHMS) <= {*ESTIMATORS, *NATIVE, *networks, "blend"}, "a blend is of others"


def test_equal_models_give_equal_bytes_in_another_process() -> None:
    script = (
        "import hashlib, numpy\n"
        "junk = [numpy.random.default_rng(i).normal(size=999 * i) for i in range(40)]; del junk\n"
        "from job.registry.artifacts import dump\n"
        "from tests.registries import ESTIMATORS, NATIVE, fitted\n"
        "print(*(hashlib.sha256(dump(fitted(name), format='skops')).hexdigest() for name in ESTIMATORS))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[1], check=True, capture_output=True, text=True
    )
    here = [hashlib.sha256(dump(fitted(name), format="skops")).hexdigest() for name in ESTIMATORS]
    assert done.stdout.split() == here


@pytest.mark.parametrize("name", ESTIMATORS)
def test_models_are_written_without_skops_as_skops_would_write_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    by_skops = artifacts._state_of
    monkeypatch.setattr(artifacts, "_state_of", lambda _: pytest.fail("skops was asked"))
    own = dump(fitted(name), format="skops")
    monkeypatch.setattr(artifacts, "_state_of", by_skops)
    monkeypatch.setattr(skops_schema, "RELEASE", "0.0.")
    assert dump(fitted(name), format="skops") == own
    assert schema_of(own)["_skops_version"] == skops.__version__


@pytest.mark.parametrize("name", [*ESTIMATORS, "a forest with a random state"])
def test_models_are_built_without_skops_as_skops_builds_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawing = RandomForestClassifier(2, random_state=np.random.RandomState(1))
    estimator = fitted(name) if name in ESTIMATORS else drawing.fit(*samples())
    data = dump(estimator, format="skops")
    by_skops = skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))
    monkeypatch.setattr(skops.io, "loads", lambda *_, **__: pytest.fail("skops was asked"))
    own = load(data)
    assert dump(own, format="skops") == dump(by_skops, format="skops") == data
    assert vars(own).keys() == vars(by_skops).keys()


@given(arrays(scalar_dtypes(), array_shapes(min_dims=0, max_dims=3, min_side=0), elements=None), st.booleans())
def test_arrays_are_read_as_numpy_reads_them(values: NDArray[Any], by_column: bool) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.asfortranarray(values) if by_column and values.ndim else values)
    found, expected = skops_objects._array_of(buffer.getvalue()), np.load(io.BytesIO(buffer.getvalue()))
    assert (found.dtype, found.shape, found.tobytes("A")) == (expected.dtype, expected.shape, expected.tobytes("A"))
    one, other = found.flags, expected.flags
    assert (one.c_contiguous, one.f_contiguous) == (other.c_contiguous, other.f_contiguous)
    assert one.writeable
    assert one.aligned


@pytest.mark.parametrize("shape", ["(-1,)", "(9,)", "(2, -3)", "(10000000000000,)", "(1.5,)", "('x',)"])
def test_an_array_of_another_size_than_its_file_is_refused(shape: str) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    forged = skops_objects.NPY_1 + len(header).to_bytes(2, "little") + header + np.arange(8.0).tobytes()
    with pytest.raises(RegistryError, match="is no skops artifact of this job"):
        load(repacked(dump(fitted("scaler"), format="skops"), lambda members: members.update({"1.npy": forged})))


@pytest.mark.parametrize(
    "values",
    [
        np.arange(6, dtype=np.int32).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(12.0)[::2],
        np.array(3.5),
        np.float32(0.1),
        np.zeros(0, np.uint8),
        np.array(["a", "bc"]),
    ],
    ids=lambda values: f"{values.dtype} {values.shape}",
)
def test_arrays_are_written_as_numpy_writes_them(values: NDArray[Any]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, values)
    assert skops_schema.npy_bytes(values) == buffer.getvalue()


def test_what_was_never_written_does_not_reach_the_artefact() -> None:
    clean, dirty = (RandomForestClassifier(2, max_depth=3, random_state=1).fit(*samples()) for _ in range(2))
    for tree in (one.tree_ for one in dirty.estimators_):
        state = tree.__getstate__()
        nodes = state["nodes"].copy()
        nodes.view(np.uint8).reshape(len(nodes), -1)[:, -7:] = 0xAB
        tree.__setstate__({**state, "nodes": nodes})
    assert skops.io.dumps(clean) != skops.io.dumps(dirty)
    assert dump(clean, format="skops") == dump(dirty, format="skops")


def test_artefacts_are_deflated() -> None:
    model = fitted("random_forest")
    assert len(dump(model, format="skops")) < 0.3 * len(skops.io.dumps(model))


@pytest.mark.parametrize(
    ("estimator", "foreign"),
    [
        (FunctionTransformer(np.log1p), "numpy.log1p, sklearn.preprocessing._function_transformer.FunctionTransformer"),
        (Pipeline([("scaler", StandardScaler())]), "sklearn.pipeline.Pipeline"),
        (partial(np.log1p), "functools.partial, numpy.log1p"),
        ({"a": {1, 2}}, "builtins.set"),
        (np.log1p, "numpy.log1p"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_types_outside_the_allow_list_are_neither_written_nor_read(estimator: object, foreign: str) -> None:
    with pytest.raises(RegistryError, match=f"{foreign}: no type that may be stored as skops"):
        dump(estimator, format="skops")
    with pytest.raises(
        RegistryError, match=rf"{WHERE} holds types outside the allow-list \({foreign}\); it was not loaded"
    ):
        load(skops.io.dumps(estimator))


def rename(loader: str, module: str, name: str) -> Callable[[Any], None]:
    """Return a change that hides a call of `module.name` deep inside a scaler's schema."""

    def change(schema: Any) -> None:
        attributes = schema["content"]["content"]
        attributes["mean_"] = {
            "__loader__": loader,
            "__module__": module,
            "__class__": name,
            "content": attributes["copy"],
        }

    return change


@pytest.mark.parametrize(
    ("loader", "module", "name"),
    [
        ("TypeNode", "os", "system"),
        ("FunctionNode", "builtins", "eval"),
        ("MethodNode", "builtins", "str"),
        ("OperatorFuncNode", "operator", "methodcaller"),
        ("ObjectNode", "subprocess", "Popen"),
        ("ConstructorFromReduceNode", "builtins", "bytearray"),
        ("DictNode", "collections", "OrderedDict"),
        ("TypeNode", "sklearn.linear_model._logistic", "LogisticRegression"),
        ("ObjectNode", "builtins", "dict"),
        ("UnknownNode", "builtins", "str"),
    ],
)
def test_a_type_hidden_inside_is_found_before_anything_is_built(
    monkeypatch: pytest.MonkeyPatch, loader: str, module: str, name: str
) -> None:
    hostile = with_schema(dump(fitted("scaler"), format="skops"), rename(loader, module, name))
    for builder, name_of in ((skops.io, "loads"), (skops_objects.Objects, "build")):
        monkeypatch.setattr(builder, name_of, lambda *_, **__: pytest.fail("it was handed on to be built"))
    with pytest.raises(RegistryError, match=rf"holds types outside the allow-list \({module}\.{name}\)"):
        load(hostile)


class Payload:
    """A pickle that leaves a file behind when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_pickle_is_not_touched_unless_the_caller_opts_in(tmp_path: Path) -> None:
    payload = pickle.dumps(Payload(tmp_path / "ran"))
    with pytest.raises(RegistryError, match=r"is a pickle, which can run any code.*allow_pickle=True"):
        parse(payload, format="pkl", where=WHERE)
    with pytest.raises(RegistryError, match="is no skops artifact of this job: File is not a zip file"):
        parse(payload, format="skops", where=WHERE, allow_pickle=True)
    assert list(tmp_path.iterdir()) == []


def test_a_pickled_array_inside_an_archive_is_not_run(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Payload(tmp_path / "ran")], dtype=object), allow_pickle=True)
    hostile = repacked(
        dump(fitted("scaler"), format="skops"),
        lambda members: members.update(dict.fromkeys(["1.npy"], buffer.getvalue())),
    )
    with pytest.raises(RegistryError, match="Object arrays cannot be loaded when allow_pickle=False"):
        load(hostile)
    assert list(tmp_path.iterdir()) == []


def deep(members: dict[str, bytes]) -> None:
    members["schema.json"] = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[: len(data) // 2], "File is not a zip file"),
        (lambda _: b"<html>404</html>", "File is not a zip file"),
        (lambda _: b"", "File is not a zip file"),
        (lambda data: repacked(data, lambda members: members.pop("schema.json")), "no item named 'schema.json'"),
        (lambda data: repacked(data, lambda members: members.pop("1.npy")), "no item named '1.npy'"),
        (lambda data: repacked(data, lambda members: members.update({"1.npy": b"\x93NUMPY"})), "EOF"),
        (lambda data: repacked(data, lambda members: members.update({"schema.json": b"{"})), "Expecting property name"),
        (lambda data: repacked(data, lambda members: members.update({"schema.json": b"\xff"})), "can't decode byte"),
        (lambda data: repacked(data, deep), "maximum recursion depth exceeded"),
        (lambda data: with_schema(data, lambda schema: schema.pop("protocol")), "Invalid skops protocol None"),
        (lambda data: with_schema(data, lambda schema: schema.update(protocol=99)), "skops protocol 99"),
    ],
)
def test_a_malformed_artefact_is_refused(damage: Callable[[bytes], bytes], message: str) -> None:
    with pytest.raises(
        RegistryError, match=rf"{WHERE} is no skops artifact of this job: .*{message}.*; train the model again"
    ):
        load(damage(dump(fitted("scaler"), format="skops")))


def test_an_archive_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dump(fitted("scaler"), format="skops")
    monkeypatch.setattr(artifacts, "MAX_BYTES", 1_000)
    with pytest.raises(RegistryError, match="it unpacks to more than"):
        load(data)


def forest_with(field: str, value: int) -> RandomForestClassifier:
    """Return a forest of which one tree's root holds `value` in `field`."""
    forest = RandomForestClassifier(2, max_depth=3, random_state=1).fit(*samples())
    tree = forest.estimators_[1].tree_
    state = tree.__getstate__()
    nodes: NDArray[Any] = state["nodes"].copy()
    nodes[field][0] = value
    tree.__setstate__({**state, "nodes": nodes})
    return forest


def boosting_with(field: str, value: int) -> HistGradientBoostingClassifier:
    model = HistGradientBoostingClassifier(max_iter=2, early_stopping=False, random_state=1).fit(*samples())
    model._predictors[1][0].nodes[field][0] = value
    return model


@pytest.mark.parametrize("child", ["left_child", "right_child"])
@pytest.mark.parametrize("value", [0, 10_000_000])
def test_a_tree_that_never_ends_or_leaves_its_nodes_is_refused(child: str, value: int) -> None:
    with pytest.raises(RegistryError, match=f"a tree's {child.partition('_')[0]} child is outside the nodes"):
        load(dump(forest_with(child, value), format="skops"))


@pytest.mark.parametrize("child", ["left", "right"])
@pytest.mark.parametrize("value", [0, 10_000_000])
def test_a_boosted_tree_that_never_ends_or_leaves_its_nodes_is_refused(child: str, value: int) -> None:
    with pytest.raises(RegistryError, match=f"a tree's {child} child is outside the nodes"):
        load(dump(boosting_with(child, value), format="skops"))


@pytest.mark.parametrize("value", [-7, 19, 2**40])
def test_a_split_on_a_feature_that_does_not_exist_is_refused(value: int) -> None:
    for model in (forest_with("feature", value), boosting_with("feature_idx", value)):
        with pytest.raises(RegistryError, match="a tree splits on a feature outside the model's 19"):
            load(dump(model, format="skops"))


def test_a_split_on_categories_is_refused() -> None:
    with pytest.raises(RegistryError, match="a tree splits on categories"):
        load(dump(boosting_with("is_categorical", 1), format="skops"))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_skops_itself_loads_what_is_written(name: str) -> None:
    features, _ = samples()
    data = dump(fitted(name), format="skops")
    loaded = skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))
    use = "transform" if name == "scaler" else "predict_proba"
    assert getattr(loaded, use)(features).tobytes() == getattr(fitted(name), use)(features).tobytes()


def test_equal_arrays_are_written_once() -> None:
    with zipfile.ZipFile(io.BytesIO(dump(fitted("random_forest"), format="skops"))) as archive:
        arrays = [archive.read(member) for member in archive.namelist() if member.endswith(".npy")]
    assert len(set(arrays)) == len(arrays)
