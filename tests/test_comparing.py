"""Comparing stored versions: on rows that neither has seen, with a verdict that is kept and acted upon."""

import json
from collections.abc import Sequence
from dataclasses import asdict, astuple, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from job.cli import main
from job.compare.decisions import decide
from job.compare.plan import plan as plan_comparisons
from job.compare.run import ComparisonResult, _conclude, judge
from job.compare.steps import compare_group, compare_rows, pair_samples
from job.compare.task import Compared, ComparisonTask
from job.config.settings import Config, load_config
from job.core.environment import versions
from job.core.errors import ConfigError, DataError, RegistryError
from job.core.keys import Key
from job.learning.comparison import MARGIN, Comparison, SeedVariance, verdict
from job.learning.comparison import compare as compare_rows_of
from job.learning.evidence import Evidence
from job.learning.fitting import predict_proba
from job.learning.metrics import shrink
from job.learning.rows import feature_matrix
from job.learning.seeds import influence_of, seed_variance
from job.learning.training import Trained, train
from job.learning.watching import Watched
from job.registry.aliases import history, read_aliases
from job.registry.comparisons import last_evidence, overlapping, write_comparison
from job.registry.names import version_name
from job.registry.promote import promote
from job.registry.versions import list_versions
from job.registry.watching import State, WatchedModel, write_state
from job.sources.finding import find_series
from job.storage.files import Storage
from job.train.plan import plan_tasks
from job.train.steps import prepare, train_task
from job.worker.load_bars import load_series
from job.worker.messages import BarsRow, Bundle, Job, pack
from tests.here import without_ray
from tests.registries import find_version
from tests.worlds import in_two_processes, samples_for, specs, world

KEY = Key("synthetic", "SYN00USDT", "5m", "analyst")
FAST = {"analyst_models": {"timeframes": ["5m"], "n_estimators": 10}, "enable_tactician_models": False, "cv_folds": 2}
RUN_A, RUN_B = "20240110_000000_00000a", "20240120_000000_00000b"
A, B = (version_name(KEY, run) for run in (RUN_A, RUN_B))
END_A, END_B = datetime(2024, 1, 9, tzinfo=UTC), datetime(2024, 1, 11, tzinfo=UTC)


def settings(folder: Path, *, end: datetime | None = None, **trainer: Any) -> Config:
    data = {"input": str(folder / "bars"), "end": end}
    return load_config({"data": data, "model_trainer": {**FAST, "model_directory": str(folder / "models"), **trainer}})


def fit_version(folder: Path, run: str, *, end: datetime, **trainer: Any) -> None:
    """Train and commit a version of every model on the bars before `end`, in this process."""
    config = settings(folder, end=end, **trainer)
    job = Job(run_id=run, config=config, output=config.model_trainer.model_directory, versions=versions())
    for task in plan_tasks(find_series(config.data).series, config):
        bars, info = load_series(task.series[0], job)
        head, samples = prepare(task, BarsRow(Bundle(task.series[0], (task,)), info), bars, job)
        assert samples is not None
        assert train_task(head, samples, job).error is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fourteen days of bars, and a registry with a version trained on eight of them and one trained on ten."""
    folder = tmp_path_factory.mktemp("comparing")
    assert main(["synth", "--output", str(folder / "bars"), "--symbols", "1", "--days", "14", "--world", "signal"]) == 0
    fit_version(folder, RUN_A, end=END_A)
    fit_version(folder, RUN_B, end=END_B, random_state=7)
    return folder


@pytest.fixture
def registry(folder: Path, tmp_path: Path) -> Storage:
    """A registry of its own with both versions; A is the champion."""
    source, registry = Storage(str(folder / "models")), Storage(str(tmp_path / "models"))
    for path in source.list(KEY.folder):
        registry.create(path, source.read(path))
    promote(registry, KEY, A)
    return registry


def change_metadata(registry: Storage, version: str, **values: Any) -> None:
    path = f"{KEY.folder}/{version}.json"
    registry.replace(path, json.dumps(json.loads(registry.read(path)) | values).encode())


def plan_of(
    registry: Storage, folder: Path, *, since: datetime | None = None, a: str = "champion", b: str = "latest"
) -> Any:
    config = settings(folder)
    config = config.model_copy(update={"data": config.data.model_copy(update={"start": since})})
    return plan_comparisons(config, registry, [KEY], a=a, b=b)


def compare_here(
    registry: Storage, folder: Path, task: ComparisonTask, *, end: datetime | None = None, **trainer: Any
) -> Compared:
    """Take one comparison through the steps of the pipeline, in this process."""
    config = settings(folder, end=end, **trainer)
    job = Job(run_id="20240201_000000_00000c", config=config, output=registry.url, versions=versions())
    bars, info = load_series(task.series[0], job)
    bundle = Bundle(task.series[0], (task,))
    (row,) = pair_samples(pack(BarsRow(bundle, info), bars), job=job)
    (outcome,) = compare_rows(row, job=job)
    return Compared.from_json(outcome["outcome"][0].as_py())


def test_rows_are_those_after_the_last_label_of_both(registry: Storage, folder: Path) -> None:
    (task,) = plan_of(registry, folder).tasks
    metadata = find_version(registry, KEY, B)
    assert metadata is not None
    assert (task.a, task.b) == (A, B)
    assert task.usable_from == datetime.fromisoformat(metadata["label_end"]) == END_B
    found = compare_here(registry, folder, task)
    assert datetime.fromisoformat(found.first) >= END_B
    assert found.comparison is not None
    assert 3 * 288 * 0.8 < found.comparison.rows <= 4 * 288
    assert (found.only_a, found.only_b) == (0, 0)


def test_versions_are_scored_as_they_were_at_training(registry: Storage, folder: Path) -> None:
    """On its own holdout, which no comparison uses, a version has the log-loss that its metadata tells."""
    metadata = find_version(registry, KEY, A)
    assert metadata is not None
    (task,) = plan_of(registry, folder).tasks
    holdout = datetime.fromisoformat(metadata["split"]["holdout"]["test_from"])
    before = settings(folder, end=END_A)
    job = Job(run_id="20240201_000000_00000c", config=before, output=registry.url, versions=versions())
    bars, info = load_series(task.series[0], job)
    bundle = Bundle(task.series[0], (replace(task, usable_from=holdout),))
    (row,) = pair_samples(pack(BarsRow(bundle, info), bars), job=job)
    (outcome,) = compare_rows(row, job=job)
    found = Compared.from_json(outcome["outcome"][0].as_py()).comparison
    assert found is not None
    assert found.rows == metadata["split"]["holdout"]["test_rows"]
    assert found.log_loss_a == pytest.approx(metadata["scores"]["log_loss"], abs=2e-5)
    assert found.accuracy_a == pytest.approx(metadata["scores"]["accuracy"], abs=2e-3)


def test_trading_scores_come_with_the_comparison(registry: Storage, folder: Path) -> None:
    (task,) = plan_of(registry, folder).tasks
    plain = compare_here(registry, folder, task)
    free, costly = (
        compare_here(registry, folder, replace(task, earlier=3), trading={"cost_bps": cost}) for cost in (0, 10)
    )
    assert plain.trading == {}
    assert plain.comparison == free.comparison == costly.comparison
    for name in ("a", "b"):
        assert free.trading[name]["net_return"] == pytest.approx(free.trading[name]["gross_return"])
        paid = costly.trading[name]["turnover"] * 10 / 1e4
        assert costly.trading[name]["net_return"] == pytest.approx(free.trading[name]["net_return"] - paid)
        assert costly.trading[name]["versions_scored"] == 8
        assert plain.comparison is not None
        assert costly.trading[name]["signals"] >= plain.comparison.rows


def test_bars_that_end_too_early_are_told_with_the_first_usable_time(registry: Storage, folder: Path) -> None:
    (task,) = plan_of(registry, folder).tasks
    late = replace(task, usable_from=END_B + timedelta(days=30))
    found = compare_here(registry, folder, late)
    assert found.error is not None
    assert found.error["type"] == "DataError"
    assert "no labeled bar closes at 2024-02-10 00:00:00 UTC or later" in found.error["message"]
    assert "give newer bars" in found.error["message"]


def test_bars_that_are_gone_still_count(registry: Storage, folder: Path) -> None:
    """A comparison of the first day's bars, then one of an input that begins in the middle of it."""
    (task,) = plan_of(registry, folder).tasks
    together = compare_here(registry, folder, task)
    first = compare_here(registry, folder, task, end=END_B + timedelta(days=1))
    rest = replace(task, usable_from=END_B + timedelta(hours=12))
    alone = compare_here(registry, folder, rest)
    added = compare_here(registry, folder, replace(rest, evidence=first.evidence))
    assert added.evidence is not None
    assert together.evidence is not None
    assert np.allclose(added.evidence.blocks, together.evidence.blocks)
    assert (added.evidence.looks, together.evidence.looks) == (2, 1)
    assert added.evidence.running is not None
    assert together.evidence.running is not None
    assert astuple(added.evidence.running) == pytest.approx(astuple(together.evidence.running))
    assert added.comparison is not None
    assert together.comparison is not None
    assert alone.comparison is not None
    assert alone.comparison.rows < added.comparison.rows == together.comparison.rows
    names = ("difference", "log_loss_a", "log_loss_b", "accuracy_low", "accuracy_high", "blocks")
    assert [getattr(added.comparison, name) for name in names] == pytest.approx(
        [getattr(together.comparison, name) for name in names]
    )
    assert (added.first, added.comparison.dm_p) == (alone.first, alone.comparison.dm_p), "of the rows of this input"


def test_a_start_that_a_version_has_seen_is_refused(registry: Storage, folder: Path) -> None:
    (error,) = plan_of(registry, folder, since=END_A).failures.values()
    assert isinstance(error, ConfigError)
    assert f"{A} or {B} was trained or chosen on bars up to 2024-01-11T00:00:00" in str(error)
    assert "give --since 2024-01-10T23:55:00 or later" in str(error)
    first = END_B - timedelta(minutes=5)
    (task,) = plan_of(registry, folder, since=first).tasks
    assert task.usable_from == END_B
    (task,) = plan_of(registry, folder, since=END_B + timedelta(days=1)).tasks
    assert task.usable_from == END_B + timedelta(days=1, minutes=5)


def test_one_version_under_both_names_is_no_comparison(registry: Storage, folder: Path) -> None:
    promote(registry, KEY, B)
    plan = plan_of(registry, folder)
    assert (plan.same, plan.tasks, plan.failures) == ((KEY,), (), {})


def test_freshness_is_by_the_last_label(registry: Storage, folder: Path) -> None:
    assert plan_of(registry, folder).fresher == {KEY}
    assert plan_of(registry, folder, a=B, b=A).fresher == set()


@pytest.mark.parametrize(
    ("alter", "kind", "message"),
    [
        (
            {"label": {"definition": {"kind": "direction", "horizon": 5}}},
            RegistryError,
            "only versions of one label can be compared",
        ),
        (
            {"features": [{"name": "astrology", "version": 1}]},
            RegistryError,
            "'astrology', which this release does not",
        ),
        ({"label_end": None}, RegistryError, "does not say when its last label was known"),
    ],
)
def test_what_cannot_be_compared_is_told_before_bars_are_read(
    registry: Storage, folder: Path, alter: dict[str, Any], kind: type[Exception], message: str
) -> None:
    change_metadata(registry, B, **alter)
    (error,) = plan_of(registry, folder).failures.values()
    assert isinstance(error, kind)
    assert message in str(error)


def test_a_model_without_bars_is_told(registry: Storage, folder: Path) -> None:
    other = Key("synthetic", "OTHER", "5m", "analyst")
    for version in list_versions(registry, KEY):
        for suffix in (".skops", "_scaler.skops"):
            registry.create(f"{other.folder}/{version}{suffix}", b"")
        metadata = json.loads(registry.read(f"{KEY.folder}/{version}.json")) | {"key": asdict(other)}
        registry.create(f"{other.folder}/{version}.json", json.dumps(metadata).encode())
    (error,) = plan_comparisons(settings(folder), registry, [other], a=A, b=B).failures.values()
    assert isinstance(error, DataError)
    assert "holds no bars of it: give its bars with --input" in str(error)


def test_pooled_series_are_judged_together_and_failed_ones_named(registry: Storage, folder: Path) -> None:
    (task,) = plan_of(registry, folder).tasks
    alone = compare_here(registry, folder, task)
    config = settings(folder)
    job = Job(run_id="20240201_000000_00000c", config=config, output=registry.url, versions=versions())
    bars, info = load_series(task.series[0], job)
    info = replace(info, warnings=("said of the bars",))
    rows = []
    for symbol in ("ONE", "TWO", "BAD"):
        series = replace(task.series[0], symbol=symbol)
        bundle = Bundle(series, (task,))
        loaded = BarsRow(bundle, None if symbol == "BAD" else info, {"message": "no bars"} if symbol == "BAD" else None)
        rows += list(pair_samples(pack(loaded, bars), job=job))
    group = pa.concat_tables(rows, promote_options="default")
    members = {KEY: frozenset({"synthetic/ONE", "synthetic/TWO", "synthetic/BAD"})}
    found = Compared.from_json(compare_group(group, job=job, members=members)["outcome"][0].as_py())
    assert found.comparison is not None
    assert alone.comparison is not None
    assert found.comparison.rows == 2 * alone.comparison.rows
    assert found.comparison.difference == pytest.approx(alone.comparison.difference)
    for one in (alone, found):
        assert one.finished_at >= one.started_at > ""
        assert min(one.seconds, one.cpu_seconds, one.peak_rss_mb, one.pid) > 0
    assert found.warnings == ("left out synthetic/BAD: no bars", "said of the bars")
    lost = {KEY: members[KEY] | {"synthetic/LOST"}}
    assert compare_group(group, job=job, members=lost).num_rows == 0, "rows of a dead worker are missing"


def made_up(
    *, difference: float, p: float | None = 0.001, blocks: int = 50, key: Key = KEY, days: float = 3.0
) -> Compared:
    """Return a comparison whose interval is a fifth of its difference wide."""
    low, high = sorted((0.9 * difference, 1.1 * difference))
    comparison = Comparison(
        1_000, 0.69, 0.69 + difference, difference, low, high, p, 3.0, p, 0.5, 0.5, 0.0, -0.1, 0.1, 1.0, blocks
    )
    first, last = (int(day.timestamp() * 1e6) for day in (END_B, END_B + timedelta(days=days)))
    return Compared(
        **vars(key), status="compared", a=A, b=B, comparison=comparison,
        first="2024-01-11T00:00:00+00:00", last="2024-01-14T00:00:00+00:00",
        evidence=Evidence(50, 1_000, first, last, 1, ((1_000.0, 690.0, 1_000 * difference, 500.0, 0.0),)),
    )  # fmt: skip


def act(registry: Storage, folder: Path, outcome: Compared, *, policy: str = "better", move: bool = True) -> Any:
    config = load_config({"promotion": {"policy": policy}})
    plan = plan_of(registry, folder)
    (judged,) = judge([outcome], margin=config.promotion.margin)
    run = f"2024020{1 + len(registry.list('comparisons'))}_000000_00000c"
    return _conclude(judged, plan, registry, config.promotion, run_id=run, promote_winners=move)


def test_the_better_version_becomes_champion_and_the_numbers_are_kept(registry: Storage, folder: Path) -> None:
    done = act(registry, folder, made_up(difference=-0.01))
    assert (done.verdict, done.action, done.error) == ("better", "promoted", None)
    last = history(registry, KEY)[-1]
    assert (last.before, last.after, last.command) == (A, B, "compare")
    assert last.reason == "significantly better than the champion (alpha 0.05)"
    assert last.numbers["difference"] == -0.01
    assert last.numbers["earlier_comparisons"] == 0
    assert (last.numbers["policy"], last.numbers["rows"], last.numbers["q"]) == ("better", 1_000, 0.001)
    (path,) = registry.list("comparisons")
    kept = json.loads(registry.read(path))
    assert (kept["verdict"], kept["key"], kept["a"], kept["b"]) == ("better", asdict(KEY), A, B)


@pytest.mark.parametrize(
    ("difference", "p", "policy", "move", "found", "action"),
    [
        (-0.01, 0.001, "better", False, "better", None),
        (-0.01, 0.2, "better", True, "not worse", "held"),
        (-0.01, 0.2, "fresher", True, "not worse", "promoted"),
        (0.01, 0.001, "better", True, "worse", None),
        (0.01, 0.001, "fresher", True, "worse", None),
        (-0.01, 0.001, "fresher", True, "better", "promoted"),
        (-0.01, None, "fresher", True, "cannot tell", "held"),
    ],
)
def test_the_policy_decides(  # noqa: PLR0917 - what pytest passes
    registry: Storage,
    folder: Path,
    difference: float,
    p: float | None,
    policy: str,
    move: bool,
    found: str,
    action: str | None,
) -> None:
    done = act(registry, folder, made_up(difference=difference, p=p), policy=policy, move=move)
    assert (done.verdict, done.action) == (found, action)
    named = read_aliases(registry, KEY)
    assert named.champion == (B if action == "promoted" else A)
    assert named.challenger == (B if action == "held" else None)
    assert len(registry.list("comparisons")) == 1, "who looked has used the rows"


def test_an_older_version_is_not_fresher() -> None:
    policy = load_config({"promotion": {"policy": "fresher"}}).promotion
    told = [decide("not worse", 10.0, policy, fresher=fresher, challenger=False) for fresher in (False, True)]
    assert [one.action for one in told if one is not None] == ["held", "promoted"]


def test_a_challenger_is_held_until_it_is_decided(registry: Storage, folder: Path) -> None:
    """It stands for the latest version, is released once it is worse or the bars of 90 days have not decided it."""
    undecided = made_up(difference=-0.01, p=0.9)
    for _ in range(2):
        assert act(registry, folder, undecided).action == "held"
    assert [(one.alias, one.after) for one in history(registry, KEY)[1:]] == [("challenger", B)], "written once"
    plan = plan_of(registry, folder)
    assert (plan.held, plan.tasks[0].b) == ({KEY}, B)
    assert plan.tasks[0].evidence == undecided.evidence
    assert plan_of(registry, folder, since=END_B + timedelta(days=1)).tasks[0].evidence is None
    assert act(registry, folder, made_up(difference=0.01)).action == "given up"
    last = history(registry, KEY)[-1]
    assert (last.alias, last.before, last.after, last.reason) == ("challenger", B, None, "worse than the champion")
    assert plan_of(registry, folder).held == set()
    assert act(registry, folder, made_up(difference=-0.01, p=0.9, days=90)).action is None
    act(registry, folder, undecided)
    assert act(registry, folder, made_up(difference=-0.01, p=0.9, days=90)).action == "given up"
    assert history(registry, KEY)[-1].reason == "not worse after 90 days"


def test_a_damaged_record_is_passed_over(registry: Storage, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    outcome = made_up(difference=-0.01, p=0.9)
    for _ in range(2):
        act(registry, folder, outcome)
    *_, last = sorted(registry.list("comparisons"))
    for damage in (b"{", b"[]", b'{"a": 1}', registry.read(last).replace(b'"blocks": [', b'"blocks": [[1.0],')):
        registry.replace(last, damage)
        caplog.clear()
        assert last_evidence(registry, KEY, A, B) == outcome.evidence, "of the one before"
        assert "is passed over: it is damaged" in caplog.text
    assert last_evidence(registry, KEY, B, A) is None


def test_a_challenger_stands_for_the_latest_version_only_while_the_registry_holds_it(
    registry: Storage, folder: Path
) -> None:
    promote(registry, KEY, A, alias="challenger")
    assert plan_of(registry, folder).held == set(), "the champion is no challenger"
    promote(registry, KEY, B)
    assert plan_of(registry, folder).tasks[0].b == A
    assert plan_of(registry, folder, b=B).same == (KEY,), "what is named is compared"
    registry.remove(f"{KEY.folder}/{A}.json")
    assert plan_of(registry, folder).held == set()


def test_a_challenger_that_is_promoted_is_none_any_more(registry: Storage, folder: Path) -> None:
    assert act(registry, folder, made_up(difference=-0.01, p=0.9)).action == "held"
    assert act(registry, folder, made_up(difference=-0.01)).action == "promoted"
    named = read_aliases(registry, KEY)
    assert (named.champion, named.challenger) == (B, None)


def test_what_no_bars_can_decide_is_not_held(registry: Storage, folder: Path) -> None:
    outcome = made_up(difference=-0.01)
    assert outcome.comparison is not None
    unknown = replace(outcome, comparison=replace(outcome.comparison, seed_error=None))
    done = act(registry, folder, unknown, policy="fresher")
    assert (done.verdict, done.action) == ("cannot tell", None)


def test_earlier_comparisons_of_the_same_stretch_are_counted(registry: Storage, folder: Path) -> None:
    assert [act(registry, folder, made_up(difference=0.01)).earlier for _ in range(3)] == [0, 1, 2]
    day = datetime(2024, 1, 14, tzinfo=UTC)
    assert overlapping(registry, KEY, first=day, last=day) == 3
    assert overlapping(registry, KEY, first=day + timedelta(seconds=1), last=day + timedelta(days=9)) == 0
    assert overlapping(registry, replace(KEY, symbol="OTHER"), first=day, last=day) == 0


def test_a_champion_that_moved_meanwhile_stays(registry: Storage, folder: Path) -> None:
    outcome = made_up(difference=-0.01)
    plan = plan_of(registry, folder)
    (judged,) = judge([outcome], margin=0.001)
    promote(registry, KEY, B)
    promote(registry, KEY, A)
    promote(registry, KEY, B)
    done = _conclude(judged, plan, registry, Config().promotion, run_id=RUN_B, promote_winners=True)
    assert done.action is None
    assert f"the champion was moved from {A} to {B} meanwhile" in str(done.error)


def test_a_second_look_by_the_fixed_test_is_told(registry: Storage, folder: Path) -> None:
    (task,) = plan_of(registry, folder).tasks
    first = compare_here(registry, folder, task)
    second = compare_here(registry, folder, replace(task, evidence=first.evidence))
    said = [judge([one], margin=MARGIN)[0].record()["warnings"] for one in (first, second)]
    assert said[0] == []
    assert "look 2 at these two versions, and the fixed test is right at one" in said[1][0]
    assert second.comparison is not None
    sequential = replace(second, comparison=replace(second.comparison, test="sequential"))
    assert judge([sequential], margin=MARGIN)[0].record()["warnings"] == []


def test_a_second_look_counts_though_since_leaves_the_evidence_out(registry: Storage, folder: Path) -> None:
    (task,) = plan_of(registry, folder).tasks
    found = compare_here(registry, folder, task)
    assert found.evidence is not None
    times = {name: datetime.fromisoformat(getattr(found, name)) for name in ("first", "last")}
    about = {"a": A, "b": B, "evidence": asdict(found.evidence)}
    write_comparison(registry, KEY, RUN_B, about, **times)
    (again,) = plan_of(registry, folder, since=END_B + timedelta(hours=12)).tasks
    assert (again.evidence, again.looked, again.earlier) == (None, 1, 0)
    second = compare_here(registry, folder, again)
    assert second.evidence is not None
    assert second.evidence.looks == 2
    (later,) = plan_of(registry, folder, since=times["last"] + timedelta(hours=1)).tasks
    assert later.looked == 0


def test_a_fixed_test_says_that_watchers_look_too(registry: Storage, folder: Path) -> None:
    plan = plan_of(registry, folder)
    (task,) = plan.tasks
    assert not plan.watched
    found = Watched(A, 50).facing(A, B, length=50)
    write_state(registry, State(models={KEY: WatchedModel(found, since=0)}), run_id=RUN_B)
    assert plan_of(registry, folder).watched == {KEY}
    seen = ComparisonResult(compare_here(registry, folder, task), watched=True)
    assert any("`watch` looks at these two versions" in doubt for doubt in seen.doubts())
    assert not [*replace(seen, watched=False).doubts()]


def test_models_are_judged_together_by_their_e_values(registry: Storage, folder: Path) -> None:
    (task,) = plan_of(registry, folder).tasks
    found = compare_here(registry, folder, task).comparison
    assert found is not None
    assert found.e is None
    outcome = made_up(difference=-0.01, p=0.001)
    assert outcome.comparison is not None
    (one,) = judge([replace(outcome, comparison=replace(outcome.comparison, e=80.0))], margin=MARGIN)
    assert one.q == pytest.approx(1 / 80)


def test_many_comparisons_share_their_false_discoveries() -> None:
    keys = [replace(KEY, symbol=f"S{number}") for number in range(20)]
    outcomes = [made_up(difference=-0.01, p=0.04 if number else 0.001, key=key) for number, key in enumerate(keys)]
    outcomes[1:] = [
        made_up(difference=-0.01, p=0.04 + number / 30, key=one.key) for number, one in enumerate(outcomes[1:])
    ]
    assert [one.verdict for one in judge(outcomes, margin=0.001)] == ["better", *["not worse"] * 19]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--models", "EMPTY"], 3, "holds no model: name the model registry with --models"),
        (["--symbols", "NOPE"], 3, "--symbols: no model has 'NOPE'"),
        (["--a", "challenger"], 2, "has no challenger"),
        (["--b", "nope"], 2, "holds no version 'nope'"),
        (["--since", "2024-01-01"], 2, "--since 2024-01-01T00:00:00 is too early"),
        (["--since", "soon"], 2, "data.start"),
        (["--since", ""], 2, "--since is empty"),
        (["--a", ""], 2, "--a is empty"),
        (["--promote", "--a", "latest"], 2, "--promote replaces the champion"),
        (["--set", "promotion.policy=newest"], 2, "promotion.policy"),
        (["--set", "promotion.alpha=2"], 2, "promotion.alpha"),
        (["--input", "nowhere"], 3, "nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_cost_one_line_and_a_status(  # noqa: PLR0917 - what pytest passes
    registry: Storage,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    given = [str(tmp_path / "empty") if one == "EMPTY" else one for one in arguments]
    where = [] if "--models" in given else ["--models", registry.url]
    bars = [] if "--input" in given else ["--input", str(folder / "bars")]
    before = registry.list()
    assert main(["compare", *where, *bars, *given]) == status
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1), printed.err
    assert message in printed.err
    assert registry.list() == before


def test_without_a_champion_the_remedy_is_named(
    registry: Storage, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in registry.list("aliases"):
        registry.remove(path)
    arguments = ["compare", "--models", registry.url, "--input", str(folder / "bars"), "--promote"]
    assert main(arguments) == 2
    assert "has no champion" in (said := capsys.readouterr().err)
    assert "`models promote`" in said


def test_the_command_compares_and_promotes(registry: Storage, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", "--models", registry.url, "--input", str(folder / "bars"), "--json", "--promote"]
    settings = ["promotion.policy=fresher", "promotion.test=sequential"]
    with without_ray():
        assert main([*arguments, *(part for one in settings for part in ("--set", one))]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    (one,) = found["comparisons"]
    assert (one["a"], one["b"]) == (A, B)
    assert one["rows"] > 800
    assert one["promoted"] == (one["verdict"] in {"better", "not worse"})
    assert (one["looks"], one["test"]) == (1, "sequential")
    assert read_aliases(registry, KEY).champion == (B if one["promoted"] else A)
    assert found["fleet"][0]["models"] == 1
    assert found["fleet"][0]["p"] == pytest.approx(one["p"])
    assert found["fleet"][0]["adjusted_p"] is not None
    assert found["tried"] == {
        "models": 1, "versions": 0, "labels": 0, "algorithms": 0, "settings": 0, "comparisons": 1
    }, "neither version was scored on these rows in training"  # fmt: skip
    assert one["shared_holdout"] is None, "two versions have no rank"
    assert found["problems"] == []
    assert len(registry.list("comparisons")) == 1
    assert not [path for path in registry.list("runs") if "attempts" in path]


DAYS = 60
CUT = 0.5


def forest(timeframe: str) -> Any:
    return next(spec for kind, of, spec in specs() if (kind, of) == ("analyst", timeframe)).model_copy(
        update={"cv_folds": 2, "n_estimators": 50}
    )


def score_later(trained: Trained, later: pl.DataFrame) -> Any:
    p = predict_proba(trained.model, trained.scaler, later, trained.features)
    return shrink(p, trained.metadata["base_rate"], trained.metadata["shrink"]["model"])


def luck_of(trained: Trained, later: pl.DataFrame) -> SeedVariance:
    scaled = trained.scaler.transform(feature_matrix(later, trained.features))
    base_rate, weight = trained.metadata["base_rate"], trained.metadata["shrink"]["model"]
    up, metadata = later["label"].to_numpy(), trained.metadata
    found = seed_variance(
        [influence_of(metadata, trained.model, scaled, up, base_rate=base_rate, weight=weight)], later.height
    )
    assert found is not None
    return found


def verdict_of(symbol: int, world_kind: Any, *, shuffled: bool, timeframe: str = "5m") -> str:
    """Train two versions on the first half of a world's bars, by two seeds, or b on shuffled labels; judge the rest."""
    samples = samples_for(world(symbol, days=DAYS, kind=world_kind), timeframe, forest(timeframe))
    first = int(samples.height * CUT)
    early, later = samples[:first], samples[first + 10 :]
    spec = forest(timeframe)
    labels = np.random.default_rng(symbol).permutation(early["label"].to_numpy())
    early_b = early.with_columns(label=pl.Series(labels, dtype=pl.Int8)) if shuffled else early
    a = train(early, spec, key=KEY)
    b = train(early_b, spec.model_copy(update={"random_state": 1_000 + symbol}), key=KEY)
    found = compare_rows_of(
        later["label"].to_numpy(),
        score_later(a, later),
        score_later(b, later),
        horizon=spec.label.horizon,
        seeds=[luck_of(a, later), luck_of(b, later)],
    )
    return verdict(found, found.p)


def by_seed_in_noise(symbol: int) -> str:
    return verdict_of(symbol, "noise", shuffled=False)


def by_seed_in_signal(symbol: int) -> str:
    return verdict_of(symbol, "signal", shuffled=False)


def by_shuffled_labels(symbol: int) -> str:
    return verdict_of(symbol, "signal", shuffled=True)


def share(found: Sequence[str], what: str) -> float:
    return sum(one == what for one in found) / len(found)


def test_a_few_draws_of_another_seed_and_of_shuffled_labels() -> None:
    assert by_seed_in_signal(0) not in {"better", "worse"}
    assert by_shuffled_labels(0) == "worse"


@pytest.mark.slow
def test_a_version_trained_on_shuffled_labels_is_told_to_be_worse() -> None:
    found = in_two_processes(by_shuffled_labels, range(20))
    assert share(found, "worse") >= 0.9
    assert "better" not in found
