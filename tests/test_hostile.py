"""Nothing that an attacker puts in place of a version's files runs, crashes or is loaded as what it is not."""

import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from hashlib import sha256
from pathlib import Path

import pytest

from job.store import Store
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
from tests.stores import ESTIMATORS
from tests.test_store_versions import commit_one

Load = Callable[[Store], Answer]


def new_process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), limit)


@pytest.fixture(scope="module")
def processes() -> Iterator[list[ProcessPoolExecutor]]:
    """Yield the processes to load in, of which the last is alive."""
    started = [new_process()]
    yield started
    for process in started:
        process.shutdown()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def load(processes: list[ProcessPoolExecutor], tmp_path: Path) -> Load:
    """Return what loads the store elsewhere, and sees that nothing runs, is written or takes all memory meanwhile."""

    def loaded(store: Store) -> Answer:
        before = snapshot(tmp_path, without=tmp_path / "nowhere")
        try:
            answer = processes[-1].submit(attempt, store.url).result(60)
        except BrokenProcessPool:
            processes.append(new_process())
            pytest.fail("loading ended the process")
        assert answer.heard == []
        assert answer.risen_mb < MOST_MB
        assert snapshot(tmp_path, without=tmp_path / "nowhere") == before
        if answer.error is not None:
            assert answer.error.isprintable()
            assert answer.error.startswith(f"{store.url}/")
            assert len(answer.error.replace(store.url, "")) < 700
        return answer

    return loaded


@pytest.mark.timeout(90)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_hostile_artefacts_are_refused(attack: Attack, store: Store, load: Load) -> None:
    commit_one(store, model=attack.estimator)
    path = PATHS[attack.role]
    committed = store.read(path)
    data = attack.change(committed)
    assert data != committed
    store.replace(path, data)
    first = load(store)
    assert f"is not the {attack.role} that was committed" in str(first.error)
    assert not first.parsed
    adjust(store, attack.role, data)
    second = load(store)
    assert attack.says in str(second.error)
    assert second.parsed


@pytest.mark.timeout(90)
@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.name)
def test_forged_metadata_is_refused_before_anything_is_parsed(forgery: Forgery, store: Store, load: Load) -> None:
    forged = forgery.forge(commit_one(store))
    store.replace(METADATA, forged if isinstance(forged, bytes) else json.dumps(forged).encode())
    answer = load(store)
    assert forgery.says in str(answer.error)
    assert not answer.parsed


def test_metadata_of_other_features_is_refused(store: Store, load: Load) -> None:
    forged = commit_one(store) | {"features": [{"name": "rsi_14"}]}
    store.replace(METADATA, json.dumps(forged).encode())
    assert "the model is of 19 features, the scaler of 19, the metadata of 1;" in str(load(store).error)


def test_a_version_that_is_made_a_pickle_is_not_run(store: Store, load: Load) -> None:
    metadata = commit_one(store)
    described = {"bytes": len(payload()), "sha256": sha256(payload()).hexdigest()}
    metadata["artefacts"] = {"format": "pkl"}
    for role, path in PATHS.items():
        name = path.replace(".skops", ".pkl")
        store.create(name, payload())
        metadata["artefacts"][role] = {"file": name.rpartition("/")[2], **described}
    store.replace(METADATA, json.dumps(metadata).encode())
    assert "is a pickle, which can run any code" in str(load(store).error)


@pytest.mark.parametrize("role", ["model", "scaler"])
def test_a_flipped_bit_is_refused_or_means_nothing(role: Role, store: Store, load: Load) -> None:
    """Without a new digest every bit counts; with one, those that the archive has no sum of may not matter."""
    commit_one(store)
    whole = store.read(PATHS[role])
    honest = load(store).predictions
    places = range(0, len(whole), 23)
    accepted = 0
    for place in places:
        flipped = bytes([*whole[:place], whole[place] ^ (1 << place % 8), *whole[place + 1 :]])
        store.replace(PATHS[role], flipped)
        assert not load(store).parsed
        adjust(store, role, flipped)
        answer = load(store)
        accepted += answer.error is None
        assert answer.error is not None or answer.predictions == honest
    assert accepted < len(places) / 3


@pytest.mark.parametrize("estimator", [name for name in ESTIMATORS if name != "scaler"])
def test_the_same_check_passes_honest_versions(estimator: str, store: Store, load: Load) -> None:
    commit_one(store, model=estimator)
    answer = load(store)
    assert (answer.error, answer.parsed) == (None, True)
    assert answer.predictions


def test_names_of_cases_are_unique() -> None:
    for names in ([case.name for case in ATTACKS], [case.name for case in FORGERIES]):
        assert len(set(names)) == len(names)
    assert len(ATTACKS) + len(FORGERIES) > 100
    assert MODEL in PATHS.values()
