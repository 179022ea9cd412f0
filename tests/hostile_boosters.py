"""Hostile artifacts of LightGBM and XGBoost as values in tables; each is put in the place of an honest model."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from job.learning.boosters import ubj
from job.learning.estimators import ALGORITHMS
from job.registry.artifacts import dump
from tests.hostile import attempt, payload
from tests.registries import fitted, samples

Change = Callable[[bytes], bytes]
Document = dict[str, Any]


@dataclass(frozen=True)
class NativeAttack:
    """What takes a model's place: `change` makes it of the artifact's bytes; `says` is what refuses it."""

    name: str
    change: Change
    says: str


@dataclass(frozen=True)
class NativeAnswer:
    """What became of a load: the error, None if there was none, how many models the library was given, and CPU time."""

    error: str | None
    heard: list[str]
    native: int
    predictions: bytes
    seconds: float


def warm_up() -> None:
    """Do once what is done once, so that a time limit is one of loading."""
    for name in ("lightgbm", "xgboost"):
        fitted(name).predict_proba(samples()[0][:200])


def attempt_native(url: str) -> NativeAnswer:
    """Load the latest version of a registry, and count what the native libraries are given to load."""
    libraries: list[Any] = [import_module("lightgbm"), import_module("xgboost")]
    given: list[object] = []
    originals = {module: module.Booster for module in libraries}
    for module, original in originals.items():

        def spy(*arguments: Any, original: Any = original, **named: Any) -> Any:
            given.append(named)
            return original(*arguments, **named)

        module.Booster = spy
    started = time.process_time()
    try:
        answer = attempt(url)
    finally:
        for module, original in originals.items():
            module.Booster = original
    seconds = time.process_time() - started
    return NativeAnswer(answer.error, answer.heard, len(given), answer.predictions, seconds)


def honest(name: str, *, width: int) -> Change:
    """Put an honest model of fewer features in the artifact's place."""

    def change(_: bytes) -> bytes:
        features, labels = samples()
        model: Any = ALGORITHMS[name].estimator()
        return dump(model.fit(features[:, :width], labels), format=name)

    return change


def text(change: Callable[[str], str]) -> Change:
    """Change the text of a model, and say its trees' sizes as they then are."""
    return lambda data: resized(change(data.decode())).encode()


def resized(content: str) -> str:
    """Return a text with the sizes of its trees, as an attacker would write it."""
    head, *blocks = re.split(r"(?=^Tree=)", content.replace("end of trees\n", ""), flags=re.MULTILINE)
    sizes = " ".join(str(len(block)) for block in blocks)
    return re.sub(r"^tree_sizes=.*$", f"tree_sizes={sizes}", head, flags=re.MULTILINE) + "".join(blocks) + END


def line(name: str, value: str | Callable[[list[str]], list[str]]) -> Change:
    """Set the first field of a name, or change the list of its values."""

    def changed(found: re.Match[str]) -> str:
        return f"{name}={value if isinstance(value, str) else ' '.join(value(found[1].split(' ')))}"

    return text(lambda content: re.sub(rf"^{name}=(.*)$", changed, content, count=1, flags=re.MULTILINE))


def entry(name: str, number: int, value: str) -> Change:
    """Set one of the values of the first field of a name."""
    return line(name, lambda values: [*values[:number], value, *values[number + 1 :]])


def raw(old: str, new: str) -> Change:
    """Replace the first of some text, and leave the sizes."""
    return lambda data: data.replace(old.encode(), new.encode(), 1)


def both(*changes: Change) -> Change:
    def change(data: bytes) -> bytes:
        for one in changes:
            data = one(data)
        return data

    return change


END: Final = "end of trees\n"
CHILDREN: Final = "the children of a tree's nodes are not each of its nodes once"
ORDER: Final = "a child of a tree's node does not come after its parent"
OUTSIDE: Final = "a tree splits on a feature outside the model's 19"
NO_TEXT: Final = "it is no text of a binary model as LightGBM writes it"
NO_FEATURES: Final = "its features are not described as LightGBM does"
NO_NUMBERS: Final = "is missing, or holds no such numbers as LightGBM writes"
LEAVES: Final = "a tree's fields are not of its number of leaves"
KINDS: Final = "a tree splits on categories or missing values"
CHAIN: Final = 5_000
DEEP: Final = f"a tree has {CHAIN + 1} leaves, expected 1 to 1000"
"""Of a tree so deep, which native code could go down by recursion, that many more levels end a process."""
ROWS: Final = "the rows of a tree's nodes are not those of their children"


def _chains(content: str) -> tuple[str, str]:
    """Return the first tree of a text, and one in its place of which each node has a leaf at its left."""
    levels = range(CHAIN)
    values = {
        "num_leaves": [CHAIN + 1],
        "left_child": [-1 - level for level in levels],
        "right_child": [*(level + 1 for level in levels[:-1]), -1 - CHAIN],
    }
    tree = content[content.index("Tree=0") : content.index("Tree=1")]
    deep = tree
    for name, old in re.findall(
        r"^((?:split|decision|internal|leaf|left|right|num_leaves|threshold).*)=(.*)$", tree, re.MULTILINE
    ):
        zeros = ["0"] * (CHAIN + name.startswith("leaf"))
        deep = deep.replace(f"{name}={old}\n", f"{name}={' '.join(map(str, values.get(name, zeros)))}\n")
    return tree, deep


LIGHTGBM: Final = (
    NativeAttack("nothing", lambda _: b"", NO_FEATURES),
    NativeAttack("a pickle", payload, "can't decode byte"),
    NativeAttack("a skops archive", lambda _: dump(fitted("scaler"), format="skops"), "can't decode byte"),
    NativeAttack("a model of XGBoost", lambda _: dump(fitted("xgboost"), format="xgboost"), "can't decode byte"),
    NativeAttack("half a text", lambda data: data[: len(data) // 2], "is missing"),
    NativeAttack("the last line is cut", lambda data: data[: -len(END) - 5], NO_NUMBERS),
    NativeAttack("no end", lambda data: data[: -len(END)], NO_TEXT),
    NativeAttack("a header alone", lambda data: data[: data.index(b"\nTree=")], NO_TEXT),
    NativeAttack("no trees", lambda data: data[: data.index(b"Tree=0")] + END.encode(), NO_TEXT),
    NativeAttack(
        "parameters behind", lambda data: data + b"\nparameters:\n[num_threads: 9999]\nend of parameters\n", NO_TEXT
    ),
    NativeAttack("categories behind", lambda data: data + b'\npandas_categorical:[["a"]]\n', NO_TEXT),
    NativeAttack("a line before", lambda data: b"average_output\n" + data, NO_TEXT),
    NativeAttack("a line of an average", raw("num_class=1\n", "num_class=1\naverage_output\n"), NO_TEXT),
    NativeAttack("ends of lines of Windows", lambda data: data.replace(b"\n", b"\r\n"), NO_FEATURES),
    NativeAttack("a zero byte", raw("Column_3", "Column\0"), NO_TEXT),
    NativeAttack("letters of no code", raw("Column_3", "Sp\u00e4lte_3"), "can't decode byte"),
    NativeAttack("a cycle", entry("left_child", 0, "0"), CHILDREN),
    NativeAttack("a cycle of two", entry("left_child", 1, "0"), CHILDREN),
    NativeAttack("a child outside", entry("left_child", 0, "99"), CHILDREN),
    NativeAttack("a child far outside", entry("right_child", 0, "999999999"), CHILDREN),
    NativeAttack("a child beyond 32 bits", entry("right_child", 0, "99999999999"), NO_NUMBERS),
    NativeAttack("a leaf outside", entry("right_child", 2, "-99"), CHILDREN),
    NativeAttack("a leaf twice", line("left_child", lambda values: [*values[:2], values[1]]), CHILDREN),
    NativeAttack(
        "a child before its parent", both(line("left_child", "2 -1 1"), line("right_child", "-3 -2 -4")), ORDER
    ),
    NativeAttack("a feature outside", entry("split_feature", 0, "19"), OUTSIDE),
    NativeAttack("a feature far outside", entry("split_feature", 1, "214748364"), OUTSIDE),
    NativeAttack("a negative feature", entry("split_feature", 0, "-1"), OUTSIDE),
    NativeAttack("a threshold that is no number", entry("threshold", 0, "nan"), NO_NUMBERS),
    NativeAttack("an infinite threshold", entry("threshold", 0, "inf"), NO_NUMBERS),
    NativeAttack("a leaf that is no number", entry("leaf_value", 0, "nan"), NO_NUMBERS),
    NativeAttack("a leaf beyond all numbers", entry("leaf_value", 0, "1e+999"), "its leaf_value is beyond all numbers"),
    NativeAttack("a leaf of sixteens", entry("leaf_value", 0, "0x1p3"), NO_NUMBERS),
    NativeAttack("a leaf that is text", entry("leaf_value", 0, "__import__('os')"), NO_NUMBERS),
    NativeAttack("a split on categories", entry("decision_type", 0, "1"), KINDS),
    NativeAttack("a split on missing values", entry("decision_type", 0, "10"), KINDS),
    NativeAttack("a kind of split beyond a byte", entry("decision_type", 0, "258"), KINDS),
    NativeAttack(
        "bounds of categories",
        text(lambda content: content.replace("num_cat=0", "num_cat=1\ncat_boundaries=0 9\ncat_threshold=1", 1)),
        NO_TEXT,
    ),
    NativeAttack("a number of categories", line("num_cat", "7"), NO_TEXT),
    NativeAttack("linear leaves", line("is_linear", "1\nleaf_const=1 1 1 1\nnum_features=9 9 9 9"), NO_TEXT),
    NativeAttack("more leaves than values", line("num_leaves", "5"), NO_TEXT),
    NativeAttack("leaves of all memory", line("num_leaves", "2000000000"), NO_TEXT),
    NativeAttack("fewer leaves than none", line("num_leaves", "-1"), NO_TEXT),
    NativeAttack("thresholds too few", line("threshold", lambda values: values[:-1]), LEAVES),
    NativeAttack("values too many", line("leaf_value", lambda values: [*values, "0"]), LEAVES),
    NativeAttack(
        "a million values",
        line("leaf_value", lambda _: ["0"] * 1_000_000),
        "a tree has 1000000 leaves, expected 1 to 1000",
    ),
    NativeAttack("no children", line("left_child", ""), LEAVES),
    NativeAttack(
        "no field of children", text(lambda content: re.sub(r"left_child=.*\n", NO_NUMBERS, content, count=1)), ""
    ),
    NativeAttack(
        "a field twice", text(lambda content: content.replace("num_cat=0", "num_cat=0\nnum_cat=0", 1)), NO_TEXT
    ),
    NativeAttack("more features", line("max_feature_idx", "99"), NO_FEATURES),
    NativeAttack("one feature", line("max_feature_idx", "0"), NO_FEATURES),
    NativeAttack("features without end", line("max_feature_idx", "999999999"), NO_FEATURES),
    NativeAttack("features below none", line("max_feature_idx", "-1"), NO_FEATURES),
    NativeAttack("ranges that are text", line("feature_infos", lambda values: ["a:b", *values[1:]]), NO_FEATURES),
    NativeAttack("three classes", line("num_class", "3"), NO_TEXT),
    NativeAttack("three trees at a time", line("num_tree_per_iteration", "3"), NO_TEXT),
    NativeAttack("many classes", line("objective", "multiclass num_class:3"), NO_TEXT),
    NativeAttack("a slope of its own", line("objective", "binary sigmoid:-1"), NO_TEXT),
    NativeAttack("an unknown objective", line("objective", "x" * 10_000), NO_TEXT),
    NativeAttack("another version", line("version", "v3"), NO_TEXT),
    NativeAttack("a constraint", line("label_index", "0\nmonotone_constraints=1"), NO_TEXT),
    NativeAttack("sizes too great", raw("tree_sizes=", "tree_sizes=9"), NO_TEXT),
    NativeAttack("negative sizes", raw("tree_sizes=", "tree_sizes=-"), NO_TEXT),
    NativeAttack("no sizes", lambda data: re.sub(rb"tree_sizes=.*\n", b"", data), NO_TEXT),
    NativeAttack("a tree twice", raw("Tree=1\n", "Tree=0\n"), NO_TEXT),
    NativeAttack("a tree of no number", raw("Tree=1\n", "Tree=-1\n"), NO_TEXT),
    NativeAttack("rows that do not add up", entry("leaf_count", 0, "1"), ROWS),
    NativeAttack("rows below none", entry("internal_count", 0, "-5"), ROWS),
    NativeAttack("a chain of nodes without end", text(lambda content: content.replace(*_chains(content))), DEEP),
    NativeAttack("shrunk by no number", line("shrinkage", "nan"), NO_NUMBERS),
    NativeAttack("fewer features", honest("lightgbm", width=18), "the model is of 18 features, the scaler of 19"),
)


def document(change: Callable[[Document], object]) -> Change:
    """Change what a model's UBJ says."""

    def changed(data: bytes) -> bytes:
        found = ubj.read(data)
        change(found)
        return ubj.write(found)

    return changed


def learner(*path: str, value: Any) -> Change:
    """Set a value below `learner`."""

    def change(found: Document) -> None:
        place = found["learner"]
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value

    return document(change)


def trees(change: Callable[[list[Document]], object]) -> Change:
    return document(lambda found: change(found["learner"]["gradient_booster"]["model"]["trees"]))


def first(name: str, value: Any) -> Change:
    """Set a field of the first tree."""
    return trees(lambda found: found[0].update({name: value}))


def node(name: str, number: int, value: float) -> Change:
    """Set one value of an array of the first tree."""

    def change(found: list[Document]) -> None:
        array: NDArray[Any] = found[0][name].copy()
        array[number] = value
        found[0][name] = array

    return trees(change)


def shape(**value: str) -> Change:
    return trees(lambda found: found[0]["tree_param"].update(value))


MODEL: Final = ("gradient_booster", "model")
LONG: Final = b"L" + (2**62).to_bytes(8, "big")
NEGATIVE: Final = b"L" + b"\xff" * 8
NO_UBJ: Final = "it is no binary model as XGBoost writes it"
EARLY: Final = "it ends too early"
LIST: Final = "values, more than a model of so many bytes"
LACKS: Final = "it lacks what XGBoost writes of a model of trees"
SIZE: Final = "are not one per node"
NUMBERS: Final = "a tree holds a threshold, value or weight that is no number"
PARENTS: Final = "the parents of a tree's nodes are not those whose children they are"
NO_START: Final = "which is no probability"
KEY: Final = b"L\x00\x00\x00\x00\x00\x00\x00\x07learner"

XGBOOST: Final = (
    NativeAttack("nothing", lambda _: b"", EARLY),
    NativeAttack("a pickle", payload, "a value begins with b'\\x80'"),
    NativeAttack("a skops archive", lambda _: dump(fitted("scaler"), format="skops"), "a value begins with b'P'"),
    NativeAttack(
        "a model of LightGBM", lambda _: dump(fitted("lightgbm"), format="lightgbm"), "a value begins with b't'"
    ),
    NativeAttack("JSON", lambda _: json.dumps({"learner": {}}).encode(), "a length is not written as XGBoost does"),
    NativeAttack("an old binary", lambda data: b"binf" + data, "a value begins with b'b'"),
    NativeAttack("half a model", lambda data: data[: len(data) // 2], EARLY),
    NativeAttack("a byte less", lambda data: data[:-1], EARLY),
    NativeAttack("a byte more", lambda data: data + b"N", "there is something behind the model"),
    NativeAttack(
        "nested without end", lambda _: b"[#L\0\0\0\0\0\0\0\1" * 100_000, "it is nested deeper than a model is"
    ),
    NativeAttack("a text of all memory", lambda data: data.replace(KEY, LONG + b"learner", 1), EARLY),
    NativeAttack("a text of negative length", lambda data: data.replace(KEY, NEGATIVE + b"learner", 1), EARLY),
    NativeAttack("an array of all memory", lambda _: b"[$d#" + LONG, EARLY),
    NativeAttack("a list of all memory", lambda _: b"[#" + LONG, LIST),
    NativeAttack("a list of millions", lambda _: b"[#L" + (8_000_000).to_bytes(8, "big") + b"i\x01" * 8_000_000, LIST),
    NativeAttack("an array of nothing", lambda _: b"[$Z#" + LONG, "an array is of b'Z', which no model holds"),
    NativeAttack("a name twice", lambda data: b"{" + KEY + b"i\x01" + data[1:], "it holds 'learner' twice"),
    NativeAttack("a name of no code", lambda data: data.replace(b"learner", b"learn\xc3r", 1), "can't decode byte"),
    NativeAttack("a number alone", lambda _: b"i\x01", LACKS),
    NativeAttack("no learner", document(lambda found: found.pop("learner")), LACKS),
    NativeAttack("a learner that is text", document(lambda found: found.update(learner="x")), LACKS),
    NativeAttack("trees that are text", learner(*MODEL, "trees", value="tree"), LACKS),
    NativeAttack("a field more", learner("evil", value="x"), NO_UBJ),
    NativeAttack("a field less", document(lambda found: found["learner"].pop("attributes")), NO_UBJ),
    NativeAttack("attributes", learner("attributes", value={"best_iteration": "99999999"}), NO_UBJ),
    NativeAttack("names of features", learner("feature_names", value=["a"] * 19), NO_UBJ),
    NativeAttack("a cycle", node("left_children", 0, 0), CHILDREN),
    NativeAttack("a cycle of two", node("left_children", 1, 0), CHILDREN),
    NativeAttack("a child outside", node("left_children", 0, 99), CHILDREN),
    NativeAttack("a child far outside", node("right_children", 0, 2**31 - 1), CHILDREN),
    NativeAttack("a negative child", node("left_children", 0, -2), CHILDREN),
    NativeAttack("one child", node("left_children", 0, -1), "a node of a tree has one child"),
    NativeAttack("a node of two parents", node("left_children", 0, 2), CHILDREN),
    NativeAttack(
        "a child before its parent",
        both(
            first("left_children", np.array([1, -1, -1, 4, 2, -1, -1], ">i4")),
            first("right_children", np.array([3, -1, -1, 5, 6, -1, -1], ">i4")),
        ),
        ORDER,
    ),
    NativeAttack(
        "nodes that nothing leads to", both(node("left_children", 1, -1), node("right_children", 1, -1)), CHILDREN
    ),
    NativeAttack("another parent", node("parents", 3, 0), PARENTS),
    NativeAttack("a root with a parent", node("parents", 0, 0), PARENTS),
    NativeAttack("a feature outside", node("split_indices", 0, 19), OUTSIDE),
    NativeAttack("a feature far outside", node("split_indices", 1, 2**31 - 1), OUTSIDE),
    NativeAttack("a negative feature", node("split_indices", 0, -1), OUTSIDE),
    NativeAttack("a threshold that is no number", node("split_conditions", 0, np.nan), NUMBERS),
    NativeAttack("an infinite leaf", node("split_conditions", 6, np.inf), NUMBERS),
    NativeAttack("a weight that is no number", node("base_weights", 0, np.nan), NUMBERS),
    NativeAttack("rows below none", node("sum_hessian", 0, -1), NUMBERS),
    NativeAttack("neither left nor right", node("default_left", 0, 2), "sends missing values neither left nor right"),
    NativeAttack("a split on categories", first("split_type", np.array([1, 0, 0, 0, 0, 0, 0], ">u1")), NO_UBJ),
    NativeAttack("categories", first("categories", np.array([5, 2**30], ">i4")), NO_UBJ),
    NativeAttack("categories of nodes", first("categories_nodes", np.array([0], ">i4")), NO_UBJ),
    NativeAttack("segments of categories", first("categories_segments", np.array([2**40], ">i8")), NO_UBJ),
    NativeAttack("codes of categories", learner(*MODEL, "cats", "enc", value=[{"offsets": "x"}]), NO_UBJ),
    NativeAttack("more nodes than there are", shape(num_nodes="99"), NO_UBJ),
    NativeAttack("nodes of all memory", shape(num_nodes="2000000000"), NO_UBJ),
    NativeAttack("nodes below none", shape(num_nodes="-1"), NO_UBJ),
    NativeAttack("deleted nodes", shape(num_deleted="3"), NO_UBJ),
    NativeAttack("other features in a tree", shape(num_feature="99"), NO_UBJ),
    NativeAttack("leaves of many values", shape(size_leaf_vector="3"), NO_UBJ),
    NativeAttack("an array too short", first("split_indices", np.zeros(3, ">i4")), SIZE),
    NativeAttack("an array too long", first("split_conditions", np.zeros(99, ">f4")), SIZE),
    NativeAttack("an array of other numbers", first("split_indices", np.zeros(7, ">i8")), SIZE),
    NativeAttack("a list for an array", first("left_children", [1, 3, 5, -1, -1, -1, -1]), SIZE),
    NativeAttack("a number for an array", first("left_children", 7), "no len()"),
    NativeAttack("a tree of no nodes", trees(lambda found: found[0].update(_empty(found[0]))), SIZE),
    NativeAttack("a chain of nodes without end", trees(lambda found: found[0].update(_chain(found[0]))), DEEP),
    NativeAttack("no trees", learner(*MODEL, "trees", value=[]), NO_UBJ),
    NativeAttack("a tree less", trees(lambda found: found.pop()), NO_UBJ),
    NativeAttack("trees in another order", trees(lambda found: found.reverse()), NO_UBJ),
    NativeAttack("more trees than there are", learner(*MODEL, "gbtree_model_param", "num_trees", value="99"), NO_UBJ),
    NativeAttack("a forest a round", learner(*MODEL, "gbtree_model_param", "num_parallel_tree", value="10"), NO_UBJ),
    NativeAttack("rounds that end elsewhere", learner(*MODEL, "iteration_indptr", value=[0, 99]), NO_UBJ),
    NativeAttack("trees of another class", learner(*MODEL, "tree_info", value=[9] * 10), NO_UBJ),
    NativeAttack("dropped trees", learner("gradient_booster", "name", value="dart"), NO_UBJ),
    NativeAttack("no trees but weights", learner("gradient_booster", "name", value="gblinear"), NO_UBJ),
    NativeAttack("three classes", learner("learner_model_param", "num_class", value="3"), NO_UBJ),
    NativeAttack("two targets", learner("learner_model_param", "num_target", value="2"), NO_UBJ),
    NativeAttack("many classes", learner("objective", "name", value="multi:softprob"), NO_UBJ),
    NativeAttack("an unknown objective", learner("objective", "name", value="x" * 10_000), NO_UBJ),
    NativeAttack(
        "no features", learner("learner_model_param", "num_feature", value="0"), "the number of features is '0'"
    ),
    NativeAttack(
        "features of a billion", learner("learner_model_param", "num_feature", value="9" * 10), "number of feat"
    ),
    NativeAttack(
        "a number of features", learner("learner_model_param", "num_feature", value=19), "the number of features"
    ),
    NativeAttack("more features", learner("learner_model_param", "num_feature", value="99"), NO_UBJ),
    NativeAttack("a start above 1", learner("learner_model_param", "base_score", value="[2E0]"), NO_START),
    NativeAttack("a start of no number", learner("learner_model_param", "base_score", value="[nan]"), NO_START),
    NativeAttack("two starts", learner("learner_model_param", "base_score", value="[5E-1,5E-1]"), NO_START),
    NativeAttack(
        "a version that is text", document(lambda found: found.update(version=["3", "2", "0"])), "which release"
    ),
    NativeAttack("a later version", document(lambda found: found.update(version=[999, 0, 0])), "which release"),
    NativeAttack("fewer features", honest("xgboost", width=18), "the model is of 18 features, the scaler of 19"),
)


def _empty(tree: Document) -> Document:
    return {name: value[:0] for name, value in tree.items() if isinstance(value, np.ndarray)}


def _chain(tree: Document) -> Document:
    """Return the arrays of a tree of which each inner node has a leaf at its left."""
    nodes = 2 * CHAIN + 1
    inner = np.arange(CHAIN) * 2  # node 0, and from there on each second child
    left, right, parents = (np.full(nodes, value, ">i4") for value in (-1, -1, 2**31 - 1))
    left[inner], right[inner] = inner + 1, inner + 2
    parents[inner + 1] = parents[inner + 2] = inner
    arrays = {
        name: np.zeros(nodes, value.dtype)
        for name, value in tree.items()
        if isinstance(value, np.ndarray) and value.size
    }
    links = {"left_children": left, "right_children": right, "parents": parents}
    return arrays | links | {"tree_param": tree["tree_param"] | {"num_nodes": str(nodes)}}


NATIVE_ATTACKS: Final = {"lightgbm": LIGHTGBM, "xgboost": XGBOOST}
