"""Networks as bytes and back: a safetensors file, whose header says as JSON what the network is made of.

Nothing in such a file is run, and nothing is built before its names, shapes, types, sizes and numbers are those of the
network that it describes.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import load, save

from job.learning.networks.estimators import (
    GruClassifier,
    MlpClassifier,
    Network,
    TabMClassifier,
    TcnClassifier,
)

NETWORKS: Final[dict[str, type[Network]]] = {
    "mlp": MlpClassifier,
    "gru": GruClassifier,
    "tcn": TcnClassifier,
    "tabm": TabMClassifier,
}
DESCRIPTION: Final = "network"
"""The one entry of the file's own metadata: more would be written in any order."""
LENGTH_BYTES: Final = 8
MAX_HEADER: Final = 2**20
MAX_FEATURES: Final = 2**16
NUMBER_BYTES: Final = 4


def dump(model: Network) -> bytes:
    """Return a fitted network as bytes, the same each time and in any process."""
    described = {
        "network": next(name for name, kind in NETWORKS.items() if kind is type(model)),
        "features": model.n_features_in_,
        "parameters": model.get_params(deep=False),
    }
    tensors = {name: value.contiguous() for name, value in model.module_.state_dict().items()}
    data: bytes = save(tensors, metadata={DESCRIPTION: json.dumps(described, sort_keys=True)})
    return data


def parse(data: bytes) -> Network:
    """Return the network in bytes that `dump` wrote.

    Raises:
        ValueError: saying what is wrong with them.
    """
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    if len(data) < LENGTH_BYTES or not 0 < length <= min(len(data) - LENGTH_BYTES, MAX_HEADER):
        raise ValueError(f"its header is said to have {length} bytes, the file has {len(data)}")
    numbers = memoryview(data)[LENGTH_BYTES + length :]
    if len(numbers) % NUMBER_BYTES:
        raise ValueError(f"{len(numbers)} bytes are no whole numbers of {NUMBER_BYTES}")
    header = _object(data[LENGTH_BYTES : LENGTH_BYTES + length].decode(), "its header")
    model = _described(header.pop("__metadata__", None))
    with torch.device("meta"):
        module = model.module(model.n_features_in_)
    _check_tensors(header, {name: tuple(value.shape) for name, value in module.state_dict().items()}, len(numbers))
    if not np.isfinite(np.frombuffer(numbers, "<f4")).all():
        raise ValueError("some of its weights are no finite numbers")
    module.load_state_dict(load(data), assign=True)
    model.module_ = module
    if dump(model) != data:
        raise ValueError("it is not written as networks are stored")
    return model


def _object(text: str, what: str) -> dict[str, Any]:
    """Return the object that a text of JSON holds; no name may stand in it twice, and no number be NaN or infinite."""

    def refuse(value: str) -> None:
        raise ValueError(f"{what} holds {value}")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            raise ValueError(f"{what} names something twice")
        return found

    try:
        value = json.loads(text, object_pairs_hook=once, parse_constant=refuse)
    except RecursionError:
        raise ValueError(f"{what} is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"{what} is no JSON object")  # noqa: TRY004 - of bytes, not of an argument
    return value


def _described(metadata: object) -> Network:
    """Return the network that a file's metadata describes, without its weights."""
    if not isinstance(metadata, dict) or metadata.keys() != {DESCRIPTION} or type(metadata[DESCRIPTION]) is not str:
        raise ValueError("its header describes no network")
    described = _object(metadata[DESCRIPTION], "its description")
    if described.keys() != {"network", "features", "parameters"}:
        raise ValueError(f"its description holds {', '.join(map(repr, described))}"[:200])
    name, features, parameters = described["network"], described["features"], described["parameters"]
    if type(name) is not str or name not in NETWORKS:
        raise ValueError(f"it describes a network {name!r:.40}, expected one of {', '.join(NETWORKS)}")
    if type(features) is not int or not 1 <= features <= MAX_FEATURES:
        raise ValueError(f"it describes a network of {features!r:.40} features")
    kind = NETWORKS[name]
    if not isinstance(parameters, dict) or parameters.keys() != kind().get_params(deep=False).keys():
        raise ValueError(f"the parameters it describes are not those of a network {name}")
    model = kind(**parameters)
    model.classes_, model.n_features_in_ = np.array([0, 1]), features
    return model


def _check_tensors(header: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]], size: int) -> None:
    """Check that a header lists the tensors of a network, in any order, without gaps, and to the end of the file."""
    if header.keys() != expected.keys():
        strange = sorted(header.keys() ^ expected.keys())
        raise ValueError(f"it does not hold the weights of the network it describes, but for {strange[0]!r:.60}")
    spans = []
    for name, entry in header.items():
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"{name} is described by {entry!r:.60}")
        shape, offsets = entry["shape"], entry["data_offsets"]
        if entry["dtype"] != "F32" or not _are_counts(shape) or tuple(shape) != expected[name]:
            raise ValueError(f"{name} is {entry['dtype']!r:.20} of {shape!r:.60}, expected F32 of {expected[name]}")
        if not _are_counts(offsets) or len(offsets) != 2:
            raise ValueError(f"{name} is said to be at {offsets!r:.60}")
        if offsets[1] - offsets[0] != NUMBER_BYTES * math.prod(shape):
            raise ValueError(f"{name} is said to be at {offsets!r:.60}, which is not its size")
        spans.append(offsets)
    ends = [0, *(end for _, end in sorted(spans))]
    if [start for start, _ in sorted(spans)] != ends[:-1] or ends[-1] != size:
        raise ValueError(f"its weights overlap, leave gaps, or do not fill its {size} bytes")


def _are_counts(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
