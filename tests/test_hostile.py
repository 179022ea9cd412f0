"""Nothing that an attacker puts in place of a version's files runs, crashes or is loaded as what it is not."""

import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from hashlib import sha256
from pathlib import Path

import pytest

from job.storage.files import Storage
from tests.corpus import MOST_MB, snapshot
from tests.hostile import (
    ATTACKS,
    FORGERIES,
    METADATA,
    MODEL,
    PATHS,
    Answer,
    Attack,
    Forgery,
    Role,
    adjust,
    attempt,
    limit,
    payload,
)
from tests.registries import ESTIMATORS
from tests.test_registry_versions import commit_one

Load = Callable[[Storage], Answer]


def new_process(first: Callable[[], None] = limit) -> ProcessPoolExecutor:
    """Return a process that is none of this one's, forked from one that has imported what takes seconds."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.hostile", "tests.hostile_boosters"])
    return ProcessPoolExecutor(1, processes, first)


@pytest.fixture(scope="module")
def processes() -> Iterator[list[ProcessPoolExecutor]]:
    """Yield the processes to load in, of which the last is alive."""
    started = [new_process()]
    yield started
    for process in started:
        process.shutdown()


@pytest.fixture
def registry(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "store"))


@pytest.fixture
def load(processes: list[ProcessPoolExecutor], tmp_path: Path) -> Load:
    """Return what loads the registry elsewhere, and checks that nothing runs, is written or takes all memory."""

    def loaded(registry: Storage) -> Answer:
        before = snapshot(tmp_path, without=tmp_path / "nowhere")
        try:
            answer = processes[-1].submit(attempt, registry.url).result(60)
        except BrokenProcessPool:
            processes.append(new_process())
            pytest.fail("loading ended the process")
        assert answer.heard == []
        assert answer.risen_mb < MOST_MB
        assert snapshot(tmp_path, without=tmp_path / "nowhere") == before
        if answer.error is not None:
            assert answer.error.isprintable()
            assert answer.error.startswith(f"{registry.url}/")
            assert len(answer.error.replace(registry.url, "")) < 700
        return answer

    return loaded


@pytest.mark.timeout(90)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_hostile_artefacts_are_refused(attack: Attack, registry: Storage, load: Load) -> None:
    commit_one(registry, model=attack.estimator)
    path = PATHS[attack.role]
    committed = registry.read(path)
    data = attack.change(committed)
    assert data != committed
    registry.replace(path, data)
    first = load(registry)
    assert f"is not the {attack.role} that was committed" in str(first.error)
    assert not first.parsed
    adjust(registry, attack.role, data)
    second = load(registry)
    assert attack.says in str(second.error)
    assert second.parsed


@pytest.mark.timeout(90)
@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.name)
def test_forged_metadata_is_refused_before_anything_is_parsed(forgery: Forgery, registry: Storage, load: Load) -> None:
    forged = forgery.forge(commit_one(registry))
    registry.replace(METADATA, forged if isinstance(forged, bytes) else json.dumps(forged).encode())
    answer = load(registry)
    assert forgery.says in str(answer.error)
    assert not answer.parsed


def test_metadata_of_other_features_is_refused(registry: Storage, load: Load) -> None:
    forged = commit_one(registry) | {"features": [{"name": "rsi_14"}]}
    registry.replace(METADATA, json.dumps(forged).encode())
    assert "the model is of 19 features, the scaler of 19, the metadata of 1;" in str(load(registry).error)


def test_a_version_that_is_made_a_pickle_is_not_run(registry: Storage, load: Load) -> None:
    metadata = commit_one(registry)
    described = {"bytes": len(payload()), "sha256": sha256(payload()).hexdigest()}
    metadata["artefacts"] = {"format": "pkl"}
    for role, path in PATHS.items():
        name = path.replace(".skops", ".pkl")
        registry.create(name, payload())
        metadata["artefacts"][role] = {"file": name.rpartition("/")[2], **described}
    registry.replace(METADATA, json.dumps(metadata).encode())
    assert "is a pickle, which can run any code" in str(load(registry).error)


@pytest.mark.parametrize("role", ["model", "scaler"])
def test_a_flipped_bit_is_refused_or_means_nothing(role: Role, registry: Storage, load: Load) -> None:
    """Without a new digest every bit counts; with one, those that the archive has no sum of may not matter."""
    commit_one(registry)
    committed = registry.read(PATHS[role])
    honest = load(registry).predictions
    places = range(0, len(committed), 23)
    accepted = 0
    for place in places:
        flipped = bytes([*committed[:place], committed[place] ^ (1 << place % 8), *committed[place + 1 :]])
        registry.replace(PATHS[role], flipped)
        assert not load(registry).parsed
        adjust(registry, role, flipped)
        answer = load(registry)
        accepted += answer.error is None
        assert answer.error is not None or answer.predictions == honest
    assert accepted < len(places) / 3


@pytest.mark.parametrize("estimator", [name for name in ESTIMATORS if name != "scaler"])
def test_the_same_check_passes_honest_versions(estimator: str, registry: Storage, load: Load) -> None:
    commit_one(registry, model=estimator)
    answer = load(registry)
    assert (answer.error, answer.parsed) == (None, True)
    assert answer.predictions


def test_names_of_cases_are_unique() -> None:
    for names in ([case.name for case in ATTACKS], [case.name for case in FORGERIES]):
        assert len(set(names)) == len(names)
    assert len(ATTACKS) + len(FORGERIES) > 100
    assert MODEL in PATHS.values()
