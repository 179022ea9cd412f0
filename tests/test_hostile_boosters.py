"""Nothing that takes the place of a LightGBM or XGBoost model reaches their loaders, hangs or ends the process."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from job.storage.files import Storage
from tests import test_hostile
from tests.algorithms import MISSING, each
from tests.hostile import FOLDER, METADATA
from tests.hostile_boosters import NATIVE_ATTACKS, NativeAnswer, NativeAttack, attempt_native, warm_up
from tests.registries import VERSION
from tests.test_registry_versions import commit_one

Load = Callable[[Storage], NativeAnswer]

LONGEST_S: Final = 2.0
"""CPU time that a load may take; on a busy machine, it may take `PATIENCE_S` by the clock."""
PATIENCE_S: Final = 30.0

pytestmark = [
    pytest.mark.boosters,
    pytest.mark.timeout(120),
    *(pytest.mark.skip(reason=MISSING[name]) for name in NATIVE_ATTACKS if name in MISSING),
]


def new_process() -> ProcessPoolExecutor:
    process = test_hostile.new_process(warm_up)
    process.submit(int).result()
    return process


@pytest.fixture(scope="module")
def processes() -> Iterator[list[ProcessPoolExecutor]]:
    """Yield the processes to load in, of which the last is alive."""
    started = [new_process()]
    yield started
    for process in started:
        process.shutdown()


@pytest.fixture
def load(processes: list[ProcessPoolExecutor]) -> Load:
    """Return what loads a registry in another process within the time limit."""

    def loaded(registry: Storage) -> NativeAnswer:
        try:
            answer = processes[-1].submit(attempt_native, registry.url).result(PATIENCE_S)
        except BrokenProcessPool:
            processes.append(new_process())
            pytest.fail("loading ended the process")
        except TimeoutError:
            for process in (processes[-1]._processes or {}).values():
                process.kill()
            processes.append(new_process())
            pytest.fail("loading hangs")
        assert answer.heard == []
        assert answer.seconds < LONGEST_S
        return answer

    return loaded


@pytest.fixture
def registry(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "store"))


def forge(registry: Storage, name: str, data: bytes) -> None:
    """Put bytes in the place of the model, with the digest that belongs to them."""
    registry.replace(f"{FOLDER}/{VERSION}.{name}", data)
    metadata = json.loads(registry.read(METADATA))
    metadata["artefacts"]["model"] |= {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    registry.replace(METADATA, json.dumps(metadata).encode())


@pytest.mark.parametrize(
    ("name", "attack"),
    [
        pytest.param(name, attack, id=f"{name}-{attack.name}")
        for name, attacks in NATIVE_ATTACKS.items()
        for attack in attacks
    ],
)
def test_hostile_models_are_refused_before_the_library_sees_them(
    name: str, attack: NativeAttack, registry: Storage, load: Load
) -> None:
    commit_one(registry, model=name, format_=name)
    path = f"{FOLDER}/{VERSION}.{name}"
    committed = registry.read(path)
    data = attack.change(committed)
    assert data != committed
    registry.replace(path, data)
    assert "is not the model that was committed" in str(load(registry).error)
    forge(registry, name, data)
    answer = load(registry)
    assert attack.says in str(answer.error)
    assert answer.error is not None
    assert answer.error.isprintable()
    assert answer.error.startswith(registry.url)
    assert answer.native == 0
    assert not (Path(registry.url).parent / "ran").exists()


@pytest.mark.parametrize("name", each(*NATIVE_ATTACKS))
def test_a_changed_byte_is_refused_or_makes_another_sound_model(name: str, registry: Storage, load: Load) -> None:
    commit_one(registry, model=name, format_=name)
    committed = registry.read(f"{FOLDER}/{VERSION}.{name}")
    random = np.random.default_rng(3)
    accepted = 0
    for place in random.integers(len(committed), size=150):
        data = bytearray(committed)
        data[place] = random.integers(256) if name == "xgboost" else random.choice(list(b"0123456789-. =\ne"))
        if bytes(data) == committed:
            continue
        forge(registry, name, bytes(data))
        answer = load(registry)
        if answer.error is None:
            accepted += 1
            up = np.frombuffer(answer.predictions).reshape(-1, 2)
            assert ((up >= 0) & (up <= 1)).all()
        else:
            assert answer.native == 0
    assert accepted < 150 * 0.8


@pytest.mark.parametrize("name", each(*NATIVE_ATTACKS))
def test_the_same_check_passes_honest_versions(name: str, registry: Storage, load: Load) -> None:
    commit_one(registry, model=name, format_=name)
    answer = load(registry)
    assert answer.error is None
    assert answer.native == 1
    assert answer.predictions


def test_names_of_cases_are_unique() -> None:
    for attacks in NATIVE_ATTACKS.values():
        assert len({attack.name for attack in attacks}) == len(attacks) >= 30
