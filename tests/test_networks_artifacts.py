"""Artifacts of networks: the same bytes and bits, in any process; what is forged or damaged is refused, fast."""

import hashlib
import json
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is absent, which networks need: pip install '.[torch]'")
pytest.importorskip("tabm", reason="tabm is absent, which networks need: pip install '.[torch]'")

from job.core.errors import RegistryError
from job.learning.estimators import ALGORITHMS
from job.learning.networks.artifact import NETWORKS
from job.registry.artifacts import dump, parse
from tests.forks import Fresh

pytestmark = pytest.mark.torch

FORMAT: Final = "safetensors"
FEATURES: Final = 5
LIMIT_S: Final = 2.0


def rows() -> Any:
    return np.random.default_rng(0).standard_normal((300, FEATURES)).astype(np.float32)


@cache
def fitted(name: str) -> Any:
    """Return a small network; shared, so not to be changed."""
    estimator = ALGORITHMS[name].estimator
    return estimator(epochs=1, width=16).fit(rows(), (rows()[:, 0] > 0).astype(np.int8))


@cache
def sound(name: str = "gru") -> bytes:
    return dump(fitted(name), format=FORMAT)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_stored_bit_for_bit(name: str) -> None:
    loaded = parse(sound(name), format=FORMAT, where="here")
    assert type(loaded) is ALGORITHMS[name].estimator
    assert loaded.get_params() == fitted(name).get_params()
    assert loaded.predict_proba(rows()).tobytes() == fitted(name).predict_proba(rows()).tobytes()
    assert dump(loaded, format=FORMAT) == sound(name)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_is_one_of_safetensors(name: str) -> None:
    from safetensors.torch import load

    state = fitted(name).module_.state_dict()
    assert {key: value.numpy().tobytes() for key, value in load(sound(name)).items()} == {
        key: value.numpy().tobytes() for key, value in state.items()
    }


def test_another_process_writes_the_same_bytes_and_predicts_the_same_bits(fresh: Fresh, tmp_path: Path) -> None:
    script = (
        "import hashlib\nfrom tests.test_networks_artifacts import NETWORKS, fitted, rows, sound\n"
        "for name in NETWORKS:\n"
        "    p = fitted(name).predict_proba(rows())\n"
        "    print(hashlib.sha256(sound(name) + p.tobytes()).hexdigest())\n"
    )
    done = fresh(script, tmp_path)
    here = [hashlib.sha256(sound(name) + fitted(name).predict_proba(rows()).tobytes()).hexdigest() for name in NETWORKS]
    assert done.stdout.split() == here, done.stderr


def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(header: str | bytes, numbers: bytes) -> bytes:
    text = header.encode() if isinstance(header, str) else header
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + numbers


def changed(change: Callable[[dict[str, Any]], object], name: str = "gru") -> bytes:
    """Return a sound file with its header changed."""
    header, numbers = parts(sound(name))
    change(header)
    return joined(json.dumps(header, separators=(",", ":")), numbers)


def described(**update: Any) -> bytes:
    """Return a sound file that describes its network otherwise; None takes an entry away."""

    def change(header: dict[str, Any]) -> None:
        network = json.loads(header["__metadata__"]["network"]) | update
        network = {key: value for key, value in network.items() if value is not None}
        header["__metadata__"] = {"network": json.dumps(network, sort_keys=True)}

    return changed(change)


def with_parameters(name: str = "gru", **update: Any) -> bytes:
    header, numbers = parts(sound(name))
    network = json.loads(header["__metadata__"]["network"])
    network["parameters"] |= update
    header["__metadata__"] = {"network": json.dumps(network, sort_keys=True)}
    return joined(json.dumps(header, separators=(",", ":")), numbers)


def tensor(header: dict[str, Any], **update: Any) -> None:
    header["output.weight"] = header["output.weight"] | update


def weights(number: float) -> bytes:
    header, numbers = parts(sound())
    values = np.frombuffer(numbers, "<f4").copy()
    values[7] = number
    return joined(json.dumps(header, separators=(",", ":")), values.tobytes())


def swapped(header: dict[str, Any]) -> None:
    one, other = header["recurrent.bias_ih_l0"], header["recurrent.bias_hh_l0"]
    one["data_offsets"], other["data_offsets"] = other["data_offsets"], one["data_offsets"]


FORGED: Final[dict[str, Callable[[], bytes]]] = {
    "nothing": lambda: b"",
    "seven bytes": lambda: sound()[:7],
    "no header": lambda: bytes(8),
    "a header longer than the file": lambda: (2**40).to_bytes(8, "little") + sound()[8:],
    "the longest header": lambda: b"\xff" * 8 + sound()[8:],
    "half of the file": lambda: sound()[: len(sound()) // 2],
    "without its last byte": lambda: sound()[:-1],
    "without its last number": lambda: sound()[:-4],
    "something behind": lambda: sound() + bytes(4),
    "something before": lambda: bytes(8) + sound(),
    "a pickle": lambda: b"\x80\x05cposix\nsystem\n(S'touch forged'\ntR.",
    "an archive": lambda: b"PK\x03\x04" + sound(),
    "no text": lambda: joined(b"\xff\xfe{}", b""),
    "no JSON": lambda: joined("{'a': 1}", b""),
    "a list": lambda: joined("[]", b""),
    "nested without end": lambda: joined("[" * 200_000, b""),
    "a number without end": lambda: joined('{"a": ' + "9" * 100_000 + "}", b""),
    "an empty header": lambda: joined("{}", b""),
    "a name twice": lambda: joined('{"a": {}, "a": {}}', b""),
    "no description": lambda: changed(lambda header: header.pop("__metadata__")),
    "a description that is none": lambda: changed(lambda header: header.update(__metadata__={"network": 7})),
    "more than a description": lambda: changed(lambda header: header["__metadata__"].update(format="pt")),
    "a description with NaN": lambda: with_parameters(learning_rate=float("nan")),
    "an unknown network": lambda: described(network="os:system"),
    "another network": lambda: described(network="tcn"),
    "a network by its path": lambda: described(network="job.learning.networks.estimators:GruClassifier"),
    "no parameters": lambda: described(parameters={}),
    "a parameter more": lambda: with_parameters(hook="os.system"),
    "no features": lambda: described(features=0),
    "many features": lambda: described(features=2**40),
    "features that are no number": lambda: described(features="5"),
    "features that are true": lambda: described(features=True),
    "features that are missing": lambda: described(features=None),
    "another width": lambda: with_parameters(width=32),
    "a width beyond memory": lambda: with_parameters(width=10**9),
    "a width below zero": lambda: with_parameters(width=-16),
    "a width as text": lambda: with_parameters(width="16"),
    "bars without end": lambda: with_parameters(sequence_bars=2**50),
    "a device elsewhere": lambda: with_parameters(device="cuda:99; rm"),
    "a tensor less": lambda: changed(lambda header: header.pop("output.bias")),
    "a tensor more": lambda: changed(lambda header: header.update(extra=header["output.bias"])),
    "a tensor by another name": lambda: changed(lambda header: header.update(out=header.pop("output.bias"))),
    "a tensor that is a list": lambda: changed(lambda header: header.update({"output.bias": []})),
    "a tensor with more to it": lambda: changed(lambda header: tensor(header, code="x")),
    "another type": lambda: changed(lambda header: tensor(header, dtype="I32")),
    "half the precision": lambda: changed(lambda header: tensor(header, dtype="F16")),
    "another shape": lambda: changed(lambda header: tensor(header, shape=[16, 1])),
    "a shape below zero": lambda: changed(lambda header: tensor(header, shape=[-1, -16])),
    "a shape of fractions": lambda: changed(lambda header: tensor(header, shape=[1.0, 16.0])),
    "offsets beyond the file": lambda: changed(lambda header: tensor(header, data_offsets=[10**9, 10**9 + 64])),
    "offsets below zero": lambda: changed(lambda header: tensor(header, data_offsets=[-64, 0])),
    "offsets backwards": lambda: changed(lambda header: tensor(header, data_offsets=[64, 0])),
    "offsets that overlap": lambda: changed(
        lambda header: header["recurrent.bias_ih_l0"].update(header["recurrent.bias_hh_l0"])
    ),
    "tensors in another order": lambda: changed(swapped),
    "spaces in the header": lambda: joined(json.dumps(parts(sound())[0], indent=1), parts(sound())[1]),
    "a weight that is NaN": lambda: weights(float("nan")),
    "a weight without end": lambda: weights(float("-inf")),
    "members beyond their weights": lambda: with_parameters("tabm", members=1_024),
    "blocks beyond their weights": lambda: with_parameters("mlp", blocks=64),
}


@pytest.mark.parametrize("what", FORGED)
def test_what_is_forged_or_damaged_is_refused(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = FORGED[what]()
    for name in NETWORKS:  # what comes with the first use is no part of the time
        parse(sound(name), format=FORMAT, where="here")
    monkeypatch.chdir(tmp_path)
    started = time.process_time()
    with pytest.raises(RegistryError, match=r"here is no safetensors artifact of this job: .*; train the model"):
        parse(data, format=FORMAT, where="here")
    assert time.process_time() - started < LIMIT_S
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seed", range(6))
def test_a_byte_that_changed_is_refused_or_says_another_number(seed: int) -> None:
    """Such as another seed. Digests find these before; here it is that nothing crashes."""
    random = np.random.default_rng(seed)
    start = len(sound()) - len(parts(sound())[1])
    for place in random.integers(0, start, 150).tolist():
        data = bytearray(sound())
        data[place] ^= int(random.integers(1, 256))
        try:
            assert dump(parse(bytes(data), format=FORMAT, where="here"), format=FORMAT) == data
        except RegistryError as error:
            assert str(error).startswith("here is no safetensors artifact")  # noqa: PT017 - or it is sound
