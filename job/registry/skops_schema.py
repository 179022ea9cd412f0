"""What `skops.io.dumps` would write of a model, made without skops: importing that takes each worker half a second.

skops describes an object by nodes of JSON, which say what it is and what it contains, and puts arrays beside them as
.npy files. Only what the models of this release are made of is known here, and only the nodes of one release of skops.
A test compares the bytes with those that skops makes.
"""

import io
import json
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from job.core.environment import installed

RELEASE: Final = "0.16."
PROTOCOL: Final = 2
"""The release of skops whose nodes these are, and the number that it gives to its format."""

Node = dict[str, Any]


class UnknownTypeError(TypeError):
    """An object that only skops itself can describe."""


class Schema:
    """The nodes of one estimator.

    Attributes:
        root: the node of the estimator, ready for JSON.
        arrays: the content of the .npy files by name: `1.npy`, `2.npy`, … in the order of the nodes.
        types: (loader, type) of all nodes.
    """

    def __init__(self, estimator: object) -> None:
        """Describe `estimator`.

        Raises:
            UnknownTypeError: it contains something that is not known here, or another release of skops is installed.
        """
        release = installed("skops")
        if release is None or not release.startswith(RELEASE):
            raise UnknownTypeError
        self.arrays: dict[str, bytes] = {}
        self.types: set[tuple[str, str]] = set()
        self._numbers: dict[int, int] = {}
        self._files: dict[int, str] = {}
        self._described: list[object] = []  # kept, so that nothing else takes the address that tells them apart
        self.root = {**self._node(estimator), "protocol": PROTOCOL, "_skops_version": release}

    def _node(self, value: Any) -> Node:
        """Return the node of an object, with its keys in the order of skops, numbered parents first."""
        self._described.append(value)
        number = self._numbers.setdefault(id(value), len(self._numbers) + 1)
        loader, contents = _loader_of(type(value))  # type: ignore[arg-type]
        named = value if loader == "TypeNode" else str if loader == "JsonNode" else type(value)
        self.types.add((loader, f"{named.__module__}.{named.__name__}"))
        node = {"__class__": named.__name__, "__module__": named.__module__, "__loader__": loader}
        node |= contents(self, value)
        if "__reduce__" in node:
            node["__loader__"] = node.pop("__loader__")  # moves it to the end
        return {**node, "__id__": number}

    def _json(self, value: object) -> Node:
        return {"content": json.dumps(value), "is_json": True}

    def _type(self, _: type) -> Node:
        return {}

    def _sequence(self, values: Iterable[object]) -> Node:
        return {"content": [self._node(value) for value in values]}

    def _dict(self, values: dict[Any, object]) -> Node:
        if not {type(key) for key in values} <= {str, int}:
            raise UnknownTypeError
        content = {str(key): self._node(value) for key, value in values.items()}
        return {"content": content, "key_types": self._node([type(key) for key in values])}

    def _array(self, values: NDArray[Any]) -> Node:
        if values.dtype == object:
            return {**self._sequence(values.tolist()), "type": "json", "shape": self._node(values.shape)}
        file = self._files.setdefault(id(values), f"{len(self._files) + 1}.npy")
        if file not in self.arrays:
            self.arrays[file] = npy_bytes(values)
        return {"type": "numpy", "file": file}

    def _random_state(self, value: np.random.RandomState) -> Node:
        return {"content": self._node(value.get_state(legacy=False))}

    def _generator(self, value: np.random.Generator) -> Node:
        bits: Any = value.bit_generator
        return {"content": {"bit_generator": self._node(bits.state), "seed_seq": self._node(bits.seed_seq.state)}}

    def _compiled(self, value: Any) -> Node:
        """Describe a compiled object by the call that makes it, and by its state."""
        kind, arguments, *state = value.__reduce__()
        if kind is not type(value):
            raise UnknownTypeError
        made = {"args": self._node(arguments)}
        return {"__reduce__": made, "content": self._node(state[0] if state else value.__getstate__() or {})}

    def _object(self, value: Any) -> Node:
        if value.__reduce__()[0] is type(value):
            raise UnknownTypeError
        return {"content": self._node(value.__getstate__())}


Contents = Callable[[Schema, Any], Node]

LOADERS: Final[dict[type, tuple[str, Contents]]] = {
    **dict.fromkeys((str, int, float, bool, type(None)), ("JsonNode", Schema._json)),
    type: ("TypeNode", Schema._type),
    dict: ("DictNode", Schema._dict),
    list: ("ListNode", Schema._sequence),
    tuple: ("TupleNode", Schema._sequence),
    np.ndarray: ("NdArrayNode", Schema._array),
    np.random.RandomState: ("RandomStateNode", Schema._random_state),
    np.random.Generator: ("RandomGeneratorNode", Schema._generator),
}
COMPILED: Final = {"sklearn.tree._tree": "TreeNode", "sklearn._loss._loss": "LossNode"}


@cache
def _loader_of(kind: type) -> tuple[str, Contents]:
    """Return the loader of objects of exactly this type, and what describes their contents."""
    if kind in LOADERS:
        return LOADERS[kind]
    if issubclass(kind, np.generic):
        return "NdArrayNode", Schema._array
    if kind.__module__ in COMPILED:
        return COMPILED[kind.__module__], Schema._compiled
    if {base.__module__.partition(".")[0] for base in kind.__mro__[:-1]} <= {"sklearn", "abc"}:
        return "ObjectNode", Schema._object
    raise UnknownTypeError


def npy_bytes(values: NDArray[Any]) -> bytes:
    """Return an array, or a scalar of NumPy, as `numpy.save` writes it, the bytes between fields set to zero."""
    values = np.asanyarray(values)
    if values.dtype.names:
        clean = np.zeros(values.shape, values.dtype)
        for name in values.dtype.names:
            clean[name] = values[name]
        values = clean
    by_column = values.flags.f_contiguous and not values.flags.c_contiguous
    return _header(values.dtype, values.shape, by_column=by_column) + values.tobytes("F" if by_column else "C")


@cache
def _header(dtype: np.dtype[Any], shape: tuple[int, ...], *, by_column: bool) -> bytes:
    """Return the header of a .npy file: NumPy takes longer to write one than most arrays are long."""
    buffer = io.BytesIO()
    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": by_column, "shape": shape}
    npy.write_array_header_1_0(buffer, header)
    return buffer.getvalue()
