"""What `skops.io.loads` would build of a model, built without skops: importing that takes each worker seconds.

skops imports all of scikit-learn, and PyTorch where it is installed, to know what it may trust; here every type was
looked up among the allowed ones before. Only the nodes that `skops_schema` writes are known here. A test compares
what is built with what skops builds.
"""

import io
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from pkgutil import resolve_name
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

Node = Mapping[str, Any]

NPY_1: Final = b"\x93NUMPY\x01\x00"
HEADER_AT: Final = 10
"""Where the header of a .npy file of version 1 begins, behind its own length of two bytes."""
BIT_GENERATORS: Final[Mapping[str, Callable[..., np.random.BitGenerator]]] = {
    kind.__name__: kind
    for kind in (np.random.MT19937, np.random.PCG64, np.random.PCG64DXSM, np.random.Philox, np.random.SFC64)
}


class Objects:
    """The objects of one schema, each built once: nodes of one number are one object."""

    def __init__(self, read: Callable[[str], bytes]) -> None:
        """Build of files that `read` returns by name."""
        self._read = read
        self._built: dict[int, Any] = {}

    def build(self, node: Node) -> Any:
        """Return the object of a node, whose type and those of all nodes in it are allowed.

        Raises:
            Exception: of any kind where the node is none that `dump` writes.
        """
        number, builder = node.get("__id__"), BUILDERS[node["__loader__"]]
        if number is None:
            return builder(self, node)
        if number not in self._built:
            self._built[number] = builder(self, node)
        return self._built[number]

    def _json(self, node: Node) -> Any:
        return json.loads(node["content"])

    def _type(self, node: Node) -> Any:
        return resolve_name(f"{node['__module__']}:{node['__class__']}")

    def _list(self, node: Node) -> list[Any]:
        return [self.build(one) for one in node["content"]]

    def _tuple(self, node: Node) -> tuple[Any, ...]:
        return tuple(self._list(node))

    def _dict(self, node: Node) -> dict[Any, Any]:
        kinds = self.build(node["key_types"])
        return {kind(key): self.build(one) for kind, (key, one) in zip(kinds, node["content"].items(), strict=False)}

    def _array(self, node: Node) -> Any:
        if node["type"] == "numpy":
            array = _array_of(self._read(node["file"]))
            kind = self._type(node)
            return array if kind is np.ndarray else kind(array)
        items = self._list(node)
        if len(self.build(node["shape"])) > 1:
            return np.array(items, dtype=object)
        row = np.empty(len(items), dtype=object)
        row[:] = items
        return row

    def _random_state(self, node: Node) -> np.random.RandomState:
        random = np.random.RandomState()
        random.set_state(self.build(node["content"]))
        return random

    def _generator(self, node: Node) -> np.random.Generator:
        bits, seed = (self.build(node["content"][name]) for name in ("bit_generator", "seed_seq"))
        if (name := bits["bit_generator"]) not in BIT_GENERATORS:
            raise ValueError(f"numpy.random.{name:.40} generates no random bits")
        made: Any = BIT_GENERATORS[name](np.random.SeedSequence(**seed))
        made.state = bits
        return np.random.Generator(made)

    def _compiled(self, node: Node) -> Any:
        """Build what is made by a call with arguments, and has its state afterwards."""
        made = self._type(node)(*self.build(node["__reduce__"]["args"]))
        if state := self.build(node["content"]):
            made.__setstate__(state)
        return made

    def _object(self, node: Node) -> Any:
        kind = self._type(node)
        made = kind.__new__(kind)
        if (state := self.build(node["content"])) is not None:
            if hasattr(made, "__setstate__"):
                made.__setstate__(state)
            else:
                vars(made).update(state)
        return made


BUILDERS: Final[Mapping[str, Callable[[Objects, Node], Any]]] = {
    "JsonNode": Objects._json,
    "TypeNode": Objects._type,
    "ListNode": Objects._list,
    "TupleNode": Objects._tuple,
    "DictNode": Objects._dict,
    "NdArrayNode": Objects._array,
    "RandomStateNode": Objects._random_state,
    "RandomGeneratorNode": Objects._generator,
    "TreeNode": Objects._compiled,
    "LossNode": Objects._compiled,
    "ObjectNode": Objects._object,
}
CONTAINERS: Final = {"ListNode": "builtins.list", "TupleNode": "builtins.tuple", "DictNode": "builtins.dict"}
"""Of subclasses of these, such as named tuples, only skops knows how they are made."""


def _array_of(data: bytes) -> NDArray[Any]:
    """Return the array of a .npy file as `numpy.load` does, which spends most of its time on the header."""
    if data.startswith(NPY_1):
        begin = HEADER_AT + int.from_bytes(data[HEADER_AT - 2 : HEADER_AT], "little")
        shape, by_column, dtype = _header_of(data[len(NPY_1) : begin])
        if not dtype.hasobject and min(shape, default=0) >= 0:  # all others are NumPy's to refuse
            return np.ndarray(shape, dtype, data, begin, order="F" if by_column else "C").copy("K")
    loaded: NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    return loaded


_header_of: Final = lru_cache(1_000)(lambda header: npy.read_array_header_1_0(io.BytesIO(header)))
"""Shape, whether columns come first, and dtype; most arrays of a model have a header that others have."""
