"""What `skops.io.dumps` would write of a model, made without skops: importing that takes each worker seconds.

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


class UnknownTypeError(TypeError):
    """An object that only skops itself can describe."""


class Schema:
    """The nodes of one estimator, as text: of a forest's 5,000, most say the same, and are written once.

    Attributes:
        text: the node of the estimator, as JSON.
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
        self.types: set[tuple[str, str]] = set()
        self._files: dict[bytes, str] = {}
        self._texts: dict[int, str] = {}
        self._numbers: dict[int, int] = {}
        self._described: list[object] = []  # kept, so that nothing else takes the address that tells them apart
        self.text = f'{self._node(estimator)[:-1]},"protocol":{PROTOCOL},"_skops_version":{_quoted(release)}}}'

    @property
    def arrays(self) -> dict[str, bytes]:
        """The content of the .npy files by name, in the order of the nodes; equal arrays share one file."""
        return {name: data for data, name in self._files.items()}

    def _node(self, value: Any) -> str:
        """Return the node of an object, with its keys in the order of skops, numbered parents first."""
        if (known := self._texts.get(id(value))) is not None:
            return known
        self._described.append(value)
        number = self._numbers.setdefault(id(value), len(self._numbers) + 1)
        loader, contents = _loader_of(type(value))  # type: ignore[arg-type]
        named = value if loader == "TypeNode" else str if loader == "JsonNode" else type(value)
        self.types.add((loader, f"{named.__module__}.{named.__name__}"))
        parts = [f'"__loader__":"{loader}"', contents(self, value)]
        if contents is Schema._compiled:
            parts.reverse()
        elif contents is Schema._type:
            parts.pop()
        kind = f'"__class__":{_quoted(named.__name__)},"__module__":{_quoted(named.__module__)}'
        text = f'{{{kind},{",".join(parts)},"__id__":{number}}}'
        if loader in UNCHANGING:
            self._texts[id(value)] = text
        return text

    def _json(self, value: object) -> str:
        return f'"content":{json.dumps(json.dumps(value))},"is_json":true'

    def _type(self, _: type) -> str:
        return ""

    def _sequence(self, values: Iterable[object]) -> str:
        return f'"content":[{",".join([self._node(value) for value in values])}]'

    def _dict(self, values: dict[Any, object]) -> str:
        if not {type(key) for key in values} <= {str, int}:
            raise UnknownTypeError
        content = ",".join([f"{_quoted(str(key))}:{self._node(value)}" for key, value in values.items()])
        return f'"content":{{{content}}},"key_types":{self._node([type(key) for key in values])}'

    def _array(self, values: NDArray[Any]) -> str:
        if values.dtype == object:
            return f'{self._sequence(values.tolist())},"type":"json","shape":{self._node(values.shape)}'
        file = self._files.setdefault(npy_bytes(values), f"{len(self._files) + 1}.npy")
        return f'"type":"numpy","file":"{file}"'

    def _random_state(self, value: np.random.RandomState) -> str:
        return f'"content":{self._node(value.get_state(legacy=False))}'

    def _generator(self, value: np.random.Generator) -> str:
        bits: Any = value.bit_generator
        state, seed = self._node(bits.state), self._node(bits.seed_seq.state)
        return f'"content":{{"bit_generator":{state},"seed_seq":{seed}}}'

    def _compiled(self, value: Any) -> str:
        """Describe a compiled object by the call that makes it, and by its state."""
        kind, arguments, *state = value.__reduce__()
        if kind is not type(value):
            raise UnknownTypeError
        made = self._node(arguments)
        content = self._node(state[0] if state else value.__getstate__() or {})
        return f'"__reduce__":{{"args":{made}}},"content":{content}'

    def _object(self, value: Any) -> str:
        reduce: object = type(value).__reduce__
        if reduce is not object.__reduce__:  # skops calls it, to see whether it names the class
            raise UnknownTypeError
        return f'"content":{self._node(value.__getstate__())}'


_quoted: Final = cache(json.dumps)
"""A text as JSON."""
UNCHANGING: Final = {"JsonNode", "TypeNode"}
"""Loaders of what reads the same wherever it stands again."""

Contents = Callable[[Schema, Any], str]

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
