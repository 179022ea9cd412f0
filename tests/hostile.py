"""Hostile versions as values in a table: what an attacker who can write to a registry puts in place of a file.

Each is loaded in a process of its own, since one that gets past the loader may end it; so what is asked of that process
and what it answers are plain values.
"""

import io
import json
import os
import pickle
import resource
import time
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from job.core.errors import RegistryError
from job.registry.artifacts import dump
from job.registry.versions import load
from job.storage.files import Storage
from tests.corpus import peak_mb, traces
from tests.registries import KEY, VERSION, fitted, samples
from tests.test_registry_artifacts import Payload, repacked, schema_of, with_schema

Role = Literal["model", "scaler"]
Schema = dict[str, Any]
Members = dict[str, bytes]

FOLDER: Final = "binance/BTC%2FUSDT%3AUSDT"
MODEL: Final = f"{FOLDER}/{VERSION}.skops"
SCALER: Final = f"{FOLDER}/{VERSION}_scaler.skops"
METADATA: Final = f"{FOLDER}/{VERSION}.json"
PATHS: Final = {"model": MODEL, "scaler": SCALER}
EXTRA: Final = "90001.npy"
"""A member that no artifact has of its own."""

MOST_ADDRESS_SPACE: Final = 6 << 30


@dataclass(frozen=True)
class Attack:
    """A file that takes an artifact's place.

    `change` makes it of the artifact's bytes; `says` is what the loader must say once the metadata has the new digest,
    too. `estimator` is the model that was committed.
    """

    name: str
    change: Callable[[bytes], bytes]
    says: str
    role: Role = "model"
    estimator: str = "logistic_regression"


@dataclass(frozen=True)
class Forgery:
    """Metadata that was tampered with; `forge` returns what stands in its place."""

    name: str
    forge: Callable[[dict[str, Any]], object]
    says: str


@dataclass(frozen=True)
class Answer:
    """What became of a load: the error, None if there was none; whether anything was parsed; and what else was done.

    `seconds` is the CPU time of a load that was refused.
    """

    error: str | None
    parsed: bool
    heard: list[str]
    risen_mb: float
    predictions: bytes = b""
    seconds: float = 0.0


def limit() -> None:
    """Cap the process that loads, and do once what is done once: the first threads ask the system for its cores."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESS_SPACE, MOST_ADDRESS_SPACE))
    for name in ("random_forest", "hist_gradient_boosting"):
        _predictions(fitted(name), fitted("scaler"))


def attempt(url: str) -> Answer:
    """Load the latest version of a registry, and if that works use it in every way that scikit-learn has."""
    parsed: list[str] = []
    module: Any = import_module("job.registry.versions")  # the package has a function of that name
    parse = module.parse

    def spy(data: bytes, **arguments: Any) -> Any:
        parsed.append(arguments["where"])
        return parse(data, **arguments)

    module.parse = spy
    before, started = peak_mb(), time.process_time()
    os.chdir(Path(url).parent)
    try:
        with traces(Path(url)) as heard:
            model, scaler, _ = load(Storage(url), KEY)
            predictions = _predictions(model, scaler)
    except RegistryError as error:
        seconds = time.process_time() - started
        return Answer(str(error), bool(parsed), heard, peak_mb() - before, seconds=seconds)
    finally:
        module.parse = parse
    return Answer(None, bool(parsed), heard, peak_mb() - before, predictions)


def _predictions(model: Any, scaler: Any) -> bytes:
    features = scaler.transform(samples()[0][:200])
    if hasattr(model, "decision_path") and hasattr(model, "estimators_"):
        model.decision_path(features)
        model.apply(features)
    return bytes(model.predict_proba(features).tobytes())


def adjust(registry: Storage, role: Role, data: bytes) -> None:
    """Write size and digest of an artifact into the metadata, as the attacker can who can write the artifact."""
    metadata = json.loads(registry.read(METADATA))
    metadata["artefacts"][role] |= {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    registry.replace(METADATA, json.dumps(metadata).encode())


def payload(_: bytes = b"") -> bytes:
    """Return a pickle that leaves a file `ran` in the current folder when it is loaded."""
    return pickle.dumps(Payload(Path("ran")))


def npy(array: NDArray[Any], *, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def header(text: str) -> bytes:
    """Return a .npy file of no values with any header."""
    padded = text.ljust(118 - 1) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode()


def member(name: str, content: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Change one member of the archive, or add it."""
    return lambda data: repacked(data, lambda members: members.update({name: content(members.get(name, b""))}))


def appended(name: str, content: bytes) -> Callable[[bytes], bytes]:
    """Add a member behind the others, also under a name that is taken."""

    def change(data: bytes) -> bytes:
        buffer = io.BytesIO(data)
        with zipfile.ZipFile(buffer, "a") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            archive.writestr(name, content, zipfile.ZIP_DEFLATED)
        return buffer.getvalue()

    return change


def central(at: int, value: bytes) -> Callable[[bytes], bytes]:
    """Write bytes into the first central header of the archive."""

    def change(data: bytes) -> bytes:
        start = data.find(b"PK\x01\x02") + at
        return data[:start] + value + data[start + len(value) :]

    return change


def schema(content: object) -> Callable[[bytes], bytes]:
    """Put another schema in place of the whole estimator."""
    return member("schema.json", lambda _: json.dumps(content).encode())


def node(loader: str, module: str, name: str, **more: object) -> Schema:
    return {"__loader__": loader, "__module__": module, "__class__": name, **more}


def value(content: object) -> Schema:
    return node("JsonNode", "builtins", "str", content=json.dumps(content), is_json=True)


def listed(*content: Schema) -> Schema:
    return node("ListNode", "builtins", "list", content=list(content))


def tupled(*content: Schema) -> Schema:
    return node("TupleNode", "builtins", "tuple", content=list(content))


def root(content: Schema) -> Callable[[bytes], bytes]:
    return schema({**content, "protocol": 2})


def attributes(of: Schema) -> Schema:
    """Return the attributes of an estimator by name."""
    found: Schema = of["content"]["content"]
    return found


def attribute(name: str, content: Schema) -> Callable[[bytes], bytes]:
    """Set an attribute of the estimator; one that it did not have needs a type for its key, or is passed over."""

    def change(of: Schema) -> None:
        if name not in attributes(of):
            of["content"]["key_types"]["content"].append(node("TypeNode", "builtins", "str"))
        attributes(of)[name] = content

    return lambda data: with_schema(data, change)


def array_attribute(name: str, array: NDArray[Any]) -> Callable[[bytes], bytes]:
    return lambda data: attribute(name, node("NdArrayNode", "numpy", "ndarray", type="numpy", file=EXTRA))(
        member(EXTRA, lambda _: npy(array))(data)
    )


def part(of: Schema, loader: str, name: str) -> Schema:
    """Return the first node of a kind."""
    pending: list[Any] = [of]
    while pending:
        one = pending.pop(0)
        if isinstance(one, dict):
            if (one.get("__loader__"), one.get("__class__")) == (loader, name):
                return one
            pending.extend(one.values())
        elif isinstance(one, list):
            pending.extend(one)
    raise AssertionError(f"no {loader} of {name}")


def tree(change: Callable[[Schema], object]) -> Callable[[bytes], bytes]:
    """Change the first tree's node."""
    return lambda data: with_schema(data, lambda of: change(part(of, "TreeNode", "Tree")))


def tree_state(**state: Schema) -> Callable[[bytes], bytes]:
    return tree(lambda one: one["content"]["content"].update(state))


def tree_argument(position: int, content: Schema) -> Callable[[bytes], bytes]:
    return tree(lambda one: one["__reduce__"]["args"]["content"].__setitem__(position, content))


def tree_array(name: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[[bytes], bytes]:
    """Change the nodes or values of the first tree."""
    return _array(lambda of: part(of, "TreeNode", "Tree")["content"]["content"][name], change)


def predictor(change: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[[bytes], bytes]:
    """Change the nodes of the first tree of histogram boosting."""
    return _array(lambda of: attributes(part(of, "ObjectNode", "TreePredictor"))["nodes"], change)


def _array(
    find: Callable[[Schema], Schema], change: Callable[[NDArray[Any]], NDArray[Any]]
) -> Callable[[bytes], bytes]:
    def changed(data: bytes) -> bytes:
        name = find(schema_of(data))["file"]
        return member(name, lambda old: npy(change(np.load(io.BytesIO(old)))))(data)

    return changed


def where(name: str, content: object) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Set one field of all nodes."""

    def change(nodes: NDArray[Any]) -> NDArray[Any]:
        nodes[name] = content
        return nodes

    return change


def wide(width: int) -> Callable[[bytes], bytes]:
    """Let every stage of boosting have its tree several times."""

    def change(of: Schema) -> None:
        for stage in attributes(part(of, "ObjectNode", "GradientBoostingClassifier"))["estimators_"]["content"]:
            stage["content"] *= width

    return lambda data: with_schema(data, change)


def without_start(data: bytes) -> bytes:
    """Let boosting start from no score at all, to which scikit-learn would then add."""

    def change(of: Schema) -> None:
        start = attributes(part(of, "ObjectNode", "DummyClassifier"))
        start["n_classes_"] = value(0)
        start["class_prior_"] = node("NdArrayNode", "numpy", "ndarray", type="numpy", file=EXTRA)
        attributes(part(of, "ObjectNode", "HalfBinomialLoss"))["is_multiclass"] = value(content=True)

    return with_schema(member(EXTRA, lambda _: npy(np.zeros(0)))(data), change)


def fresh(estimator: Any, *, width: int = 19, classes: tuple[int, ...] = (0, 1)) -> Callable[[bytes], bytes]:
    """Put an honest estimator in the artifact's place, fitted on fewer features or other classes."""

    def change(_: bytes) -> bytes:
        features, labels = samples()
        named = np.array(classes)[(labels + np.arange(len(labels)) // 999) % len(classes)]
        return dump(estimator.fit(features[:, :width], named), format="skops")

    return change


STRING: Final = node("TypeNode", "builtins", "str")
FOREIGN: Final = "holds types outside the allow-list"
NO_PAIR: Final = "holds no model and scaler of this job: "
SIZES: Final = "a tree's sizes are not those of its nodes"
FOREST: Final = "random_forest"
BOOSTING: Final = "gradient_boosting"
HISTOGRAMS: Final = "hist_gradient_boosting"
SYSTEM: Final = "{'descr': __import__('os').system('touch ran'), 'fortran_order': False, 'shape': (1,), }"
GENERATOR: Final = node(
    "RandomGeneratorNode",
    "numpy.random._generator",
    "Generator",
    content={
        "bit_generator": node(
            "DictNode", "builtins", "dict", key_types=listed(STRING), content={"bit_generator": value("seed")}
        ),
        "seed_seq": value({}),
    },
)

ATTACKS: Final = (
    # Pickles
    Attack("pickle for a model", payload, "File is not a zip file"),
    Attack("pickle for a scaler", payload, "File is not a zip file", role="scaler"),
    Attack("pickle for an array", member("1.npy", payload), "This file contains pickled (object) data"),
    Attack(
        "pickled objects in an array",
        member("1.npy", lambda _: npy(np.array([Payload(Path("ran"))]), allow_pickle=True)),
        "Object arrays cannot be loaded",
    ),
    Attack("pickle for a schema", member("schema.json", payload), "can't decode byte"),
    Attack("pickle beside the arrays", appended("payload.pkl", payload()), "it holds a file called 'payload.pkl'"),
    Attack("call in the header of an array", member("1.npy", lambda _: header(SYSTEM)), "malformed node or string"),
    # Archives
    Attack("half an archive", lambda data: data[: len(data) // 2], "File is not a zip file"),
    Attack("nothing", lambda _: b"", "File is not a zip file"),
    Attack("more behind", lambda data: data + b"#" * 99, "there is something before or behind the archive"),
    Attack(
        "script before",
        lambda data: b"#!/bin/sh\ntouch ran\n" + data,
        "there is something before or behind the archive",
    ),
    Attack(
        "comment behind", lambda data: data[:-2] + b"\x03\x00ran", "there is something before or behind the archive"
    ),
    Attack(
        "second schema",
        appended("schema.json", json.dumps({**value("x"), "protocol": 2}).encode()),
        "it holds two files of one name",
    ),
    Attack("second array", appended("1.npy", npy(np.zeros(19))), "it holds two files of one name"),
    Attack("absolute name", appended("/etc/cron.d/ran", b""), "it holds a file called '/etc/cron.d/ran'"),
    Attack("name that climbs", appended("../../../../ran", b""), "it holds a file called '../../../../ran'"),
    Attack(
        "array that climbs",
        lambda data: with_schema(
            member("../1.npy", lambda _: npy(np.zeros(19)))(data),
            lambda of: attributes(of)["mean_"].update(file="../1.npy"),
        ),
        "it holds a file called '../1.npy'",
        role="scaler",
    ),
    Attack(
        "array that is absent",
        lambda data: with_schema(data, lambda of: attributes(of)["mean_"].update(file="/etc/passwd")),
        "no item named '/etc/passwd'",
        role="scaler",
    ),
    Attack("bomb of zeros", appended(EXTRA, bytes(100_000_000)), "it unpacks to more than a model does: 100"),
    Attack(
        "bomb of blanks",
        member("schema.json", lambda old: old + b" " * 100_000_000),
        "it unpacks to more than a model does: 100",
    ),
    Attack("size of all memory", central(24, b"\xfe\xff\xff\xff"), "it unpacks to more than a model does: 42949"),
    Attack("encrypted", central(8, b"\x01"), "encrypted"),
    Attack("unknown compression", central(10, b"\x63\x00"), "compression method is not supported"),
    Attack(
        "array of 800 GB",
        member("1.npy", lambda _: header("{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000,), }")),
        "buffer is too small for requested array",
    ),
    Attack(
        "array of 10**15 empty texts",
        member("1.npy", lambda _: header("{'descr': '|S0', 'fortran_order': False, 'shape': (1000000000000000,), }")),
        "Unable to allocate",
        role="scaler",
    ),
    # Schemas
    Attack("os.system", attribute("evil", node("TypeNode", "os", "system")), f"{FOREIGN} (os.system)"),
    Attack("posix.system", attribute("evil", node("FunctionNode", "posix", "system")), f"{FOREIGN} (posix.system)"),
    Attack("builtins.eval", attribute("evil", node("FunctionNode", "builtins", "eval")), f"{FOREIGN} (builtins.eval)"),
    Attack(
        "builtins.getattr", attribute("evil", node("TypeNode", "builtins", "getattr")), f"{FOREIGN} (builtins.getattr)"
    ),
    Attack(
        "call of a type",
        attribute(
            "evil", node("ConstructorFromReduceNode", "subprocess", "Popen", content=tupled(value(["touch", "ran"])))
        ),
        f"{FOREIGN} (subprocess.Popen)",
    ),
    Attack(
        "method",
        attribute(
            "evil", node("MethodNode", "builtins", "str", content={"func": "format", "obj": value("{0.__class__}")})
        ),
        f"{FOREIGN} (builtins.str)",
    ),
    Attack(
        "operator",
        attribute("evil", node("OperatorFuncNode", "operator", "attrgetter", attrs=tupled(value("__globals__")))),
        f"{FOREIGN} (operator.attrgetter)",
    ),
    Attack(
        "partial",
        attribute(
            "evil",
            node(
                "PartialNode",
                "functools",
                "partial",
                content={
                    "func": node("FunctionNode", "os", "system"),
                    "args": tupled(value("touch ran")),
                    "kwds": value({}),
                    "namespace": value(None),
                },
            ),
        ),
        f"{FOREIGN} (functools.partial, os.system)",
    ),
    Attack(
        "type of an old protocol",
        lambda data: with_schema(
            attribute("evil", node("FunctionNode", "os", "system"))(data), lambda of: of.update(protocol=0)
        ),
        f"{FOREIGN} (os.system)",
    ),
    Attack("unknown loader", attribute("evil", node("RanNode", "builtins", "str")), f"{FOREIGN} (builtins.str)"),
    Attack(
        "hidden in an array",
        attribute(
            "evil",
            node(
                "NdArrayNode",
                "numpy",
                "ndarray",
                type="json",
                shape=tupled(value(1)),
                content=[node("TypeNode", "os", "system")],
            ),
        ),
        f"{FOREIGN} (os.system)",
    ),
    Attack(
        "hidden in the types of keys",
        attribute(
            "evil",
            node(
                "DictNode",
                "builtins",
                "dict",
                content={"a": value(1)},
                key_types=listed(node("TypeNode", "os", "system")),
            ),
        ),
        f"{FOREIGN} (os.system)",
    ),
    Attack("function called as a generator", attribute("evil", GENERATOR), "numpy.random.seed"),
    Attack(
        "thousand types",
        attribute("evil", listed(*(node("TypeNode", "os", f"f{number}") for number in range(1000)))),
        f"{FOREIGN} (os.f0, os.f1, os.f10, os.f100, os.f101 and 995 more)",
    ),
    Attack(
        "protocol of the future", lambda data: with_schema(data, lambda of: of.update(protocol=99)), "skops protocol 99"
    ),
    Attack(
        "node without loader",
        attribute("evil", {"__class__": "str", "__module__": "builtins"}),
        f"{FOREIGN} (builtins.str)",
    ),
    Attack("node that is none", attribute("evil", {"content": 1}), "no skops artifact of this job"),
    Attack(
        "node of itself",
        attribute("evil", {**listed({"__id__": 10**9}), "__id__": 10**9}),
        "no skops artifact of this job",
    ),
    Attack(
        "reference to nothing",
        attribute("evil", node("CachedNode", "builtins", "str", __id__=987654321)),
        f"{FOREIGN} (builtins.str)",
    ),
    Attack(
        "hundred thousand levels",
        member("schema.json", lambda _: b'{"content":[' * 100_000 + b"]}" * 100_000),
        "recursion",
    ),
    Attack("list for a model", root(listed()), "it holds no estimator"),
    Attack("text for a model", root(value("trust me")), "it holds no estimator"),
    Attack("type for a model", root(node("TypeNode", "builtins", "int")), "it holds no estimator"),
    Attack("number for a schema", schema(5), "it holds no estimator"),
    # Roles
    Attack(
        "scaler for a model",
        lambda _: dump(fitted("scaler"), format="skops"),
        f"{NO_PAIR}the model is of type StandardScaler",
    ),
    Attack(
        "model for a scaler",
        lambda _: dump(fitted("logistic_regression"), format="skops"),
        f"{NO_PAIR}the scaler is of type LogisticRegression",
        role="scaler",
    ),
    Attack(
        "scaler of fewer features",
        fresh(StandardScaler(), width=18),
        f"{NO_PAIR}the model is of 19 features, the scaler of 18",
        role="scaler",
    ),
    Attack(
        "model of fewer features",
        fresh(LogisticRegression(), width=18),
        f"{NO_PAIR}the model is of 18 features, the scaler of 19",
    ),
    Attack("dummy for a model", fresh(DummyClassifier()), f"{NO_PAIR}the model is of type DummyClassifier"),
    Attack(
        "tree for a forest",
        fresh(DecisionTreeClassifier(max_depth=2)),
        f"{NO_PAIR}the model is of type DecisionTreeClassifier",
        estimator=FOREST,
    ),
    Attack("model of three classes", fresh(LogisticRegression(), classes=(0, 1, 2)), f"{NO_PAIR}the classes are"),
    Attack("model of other classes", fresh(LogisticRegression(), classes=(1, 2)), f"{NO_PAIR}the classes are"),
    Attack("classes turned round", array_attribute("classes_", np.array([1, 0])), f"{NO_PAIR}the classes are"),
    Attack(
        "NaN in a scaler",
        array_attribute("scale_", np.full(19, np.nan)),
        f"{NO_PAIR}they do not predict",
        role="scaler",
    ),
    Attack("text in a scaler", attribute("mean_", value("x")), f"{NO_PAIR}they do not predict", role="scaler"),
    Attack(
        "mean of other features", array_attribute("mean_", np.zeros(7)), f"{NO_PAIR}they do not predict", role="scaler"
    ),
    Attack("infinite coefficients", array_attribute("coef_", np.full((1, 19), np.inf)), NO_PAIR),
    Attack(
        "coefficients of other features", array_attribute("coef_", np.zeros((1, 7))), f"{NO_PAIR}they do not predict"
    ),
    Attack("features of no number", attribute("n_features_in_", value(float("nan"))), "the number of features is nan"),
    Attack(
        "features that are true", attribute("n_features_in_", value(content=True)), "the number of features is True"
    ),
    # Trees
    Attack("tree without nodes", tree(lambda one: one.update(content=value({}))), SIZES, estimator=FOREST),
    Attack("boosting without nodes", tree(lambda one: one.update(content=value({}))), SIZES, estimator=BOOSTING),
    Attack("fewer nodes than there are", tree_state(node_count=value(1)), SIZES, estimator=FOREST),
    Attack("negative nodes", tree_state(node_count=value(-1)), SIZES, estimator=FOREST),
    Attack(
        "depth that is a lie",
        tree_state(max_depth=value(0)),
        "a tree is deeper than the 0 levels that it says",
        estimator=FOREST,
    ),
    Attack(
        "negative depth",
        tree_state(max_depth=value(-9)),
        "a tree is deeper than the -9 levels that it says",
        estimator=FOREST,
    ),
    Attack("no outputs", tree_argument(2, value(0)), "Wrong shape for value array", estimator=FOREST),
    Attack(
        "no outputs and no values",
        lambda data: tree_array("values", lambda values: values[:, :0])(tree_argument(2, value(0))(data)),
        SIZES,
        estimator=BOOSTING,
    ),
    Attack("two outputs", tree_argument(2, value(2)), "index 1 is out of bounds", estimator=FOREST),
    Attack("outputs of all memory", tree_argument(2, value(2**40)), "could not allocate", estimator=FOREST),
    Attack("negative outputs", tree_argument(2, value(-5)), "could not allocate", estimator=FOREST),
    Attack(
        "negative features",
        tree_argument(0, value(-5)),
        "a tree splits on a feature outside the model's -5",
        estimator=FOREST,
    ),
    Attack(
        "nodes of other fields",
        tree_array("nodes", lambda nodes: np.zeros(len(nodes))),
        "no skops artifact of this job",
        estimator=FOREST,
    ),
    Attack(
        "nodes in two dimensions",
        tree_array("nodes", lambda nodes: nodes[:, None]),
        "Wrong dimensions for node array",
        estimator=FOREST,
    ),
    Attack(
        "child that does not exist",
        tree_array("nodes", where("left_child", 10**7)),
        "a tree's left child is outside the nodes",
        estimator=FOREST,
    ),
    Attack(
        "child that is its parent",
        tree_array("nodes", where("right_child", 0)),
        "a tree's right child is outside the nodes",
        estimator=FOREST,
    ),
    Attack(
        "feature that does not exist",
        tree_array("nodes", where("feature", 2**40)),
        "a tree splits on a feature outside the model's 19",
        estimator=FOREST,
    ),
    Attack(
        "NaN thresholds",
        tree_array("nodes", where("threshold", np.nan)),
        "a threshold or value that is no number",
        estimator=FOREST,
    ),
    Attack(
        "NaN values",
        tree_array("values", lambda values: values * np.nan),
        "a threshold or value that is no number",
        estimator=FOREST,
    ),
    Attack(
        "infinite values",
        tree_array("values", lambda values: values + np.inf),
        "a threshold or value that is no number",
        estimator=BOOSTING,
    ),
    Attack(
        "text for a tree",
        lambda data: with_schema(
            data, lambda of: attributes(part(of, "ObjectNode", "DecisionTreeRegressor")).update(tree_=value("x"))
        ),
        "they do not predict",
        estimator=BOOSTING,
    ),
    Attack("texts for a forest", attribute("estimators_", value(["x", "y"])), "they do not predict", estimator=FOREST),
    Attack("wide boosting", wide(3), "boosting adds 3 trees a stage to 1 scores", estimator=BOOSTING),
    Attack("boosting that starts from nothing", without_start, "no skops artifact of this job", estimator=BOOSTING),
    Attack(
        "boosting that starts from a text",
        attribute("init_", value("zero")),
        "boosting does not start as it does in this job",
        estimator=BOOSTING,
    ),
    Attack(
        "boosting in a row",
        attribute("estimators_", value([])),
        "boosting does not start as it does in this job",
        estimator=BOOSTING,
    ),
    Attack("histograms without nodes", predictor(lambda nodes: nodes[:0]), "a tree has no nodes", estimator=HISTOGRAMS),
    Attack(
        "histograms of other fields",
        predictor(lambda nodes: np.zeros(len(nodes))),
        "Cannot cast array data",
        estimator=HISTOGRAMS,
    ),
    Attack(
        "histograms that never end",
        predictor(where("left", 0)),
        "a tree's left child is outside the nodes",
        estimator=HISTOGRAMS,
    ),
    Attack(
        "histograms of other features",
        predictor(where("feature_idx", 2**40)),
        "a tree splits on a feature outside the model's 19",
        estimator=HISTOGRAMS,
    ),
    Attack(
        "histograms of NaN",
        predictor(where("value", np.nan)),
        "a threshold or value that is no number",
        estimator=HISTOGRAMS,
    ),
    Attack(
        "histograms of categories",
        predictor(where("is_categorical", 1)),
        "a tree splits on categories",
        estimator=HISTOGRAMS,
    ),
    Attack(
        "histograms without features",
        lambda data: with_schema(data, lambda of: attributes(of).pop("n_features_in_")),
        "a tree splits on a feature outside the model's 0",
        estimator=HISTOGRAMS,
    ),
)
"""In the order of what they attack."""


def artifact(role: Role, **changes: object) -> Callable[[dict[str, Any]], object]:
    """Change what the metadata says of an artifact."""

    def forge(metadata: dict[str, Any]) -> object:
        metadata["artefacts"][role] |= changes
        return metadata

    return forge


def digest(change: Callable[[str], object]) -> Callable[[dict[str, Any]], object]:
    return lambda metadata: artifact("model", sha256=change(metadata["artefacts"]["model"]["sha256"]))(metadata)


def field(**changes: object) -> Callable[[dict[str, Any]], object]:
    return lambda metadata: metadata | changes


NO_ALGORITHM: Final = "whose module defines no Algorithm of job.learning.algorithms"
NOT_COMMITTED: Final = "is not the model that was committed"
FUTURE: Final = "newer than the 1 that this release reads; upgrade"
OTHER: Final = "it was moved or altered"
BROKEN: Final = "is damaged ("

FORGERIES: Final = (
    Forgery("pickle", lambda _: payload(), BROKEN),
    Forgery("nothing", lambda _: b"", BROKEN),
    Forgery("no UTF-8", lambda _: b"\xff\xfe", BROKEN),
    Forgery("hundred thousand levels", lambda _: b"[" * 100_000, BROKEN),
    Forgery("number without end", lambda _: b'{"schema_version": ' + b"9" * 100_000 + b"}", BROKEN),
    Forgery("list", lambda _: [], BROKEN),
    Forgery("schema of the future", field(schema_version=2), FUTURE),
    Forgery("schema of the far future", field(schema_version=10**30), FUTURE),
    Forgery("schema in words", field(schema_version="1"), FUTURE),
    Forgery("true schema", field(schema_version=True), f"{BROKEN}its schema is True)"),
    Forgery("schema of a fraction", field(schema_version=1.0), f"{BROKEN}its schema is 1.0)"),
    Forgery("schema of the past", field(schema_version=0), f"{BROKEN}its schema is 0)"),
    Forgery("negative schema", field(schema_version=-1), f"{BROKEN}its schema is -1)"),
    Forgery("another symbol", lambda metadata: metadata | {"key": metadata["key"] | {"symbol": "../../x"}}, OTHER),
    Forgery("one key more", lambda metadata: metadata | {"key": metadata["key"] | {"path": "/etc"}}, OTHER),
    Forgery("key in a list", field(key=list(vars(KEY).values())), OTHER),
    Forgery("another version", field(version="x\n\x1b[2J" * 999), OTHER),
    Forgery("file that climbs", artifact("model", file="../../../../etc/passwd"), NOT_COMMITTED),
    Forgery("absolute file", artifact("model", file="/etc/passwd"), NOT_COMMITTED),
    Forgery("file of the scaler", artifact("model", file=f"{VERSION}_scaler.skops"), NOT_COMMITTED),
    Forgery("other size", artifact("model", bytes=1), NOT_COMMITTED),
    Forgery("size in words", artifact("model", bytes="1358"), NOT_COMMITTED),
    Forgery("digest in capitals", digest(str.upper), NOT_COMMITTED),
    Forgery("half a digest", digest(lambda text: text[:32]), NOT_COMMITTED),
    Forgery("longer digest", digest(lambda text: text * 2), NOT_COMMITTED),
    Forgery("digest of nothing", digest(lambda _: sha256().hexdigest()), NOT_COMMITTED),
    Forgery("no digest", digest(lambda _: None), NOT_COMMITTED),
    Forgery("list of digests", digest(lambda text: [text]), NOT_COMMITTED),
    Forgery("digest beside another", artifact("model", md5="0" * 32), NOT_COMMITTED),
    Forgery("algorithm of any module", field(algorithm={"path": "antigravity:fly", "source": "0" * 12}), NO_ALGORITHM),
    Forgery("algorithm in a parent folder", field(algorithm={"path": "../x:y"}), "which is no import path"),
    Forgery("algorithm of a megabyte", field(algorithm={"path": "x" * 1_000_000}), "which is no import path"),
    Forgery("no artifacts", field(artefacts=None), "unknown artifact format None"),
    Forgery("list of artifacts", field(artefacts=[1]), "unknown artifact format None"),
    Forgery(
        "format that climbs",
        lambda metadata: metadata | {"artefacts": metadata["artefacts"] | {"format": "../pkl"}},
        "unknown artifact format '../pkl'",
    ),
    Forgery(
        "format of a megabyte",
        lambda metadata: metadata | {"artefacts": metadata["artefacts"] | {"format": "x" * 1_000_000}},
        "unknown artifact format 'xxx",
    ),
    Forgery(
        "pickles that are absent",
        lambda metadata: metadata | {"artefacts": metadata["artefacts"] | {"format": "pkl"}},
        "is missing although its version is committed",
    ),
)
