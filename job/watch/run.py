"""One round, from what is known of the input to its record: every stage begins with what the registry holds.

score → decide → train → name challengers → predict

A stage that fails leaves the others to be done, and what it left undone is done in the next round. So it is after a
kill, too: nothing that a stage needs is known to this process alone.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from job.cluster.operation import Operation
from job.compare.decisions import Decision, decide
from job.compare.plan import is_fresher
from job.core.environment import versions
from job.core.errors import ClusterError, JobError, RegistryError
from job.core.wording import on_one_line
from job.learning.judging import judge
from job.predict.plan import Request
from job.predict.plan import plan as plan_predictions
from job.predict.run import run as run_predictions
from job.registry.aliases import Aliases, last_decisions, read_all_aliases
from job.registry.catalog import key_of, list_summaries
from job.registry.listings import carry_growth
from job.registry.record import RunRecord
from job.registry.versions import read_metadata
from job.registry.watching import read_state, write_round, write_state
from job.storage.files import Storage
from job.train.freshness import UNREAD
from job.train.plan import plan as plan_training
from job.train.run import run as run_training
from job.watch.evidence import continued, updated
from job.watch.plan import ScoringPlan, read_both, series_of_models, why_useless
from job.watch.plan import plan as plan_scoring
from job.watch.record import Round
from job.watch.task import Scored, ScoringTask
from job.worker.messages import Job

log = logging.getLogger("job")

SCORING: Final = Operation[ScoringTask, Scored]("job.watch.pipeline", failed=Scored.failed)


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
            except Exception as error:  # a watcher goes on for years, whatever a library raises
                log.exception("%s failed in a way that was not foreseen", name)
                done.problems.append((name, JobError(f"{type(error).__name__}: {on_one_line(error)}")))
                done.warm.close()
        done.status = "failed" if done.problems else "finished"
    except KeyboardInterrupt:
        done.status = "interrupted"
        raise
    finally:
        write_round(done.registry, done.run_id, done.record())


def score(done: Round) -> None:
    """Score champions and challengers on bars that are new to them, and keep what that says."""
    state = read_state(done.registry)
    plan = plan_scoring(done.config, done.registry, state, done.found)
    done.failures += map(str, plan.failures.values())
    for key, (version, why) in plan.useless.items():
        done.change(key, version, Decision("given up", why))
    while plan.tasks:
        before, outcomes = state, _outcomes(done, plan)
        scored = updated(state, plan, outcomes, done.config.data)
        then = {**before.models, **plan.models}
        only = {key for key, one in scored.models.items() if one.again and not then[key].again}
        judged = judge({key: one.evidence for key, one in scored.models.items()}, alpha=done.config.promotion.alpha)
        models = {  # each champion with the time at which it was first seen to have decayed
            key: replace(one, alarm=(one.alarm or one.evidence.last) if judged[key].standing == "decayed" else None)
            for key, one in scored.models.items()
        }
        state = write_state(done.registry, replace(scored, models=models), run_id=done.run_id)
        carry_growth(done.registry, continued(before, state, outcomes))
        done.scored |= plan.models.keys()
        done.notes += [f"{key}: bars have changed that it was scored on: it is scored again" for key in sorted(only)]
        if not only:
            break
        plan = plan_scoring(done.config, done.registry, state, done.found, only=only)


def _outcomes(done: Round, plan: ScoringPlan) -> list[Scored]:
    record = RunRecord[Scored](
        done.run_id, done.config, operation="watch", planned=len(plan.tasks), statuses=("scored", "failed")
    )
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
    done.drift |= {one.key: one.drift for one in record.outcomes if one.drift and one.drift["unusual"]}
    return [*record.outcomes]


def decide_all(done: Round) -> None:
    """Promote challengers that are better, and give up those that are worse or stay undecided for too long."""
    models = read_state(done.registry).models
    policy = done.config.promotion.model_copy(update={"patience_days": done.config.watch.patience_days})
    done.judged = judge({key: one.evidence for key, one in models.items()}, alpha=policy.alpha, margin=policy.margin)
    aliases = read_all_aliases(done.registry, models)
    for key, found in done.judged.items():
        (a, b), challenge = models[key].versions, models[key].evidence.challenge
        now = aliases.get(key, Aliases())
        if found.verdict is None or challenge is None or (a, b) != (now.champion, now.challenger):
            continue
        try:
            fresher = policy.policy == "fresher" and is_fresher(
                key, *(read_metadata(done.registry, key, version) for version in (a, challenge.version))
            )
        except RegistryError as error:  # a version that is gone or damaged; other models are decided all the same
            done.failures.append(str(error))
            continue
        decision = decide(
            found.verdict,
            challenge.days,
            policy,
            fresher=fresher,
            challenger=True,
            decidable=challenge.seeds is not None,
        )
        if decision is not None and decision.action != "held":
            numbers = {**found.record(), **policy.model_dump(), "test": "sequential", "a": a, "round": done.run_id}
            done.change(key, challenge.version, decision, numbers=numbers, instead_of=a)


def train(done: Round) -> None:
    """Train what the retrain policy asks for.

    What can only be told by reading bars is asked once they were read in this round, or there is no champion to score.
    """
    plan = plan_training(done.config)
    later = {task.key for task in plan.tasks if task.why == UNREAD} - done.scored
    scorable = {key for key, one in read_state(done.registry).models.items() if not one.again}
    plan = replace(plan, tasks=tuple(task for task in plan.tasks if task.key not in later & scorable))
    done.notes += plan.notes
    if not plan.tasks:
        done.failures += map(str, plan.problems)
        return
    with done.warm.up(), done.progress(len(plan.tasks), "training") as watch:
        done.keep("train", run_training(done.config, plan=plan, watch=watch))


def name_challengers(done: Round) -> None:
    """Let a first version be the champion, and a later one the challenger, where there is none.

    A version of another label than the champion is no challenger: which is better cannot be told.
    """
    latest = {key_of(one): one["version"] for one in list_summaries(done.registry)}
    wanted = series_of_models(done.config, latest, done.found)
    known, aliases = read_state(done.registry).models, read_all_aliases(done.registry, wanted)
    for key in wanted:
        now, version = aliases.get(key, Aliases()), latest[key]
        if now.champion is None:
            done.change(key, version, Decision("promoted", "the first version"))
        elif now.challenger is None and version > max(now.champion, known[key].tried or "" if key in known else ""):
            try:
                useless = why_useless(read_both(done.registry, key, replace(now, challenger=version)))
            except RegistryError as error:
                done.failures.append(str(error))
                continue
            if useless:
                done.notes.append(f"{key}: {version} is no challenger, {useless}: promote it with `models promote`")
            else:
                done.change(key, version, Decision("held", "a later version than the champion"))


def face(done: Round) -> None:
    """Let the evidence on models with a new champion or challenger begin, as the next round would."""
    if changed := {one.key for one in done.changes}:
        state = read_state(done.registry)
        plan = plan_scoring(done.config, done.registry, state, done.found, only=changed)
        write_state(done.registry, replace(state, models={**state.models, **plan.models}), run_id=done.run_id)


def predict(done: Round) -> None:
    """Predict new bars by the champions, where that is asked for."""
    output = done.config.watch.predictions
    if output is None:
        return
    done.decisions = decided(done.registry)
    request = Request(output, version="champion")
    plan = plan_predictions(done.config, request)
    if not plan.tasks:
        refused = [f"{one.key}: {one.error_message}" for one in plan.settled if one.error]
        done.failures += [*refused, *map(str, plan.problems)]
        return
    with done.warm.up(), done.progress(len(plan.tasks), "predicting") as watch:
        done.keep("predict", run_predictions(done.config, request, plan, watch=watch))


def decided(registry: Storage) -> str:
    """Return the digest of all decisions on champions and challengers so far."""
    return hashlib.sha256(json.dumps(last_decisions(registry), sort_keys=True).encode()).hexdigest()


STAGES: Final[Mapping[str, Callable[[Round], None]]] = {
    "score": score,
    "decide": decide_all,
    "train": train,
    "name": name_challengers,
    "face": face,
    "predict": predict,
}
