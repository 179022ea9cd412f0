"""One round, from what is known of the input to its record: every stage begins with what the registry holds.

score → decide → train → name challengers → predict

A stage that fails leaves the others to be done, and what it left undone is done in the next round. So it is after a
kill, too: nothing that a stage needs is known to this process alone.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from job.cluster.operation import Operation
from job.cluster.warm import WarmRay
from job.compare.decisions import decide
from job.config.settings import Config
from job.core.environment import versions
from job.core.errors import ClusterError, JobError
from job.core.keys import Key, model_owner
from job.learning.watching import Judged, judge
from job.predict.plan import Request
from job.predict.plan import plan as plan_predictions
from job.predict.run import run as run_predictions
from job.registry.aliases import read_all_aliases
from job.registry.catalog import key_of, list_summaries
from job.registry.outcome import Outcome
from job.registry.promote import promote, release_challenger
from job.registry.record import INTERRUPTED, RunRecord
from job.registry.watching import State, WatchedModel, alarms, read_state, write_round, write_state
from job.sources.series import Found
from job.storage.files import Storage
from job.train.plan import plan as plan_training
from job.train.run import run as run_training
from job.watch.evidence import updated
from job.watch.plan import ScoringPlan
from job.watch.plan import plan as plan_scoring
from job.watch.task import Scored, ScoringTask
from job.worker.messages import Job

Progress = Callable[[int, str], AbstractContextManager[Callable[[Outcome], None]]]
"""Shows what becomes of so many tasks of a step."""
Status = Literal["finished", "failed", "interrupted", "idle"]

COMMAND: Final = "watch"
"""What the history of aliases names."""
SCORING: Final = Operation[ScoringTask, Scored]("job.watch.pipeline", failed=Scored.failed)

log = logging.getLogger("job")


@contextmanager
def unseen(_total: int, _step: str) -> Iterator[Callable[[Outcome], None]]:
    """Show nothing."""
    yield lambda _outcome: None


@dataclass
class Round:
    """A round that is going on, and what came of it.

    `problems` are those for which it is tried again, by stage; `failures` are those of single models and files, which
    new bars may mend. `decisions` are changes of aliases; `judged` is what is known of every model.
    """

    config: Config
    registry: Storage
    run_id: str
    warm: WarmRay
    progress: Progress = unseen
    found: Found = Found(())
    status: Status = "finished"
    counts: dict[str, int] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    judged: dict[Key, Judged] = field(default_factory=dict)
    decisions: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    problems: list[tuple[str, JobError]] = field(default_factory=list)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def exit_status(self) -> int:
        """0 all of it is done, 1 some of it failed, 130 interrupted; that of its problem where all failed by one."""
        if self.status == "interrupted":
            return INTERRUPTED
        if self.problems and not self.counts:
            return self.problems[0][1].exit_status
        return JobError.exit_status if self.problems or self.failures else 0

    def keep(self, name: str, record: RunRecord[Any]) -> None:
        """Take over what a run of an operation came to.

        Raises:
            KeyboardInterrupt: it was interrupted.
            ClusterError: it was given up.
        """
        self.runs[name] = record.run_id
        self.counts |= {what: self.counts.get(what, 0) + count for what, count in record.counts.items()}
        self.failures += [f"{one.key}: {one.error_message}" for one in record.failures]
        self.failures += map(str, record.problems)
        if record.status == "interrupted":
            raise KeyboardInterrupt
        if record.status == "aborted":
            raise ClusterError(record.reason or "the run was given up")

    def record(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "run_id": self.run_id,
            "status": self.status,
            "started_at": self.started_at.isoformat(timespec="seconds"),
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "counts": self.counts,
            "runs": self.runs,
            "decisions": self.decisions,
            "models": [{**asdict(key), **one.record()} for key, one in sorted(self.judged.items())],
            "notes": self.notes,
            "failures": self.failures,
            "problems": [{"stage": stage, "type": type(e).__name__, "message": str(e)} for stage, e in self.problems],
        }


def run(done: Round) -> None:
    """Work through the stages of a round, and keep its record.

    Raises:
        KeyboardInterrupt: on Ctrl-C and SIGTERM; its record says so.
        RegistryError: the record cannot be written.
    """
    try:
        for name, stage in STAGES.items():
            try:
                stage(done)
            except JobError as error:
                done.problems.append((name, error))
                if isinstance(error, ClusterError):
                    done.warm.close()  # a Ray that died is none to go on with
        done.status = "failed" if done.problems else "finished"
    except KeyboardInterrupt:
        done.status = "interrupted"
        raise
    finally:
        write_round(done.registry, done.run_id, done.record())


def score(done: Round) -> None:
    """Score champions and challengers on bars that are new to them, and keep what that says."""
    state = read_state(done.registry)
    only = None
    while (plan := plan_scoring(done.config, done.registry, state, done.found, only=only)).tasks:
        done.failures += map(str, plan.failures.values())
        scored = updated(state, plan, _outcomes(done, plan))
        only = {key for key in plan.models if scored.models[key].again and not plan.models[key].again}
        judged = judge({key: one.evidence for key, one in scored.models.items()}, done.config.promotion.alpha)
        state = write_state(done.registry, with_alarms(scored, judged), run_id=done.run_id)
        done.notes += [f"{key}: bars have changed that it was scored on: it is scored again from there" for key in only]
        if not only:
            break


def _outcomes(done: Round, plan: ScoringPlan) -> list[Scored]:
    record = RunRecord[Scored](done.run_id, done.config, planned=len(plan.tasks), statuses=("scored", "failed"))
    job = Job(
        run_id=done.run_id,
        config=done.config,
        output=done.registry.url,
        versions=versions(),
        fleet=plan.fleet,
    )
    from job.cluster.session import run_tasks  # noqa: PLC0415 - Ray takes seconds to import

    with done.warm.up(), done.progress(len(plan.tasks), "scoring") as watch:
        run_tasks(plan.tasks, job, SCORING, record, watch=watch)
    done.keep("score", record)
    return record.outcomes


def with_alarms(state: State, judged: Mapping[Key, Judged]) -> State:
    """Return the state with the time at which each champion was first seen to have decayed."""
    models = {
        key: replace(one, alarm=one.alarm or one.evidence.last) if judged[key].standing == "decayed" else one
        for key, one in state.models.items()
    }
    return replace(state, models=models)


def decide_all(done: Round) -> None:
    """Promote challengers that are better, and give up those that are worse or stay undecided for too long."""
    models, policy = read_state(done.registry).models, done.config.promotion
    done.judged = judge({key: one.evidence for key, one in models.items()}, policy.alpha, margin=policy.margin)
    aliases = read_all_aliases(done.registry, models)
    until = {(key_of(one), one["version"]): one.get("label_end", "") for one in list_summaries(done.registry)}
    for key, found in done.judged.items():
        known, now = models[key].evidence, aliases[key]
        if found.verdict is None or (known.champion, known.challenger) != (now.champion, now.challenger):
            continue
        a, b = str(known.champion), str(known.challenger)
        decision = decide(
            found.verdict,
            found.days,
            policy,
            fresher=until.get((key, b), "") > until.get((key, a), ""),
            challenger=True,
            decidable=found.decidable,
        )
        if decision is None or decision.action == "held":
            continue
        numbers = {**found.record(), **policy.model_dump(), "test": "sequential", "a": a, "b": b, "round": done.run_id}
        if decision.action == "promoted":
            promote(
                done.registry, key, b, command=COMMAND, reason=decision.reason, numbers=numbers, instead_of=a
            )
        else:
            release_challenger(done.registry, key, b, command=COMMAND, reason=decision.reason, numbers=numbers)
        done.decide(key, decision.action, b, decision.reason)


def train(done: Round) -> None:
    """Train what the retrain policy asks for."""
    plan = plan_training(done.config, alarms=alarms(done.registry))
    done.notes += plan.notes
    if not plan.tasks:
        done.failures += map(str, plan.problems)
        return
    with done.warm.up(), done.progress(len(plan.tasks), "training") as watch:
        done.keep("train", run_training(done.config, plan=plan, watch=watch))


def name_challengers(done: Round) -> None:
    """Let a first version be the champion, and a later one the challenger, where there is none."""
    grouped = done.config.model_trainer.group_by
    owners = {model_owner(one.exchange, one.symbol, grouped) for one in done.found.series}
    latest = {key_of(one): one["version"] for one in list_summaries(done.registry)}
    latest = {key: version for key, version in latest.items() if (key.exchange, key.symbol) in owners}
    known, aliases = read_state(done.registry).models, read_all_aliases(done.registry, latest)
    for key, version in latest.items():
        now = aliases.get(key)
        if now is None or now.champion is None:
            promote(done.registry, key, version, command=COMMAND, reason="the first version")
            done.decide(key, "promoted", version, "the first version")
        elif now.challenger is None and version > _tried(now.champion, known.get(key)):
            reason = "trained on later bars than the champion: held until it is decided"
            promote(done.registry, key, version, alias="challenger", command=COMMAND, reason=reason)
            done.decide(key, "held", version, reason)


def _tried(champion: str, known: WatchedModel | None) -> str:
    """Return the newest version that was champion or challenger: versions of a model sort by their age."""
    before = (known.tried, known.evidence.champion, known.evidence.challenger) if known else ()
    return max(champion, *filter(None, before), "")


def predict(done: Round) -> None:
    """Predict new bars by the champions, where that is asked for."""
    output = done.config.watch.predictions
    if output is None:
        return
    request = Request(output, version="champion")
    plan = plan_predictions(done.config, request)
    if plan.tasks:
        with done.warm.up(), done.progress(len(plan.tasks), "predicting") as watch:
            done.keep("predict", run_predictions(done.config, request, plan, watch=watch))


STAGES: Final[Mapping[str, Callable[[Round], None]]] = {
    "score": score,
    "decide": decide_all,
    "train": train,
    "name": name_challengers,
    "predict": predict,
}
