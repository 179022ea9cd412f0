"""Aliases: a history of decisions that nothing tears and no two writers share; pruning spares what they name."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from job.core.errors import RegistryError
from job.core.keys import Key
from job.registry.aliases import (
    MOST_PREVIOUS,
    Aliases,
    ConflictError,
    change_alias,
    history,
    read_aliases,
    read_all_aliases,
)
from job.registry.catalog import list_summaries, read_catalog, rebuild, write_catalog
from job.registry.cleanup import open_runs, sweep
from job.registry.leases import Lease
from job.registry.names import version_name
from job.registry.promote import promote, restore_champion
from job.registry.prune import Prunable, prunable, prune
from job.registry.runs import open_marker, record_path
from job.registry.versions import commit, list_versions, load, resolve_version
from job.storage.files import Storage
from tests.registries import KEY, fitted, open_registry

RUNS = [f"2023120{day}_120000_a1b2c3" for day in range(1, 6)]
V1, V2, V3, V4, V5 = (version_name(KEY, run) for run in RUNS)
FOLDER = f"aliases/{KEY.folder}/{KEY.stem}"


def commit_versions(registry: Storage, *versions: str, key: Key = KEY) -> None:
    for version in versions:
        model, scaler = fitted("logistic_regression"), fitted("scaler")
        metadata = {"scores": {"skill": 0.1}, "fingerprint": version}
        commit(registry, key, version, model=model, scaler=scaler, metadata=metadata)


def champion(registry: Storage) -> str | None:
    return read_aliases(registry, KEY).champion


def test_an_alias_is_a_history_of_numbered_files(registry: Storage) -> None:
    commit_versions(registry, V1, V2)
    promote(registry, KEY, V1, reason="the first")
    promote(registry, KEY, "latest", alias="challenger")
    promote(registry, KEY, "challenger", command="compare", numbers={"difference": -0.01})
    assert registry.list("aliases") == [f"{FOLDER}/0000000{seq}.json" for seq in (1, 2, 3)]
    assert read_aliases(registry, KEY) == Aliases(3, V2, None, (V1,)), "no challenger any more"
    first, _, last = history(registry, KEY)
    assert (first.alias, first.before, first.after, first.command, first.reason) == (
        "champion",
        None,
        V1,
        "promote",
        "the first",
    )
    assert (last.before, last.after, last.command, last.numbers) == (V1, V2, "compare", {"difference": -0.01})
    assert first.at <= last.at
    assert first.at.endswith("+00:00")


def test_models_load_by_alias(memory: Storage) -> None:
    commit_versions(memory, V1, V2)
    with pytest.raises(RegistryError, match=f"{KEY} has no champion in {memory.url}: name one with `models promote`"):
        load(memory, KEY, "champion")
    promote(memory, KEY, V1)
    assert load(memory, KEY, "champion")[2]["version"] == V1
    assert load(memory, KEY)[2]["version"] == V2
    assert [resolve_version(memory, KEY, name) for name in ("latest", "champion", V2, RUNS[1])] == [V2, V1, V2, V2]
    memory.remove(f"{KEY.folder}/{V1}.json")
    with pytest.raises(
        RegistryError, match=f"the champion of {KEY} is {V1}, which {memory.url} does not hold any more"
    ):
        load(memory, KEY, "champion")


def test_promoting_what_is_champion_already_decides_nothing(memory: Storage) -> None:
    commit_versions(memory, V1)
    assert promote(memory, KEY, V1).changes
    assert not promote(memory, KEY, V1).changes
    assert read_aliases(memory, KEY).seq == 1


def test_a_dry_run_writes_nothing(memory: Storage) -> None:
    commit_versions(memory, V1, V2)
    before = memory.list()
    move = promote(memory, KEY, V1, dry_run=True)
    assert (move.before, move.after, memory.list()) == (None, V1, before)
    for version in (V1, V2):
        promote(memory, KEY, version)
    assert restore_champion(memory, KEY, dry_run=True).after == V1
    assert champion(memory) == V2


@pytest.mark.parametrize("part", [".skops", "_scaler.skops"])
def test_a_version_whose_artefacts_changed_is_not_promoted(memory: Storage, part: str) -> None:
    commit_versions(memory, V1)
    memory.replace(f"{KEY.folder}/{V1}{part}", b"other")
    with pytest.raises(RegistryError, match="its SHA-256 differs"):
        promote(memory, KEY, V1)
    assert read_aliases(memory, KEY) == Aliases()


def test_rollbacks_go_back_champion_by_champion(registry: Storage) -> None:
    commit_versions(registry, V1, V2, V3)
    for version in (V1, V2, V3):
        promote(registry, KEY, version)
    assert restore_champion(registry, KEY).after == champion(registry) == V2
    assert restore_champion(registry, KEY).after == champion(registry) == V1
    with pytest.raises(RegistryError, match=f"holds no champion before {V1}: choose a version with `models promote`"):
        restore_champion(registry, KEY)
    promote(registry, KEY, V3)
    assert restore_champion(registry, KEY).after == V1
    assert len(history(registry, KEY)) == 7


def test_a_rollback_passes_over_champions_that_are_gone(memory: Storage) -> None:
    commit_versions(memory, V1, V2, V3)
    for version in (V1, V2, V3):
        promote(memory, KEY, version)
    memory.remove(f"{KEY.folder}/{V2}.json")
    assert restore_champion(memory, KEY).after == V1
    assert read_aliases(memory, KEY).previous == ()


def test_a_rollback_needs_a_champion(memory: Storage) -> None:
    commit_versions(memory, V1)
    with pytest.raises(RegistryError, match=f"{KEY} has no champion in {memory.url}"):
        restore_champion(memory, KEY)


@given(st.lists(st.sampled_from([V1, V2, V3, "back"]), max_size=12))
def test_champions_are_a_stack(steps: list[str]) -> None:
    state, stack = Aliases(), list[str]()
    for step in steps:
        if step != "back":
            state = state.moved("champion", step)
            stack.append(step)
        elif len(stack) > 1:
            stack.pop()
            state = state.rolled_back(stack[-1])
    assert state.champion == (stack[-1] if stack else None)
    assert state.previous == tuple(reversed(stack[:-1]))


def test_a_long_history_remembers_the_last_champions(memory: Storage) -> None:
    state = Aliases()
    for number in range(2 * MOST_PREVIOUS):
        state = state.moved("champion", str(number))
    assert state.previous == tuple(str(2 * MOST_PREVIOUS - 2 - back) for back in range(MOST_PREVIOUS))


class Interrupted(BaseException):
    """Stands for a process that is killed."""


OPERATIONS = ("create", "read", "list", "sizes", "exists", "remove", "replace", "read_many")


def interrupt(
    registry: Storage, monkeypatch: pytest.MonkeyPatch, at: int, *, done: bool, error: type[BaseException]
) -> Any:
    """Fail the registry's operation number `at`, before or after it is done; return the count of operations."""
    count = [0]

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            count[0] += 1
            if count[0] != at:
                return real(*arguments, **named)
            if done:
                real(*arguments, **named)
            raise error("interrupted")

        return call

    for name in OPERATIONS:
        monkeypatch.setattr(registry, name, failing(getattr(registry, name)))
    return count


@pytest.mark.parametrize("error", [Interrupted, RegistryError])
@pytest.mark.parametrize("done", [False, True])
def test_a_promotion_interrupted_anywhere_leaves_the_old_state_or_the_new(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, done: bool, error: type[BaseException]
) -> None:
    seen, at = set[tuple[str | None, int]](), 0
    while True:
        at += 1
        registry = open_registry("memory", request)
        commit_versions(registry, V1, V2)
        promote(registry, KEY, V1)
        files = {path: registry.read(path) for path in registry.list()}
        with monkeypatch.context() as patch:
            count = interrupt(registry, patch, at, done=done, error=error)
            with suppress(Interrupted, RegistryError):
                registry.check_writable()
                promote(registry, KEY, V2)
        if count[0] < at:
            break
        state = read_aliases(registry, KEY)
        assert state in (Aliases(1, V1), Aliases(2, V2, None, (V1,)))
        assert load(registry, KEY, "champion")[2]["version"] == state.champion
        now = {path: registry.read(path) for path in registry.list()}
        assert {path: now[path] for path in files} == files
        assert now.keys() - files.keys() <= {f"{FOLDER}/00000002.json"}
        seen.add((state.champion, len(history(registry, KEY))))
        promote(registry, KEY, V2)
        assert restore_champion(registry, KEY).after == V1
    assert at > 8, "operations are counted"
    assert seen == {(V1, 1), (V2, 2)}


def test_a_killed_promotion_on_disk_leaves_nothing_that_is_read(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from job.registry.promote import promote\n"
        "from job.storage.files import Storage\n"
        "from tests.registries import KEY\n"
        "os.link = lambda *names: os.kill(os.getpid(), signal.SIGKILL)\n"
        "promote(Storage(sys.argv[1], writer='20200101_000000_aaaaaa'), KEY, 'latest')\n"
    )
    registry = Storage(str(tmp_path))
    commit_versions(registry, V1)
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=Path(__file__).parents[1], check=False)
    assert done.returncode == -9
    assert read_aliases(registry, KEY) == Aliases()
    assert len(registry.unfinished()) == 1
    sweep(registry, "", [])
    assert not registry.unfinished()
    assert promote(registry, KEY, V1).changes


def test_a_lost_reply_is_ones_own_decision(memory: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    commit_versions(memory, V1)
    create, lost = memory._create, [True]

    def losing(path: str, data: bytes) -> None:
        create(path, data)
        if lost and path.startswith("aliases/"):
            lost.pop()
            raise ConnectionResetError("the reply is lost")

    monkeypatch.setattr(memory, "_create", losing)
    assert promote(memory, KEY, V1).changes
    assert not lost
    assert [decision.after for decision in history(memory, KEY)] == [V1]


def decide(registry: Storage, version: str, *, seen: Aliases, alias: Any = "champion", key: Key = KEY) -> Any:
    return change_alias(
        registry, key, alias, lambda now: now.moved(alias, version), seen=seen, command="promote", reason=""
    )


def test_who_decided_on_what_is_no_more_is_told(registry: Storage) -> None:
    seen = read_aliases(registry, KEY)
    decide(registry, V1, seen=seen)
    with pytest.raises(ConflictError, match=f"the champion was moved from None to {V1} while this was decided"):
        decide(registry, V2, seen=seen)
    assert read_aliases(registry, KEY) == Aliases(1, V1)


def test_a_decision_on_the_other_alias_is_no_conflict(registry: Storage) -> None:
    seen = read_aliases(registry, KEY)
    decide(registry, V1, seen=seen)
    decide(registry, V2, seen=seen, alias="challenger")
    assert read_aliases(registry, KEY) == Aliases(2, V1, V2)


def test_two_equal_decisions_at_once_are_two(memory: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = read_aliases(memory, KEY)
    decide(memory, V1, seen=seen)
    with pytest.raises(ConflictError):
        decide(memory, V1, seen=seen)


WRITERS = 8


def contend(registry: Storage, number: int) -> list[int]:
    """Decide 5 times against all others, upon what stands at each moment; return the numbers of one's decisions."""
    won: list[int] = []
    while len(won) < 5:
        seen = read_aliases(registry, KEY)
        try:
            won.append(decide(registry, f"{number}-{len(won)}", seen=seen).aliases.seq)
        except ConflictError:
            continue
        write_catalog(registry, [])
    return won


def check_contention(registry: Storage, won: list[list[int]]) -> None:
    """Check that each number has one winner, and that every decision was made upon the one before it."""
    assert sorted(seq for own in won for seq in own) == list(range(1, 5 * len(won) + 1))
    decisions = history(registry, KEY)
    assert [decision.aliases.seq for decision in decisions] == list(range(1, 5 * len(won) + 1))
    assert [one.before for one in decisions] == [None, *(one.after for one in decisions[:-1])]
    for writer, own in enumerate(won):
        assert [decisions[seq - 1].after for seq in own] == [f"{writer}-{count}" for count in range(5)]


def test_concurrent_decisions_have_one_winner_a_number(registry: Storage) -> None:
    with ThreadPoolExecutor(WRITERS) as pool:
        won = [*pool.map(lambda number: contend(registry, number), range(WRITERS))]
    check_contention(registry, won)


@pytest.mark.parametrize("kind", ["file", pytest.param("s3", marks=pytest.mark.slow)])
def test_concurrent_promotions_by_processes_corrupt_nothing(kind: str, request: pytest.FixtureRequest) -> None:
    registry = open_registry(kind, request)
    commit_versions(registry, V1, V2, V3)
    rebuild(registry)
    script = (
        "import json, os, pickle, sys\n"
        "from tests.test_aliases import contend\n"
        "for number in range(3):\n"
        "    if not os.fork():\n"
        "        won = contend(pickle.loads(bytes.fromhex(sys.argv[1])), number)\n"
        "        os.write(1, f'{json.dumps([number, won])}\\n'.encode())\n"
        "        os._exit(0)\n"
        "for _ in range(3):\n"
        "    os.wait()\n"
    )
    command = [sys.executable, "-c", script, pickle.dumps(registry).hex()]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], check=True, capture_output=True)
    won = dict(map(json.loads, done.stdout.splitlines()))
    check_contention(registry, [won[number] for number in range(3)])
    assert {one["version"] for one in read_catalog(registry)} == {V1, V2, V3}


def test_aliases_of_many_models_are_read_at_once(registry: Storage) -> None:
    others = [Key("kraken", f"X{number}/EUR", "1h", "analyst") for number in range(3)]
    for key in others:
        decide(registry, key.symbol, seen=Aliases(), key=key)
    decide(registry, V1, seen=Aliases())
    decide(registry, V2, seen=Aliases(1, V1))
    found = read_all_aliases(registry, [KEY, others[0], Key("kraken", "none", "1h", "analyst")])
    assert found == {KEY: Aliases(2, V2, None, (V1,)), others[0]: Aliases(1, "X0/EUR")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda one: one.clear(), "00000001.json is damaged"),
        (lambda one: one.update(schema_version=2), "has schema 2, newer than the 1 read here; upgrade"),
        (lambda one: one["key"].update(symbol="X"), "is a decision about another model"),
        (lambda one: one["aliases"].update(seq=2), "is a decision about another model or of another number"),
        (lambda one: one["aliases"].update(champion=["x"]), "00000001.json is damaged"),
        (lambda one: one["aliases"].update(previous=[1]), "00000001.json is damaged"),
        (lambda one: one["aliases"].update(previous=None), "00000001.json is damaged"),
        (lambda one: one.update(more=1), "00000001.json is damaged"),
    ],
)
def test_a_damaged_decision_is_named(memory: Storage, change: Callable[[Any], None], message: str) -> None:
    decide(memory, V1, seen=Aliases())
    path = f"{FOLDER}/00000001.json"
    document = json.loads(memory.read(path))
    change(document)
    memory.replace(path, json.dumps(document).encode())
    for reading in (read_aliases, history, lambda registry, key: read_all_aliases(registry, [key])):
        with pytest.raises(RegistryError, match=message):
            reading(memory, KEY)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff"])
def test_a_decision_that_is_no_json_is_named(memory: Storage, data: bytes) -> None:
    memory.replace(f"{FOLDER}/00000001.json", data)
    with pytest.raises(RegistryError, match=r"00000001.json is damaged \(.*\); restore it from a backup, or delete it"):
        read_aliases(memory, KEY)


def test_sweeping_and_reindexing_leave_aliases_alone(registry: Storage) -> None:
    commit_versions(registry, V1, V2)
    for version in (V1, V2):
        promote(registry, KEY, version)
    before = {path: registry.read(path) for path in registry.list("aliases")}
    sweep(registry, "", [], at_end=True)
    assert [one["version"] for one in rebuild(registry).summaries] == [V1, V2]
    assert {path: registry.read(path) for path in registry.list("aliases")} == before
    assert list_versions(registry, KEY) == [V1, V2]


def doomed_versions(registry: Storage, *, keep: int) -> list[str]:
    return [one.version for one in prunable(registry, [KEY], keep=keep, lease_s=60)]


def test_pruning_keeps_the_last_versions(registry: Storage) -> None:
    commit_versions(registry, V1, V2, V3)
    other = Key("kraken", "ETH/EUR", "1h", "analyst")
    commit_versions(registry, *(version_name(other, run) for run in RUNS), key=other)
    rebuild(registry)
    (only,) = to_delete = prunable(registry, [KEY], keep=2, lease_s=60)
    assert (only.version, only.files[0]) == (V1, f"{KEY.folder}/{V1}.json")
    assert only.size == sum(len(registry.read(path)) for path in only.files)
    assert [one.version for one in prune(registry, to_delete)] == [V1]
    assert list_versions(registry, KEY) == [V2, V3]
    assert not [path for path in registry.list(KEY.folder) if V1 in path]
    assert {one["version"] for one in read_catalog(registry)} == {V2, V3, *(version_name(other, run) for run in RUNS)}
    assert prunable(registry, [KEY], keep=2, lease_s=60) == []


def test_pruning_spares_what_aliases_name_and_what_a_rollback_needs(memory: Storage) -> None:
    commit_versions(memory, V1, V2, V3, V4, V5)
    assert doomed_versions(memory, keep=1) == [V1, V2, V3, V4]
    for version in (V1, V2, V3):
        promote(memory, KEY, version)
    assert doomed_versions(memory, keep=1) == [V1, V4]
    promote(memory, KEY, V4, alias="challenger")
    assert doomed_versions(memory, keep=1) == [V1]
    memory.remove(f"{KEY.folder}/{V2}.json")
    assert doomed_versions(memory, keep=1) == [], "the champion before is the one that is left"
    prune(memory, prunable(memory, [KEY], keep=1, lease_s=60))
    assert restore_champion(memory, KEY).after == V1


def test_pruning_spares_versions_of_a_living_run(memory: Storage) -> None:
    commit_versions(memory, V1, V2, V3)
    memory.create(open_marker(RUNS[0]), b"")
    lease = replace(Lease.of_this_process(60), host="elsewhere")
    for live, to_delete in ((True, [V2]), (False, [V1, V2])):
        held = lease if live else replace(lease, expires_at=lease.expires_at.replace(year=2020))
        record = {"run_id": RUNS[0], "status": "running", "lease": held.record()}
        memory.replace(record_path(RUNS[0]), json.dumps(record).encode())
        assert [one.live for one in open_runs(memory, lease_s=60)] == [live]
        assert doomed_versions(memory, keep=1) == to_delete


def test_pruning_leaves_damaged_metadata_alone(memory: Storage) -> None:
    commit_versions(memory, V1, V2, V3)
    memory.replace(f"{KEY.folder}/{V3}.json", b"{")
    assert doomed_versions(memory, keep=1) == [V1]


def test_a_version_that_is_promoted_while_it_is_pruned_stays(memory: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    commit_versions(memory, V1, V2)
    to_delete = prunable(memory, [KEY], keep=1, lease_s=60)
    remove = memory.remove

    def promoting(path: str) -> None:
        if path.endswith(f"{V1}.json"):
            decide(memory, V1, seen=Aliases())
        remove(path)

    monkeypatch.setattr(memory, "remove", promoting)
    assert prune(memory, to_delete) == []
    assert load(memory, KEY, "champion")[2]["version"] == V1


def test_a_prune_interrupted_anywhere_leaves_nothing_torn_that_loads(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, states = 0, set[tuple[str, ...]]()
    while True:
        at += 1
        registry = open_registry("memory", request)
        commit_versions(registry, V1, V2, V3)
        promote(registry, KEY, V2)
        rebuild(registry)
        to_delete = prunable(registry, [KEY], keep=1, lease_s=60)
        with monkeypatch.context() as patch:
            count = interrupt(registry, patch, at, done=False, error=Interrupted)
            with suppress(Interrupted):
                prune(registry, to_delete)
        if count[0] < at:
            break
        there = list_versions(registry, KEY)
        states.add((*there,))
        assert [load(registry, KEY, version)[2]["version"] for version in there] == there
        assert {one["version"] for one in list_summaries(registry)} == {*there}
        sweep(registry, "", [])
        left = [path for path in registry.list() if V1 in path and V1 not in there]
        assert all(path.startswith("pruned/") for path in left), "but for what the ledger remembers of it"
    assert states == {(V1, V2, V3), (V2, V3)}


def test_two_prunes_at_once_do_no_harm(registry: Storage) -> None:
    commit_versions(registry, V1, V2, V3, V4)
    promote(registry, KEY, V1)
    to_delete = prunable(registry, [KEY], keep=1, lease_s=60)

    def one(_: int) -> list[Prunable]:
        return prune(registry, to_delete)

    with ThreadPoolExecutor(4) as pool:
        gone = {one.version for part in pool.map(one, range(4)) for one in part}
    assert gone == {V2, V3}
    assert list_versions(registry, KEY) == [V1, V4]
    assert {one["version"] for one in list_summaries(registry)} == {V1, V4}
    assert load(registry, KEY, "champion")[2]["version"] == V1
