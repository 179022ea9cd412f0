"""Comparing versions from their plan to the verdicts: kept in the registry, and acted upon where that is asked for."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from job.cluster.operation import Operation
from job.compare.decisions import Action, carry_out, decide
from job.compare.plan import ComparisonPlan
from job.compare.task import Compared, ComparisonTask
from job.config.settings import Config, PromotionSettings
from job.core.environment import versions
from job.core.errors import ConfigError, DataError, JobError, RegistryError
from job.core.keys import Key, by_kind
from job.learning.comparison import VERDICTS, Verdict, false_discovery, verdict
from job.learning.fleet import LogLossDelta, add_log_loss_delta, fleet_of_one, fleet_test
from job.learning.multiplicity import Clusters, best_of
from job.registry.aliases import read_aliases
from job.registry.comparisons import overlapping, write_comparison
from job.registry.record import RunRecord
from job.registry.versions import new_run_id
from job.storage.files import Storage
from job.worker.messages import Job

KINDS: Final = {kind.__name__: kind for kind in (ConfigError, DataError, RegistryError)}
"""Errors whose status survives the way from a worker."""


@dataclass(frozen=True)
class ComparisonResult:
    """A comparison with its verdict among all that were made with it.

    `q` is its p after false-discovery control, `earlier` how many comparisons of the model's versions had used rows of
    the same stretch, `watched` whether `watch` looks at these two versions, too. `action` is what became of version b,
    None if nothing. `error` says why there is no verdict, or why it was not acted upon.
    """

    compared: Compared
    verdict: Verdict | None = None
    q: float | None = None
    earlier: int = 0
    action: Action | None = None
    error: JobError | None = None
    watched: bool = False

    @property
    def key(self) -> Key:
        """The model."""
        return self.compared.key

    @property
    def looks(self) -> int:
        """How many comparisons of these two versions rest on the same evidence, this one included."""
        return self.compared.evidence.looks if self.compared.evidence is not None else 1

    def doubts(self) -> Iterator[str]:
        """Yield what makes a verdict less sure than it says: how often its bars were looked at before."""
        found = self.compared.comparison
        if found is not None and found.test == "fixed" and self.looks > 1:
            yield (
                f"look {self.looks} at these two versions, and the fixed test is right at one: "
                "set promotion.test: sequential to look as often as you like"
            )
        if found is not None and found.test == "fixed" and self.watched:
            yield (
                "`watch` looks at these two versions in each round, beside the looks counted here: its verdict stays "
                "right, a fixed test of the same bars does not"
            )
        if (others := self.earlier - self.looks + 1) > 0:
            yield f"{others} earlier comparisons of other versions used some of these rows"

    def numbers(self) -> dict[str, Any]:
        """Return what the decision rests on, as JSON values."""
        comparison = self.compared.comparison
        return {
            **(comparison.record() if comparison else {}),
            "q": self.q,
            "verdict": self.verdict,
            "first": self.compared.first,
            "last": self.compared.last,
            "only_a": self.compared.only_a,
            "only_b": self.compared.only_b,
            "earlier_comparisons": self.earlier,
            "looks": self.looks,
            "watched": self.watched,
            **({"trading": self.compared.trading} if self.compared.trading else {}),
        }

    def record(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        versions = {"a": self.compared.a, "b": self.compared.b}
        error = str(self.error) if self.error else None
        return {
            **asdict(self.key), **versions, **self.numbers(), "promoted": self.action == "promoted",
            "action": self.action, "error": error, "warnings": [*self.compared.warnings, *self.doubts()],
        }  # fmt: skip


COMPARING: Final = Operation[ComparisonTask, Compared]("job.compare.pipeline", failed=Compared.failed)


def run(
    config: Config,
    registry: Storage,
    plan: ComparisonPlan,
    *,
    promote_winners: bool,
    watch: Callable[[Compared], None],
) -> tuple[RunRecord[Compared], list[ComparisonResult]]:
    """Make the comparisons of a plan, judge them together, keep them in the registry, and promote where asked to.

    A run that ends early is not judged: false discoveries are controlled over all comparisons or not at all.

    Args:
        config: settings.
        registry: of the models; it has been found to be writable.
        plan: which versions to compare, on which bars.
        promote_winners: let the champion be version b where `promotion.policy` allows it, and the challenger while
            that is undecided.
        watch: sees each comparison as it arrives.

    Raises:
        ConfigError: Ray cannot be started or joined, or a node cannot be used; nothing was compared.
        RegistryError: the registry cannot be written.
    """
    run_id = new_run_id(datetime.now(UTC))
    record = RunRecord[Compared](
        run_id,
        config,
        operation="compare",
        planned=len(plan.tasks),
        statuses=("compared", "failed"),
        about={"models": registry.url},
    )
    if plan.tasks:
        from job.cluster.session import run_tasks  # noqa: PLC0415 - Ray takes seconds to import

        job = Job(run_id=run_id, config=config, output=registry.url, versions=versions(), fleet=plan.fleet)
        run_tasks(plan.tasks, job, COMPARING, record, watch=watch)
        if record.status != "running":
            return record, []
    record.finish("finished")
    judged = judge(sorted(record.outcomes, key=lambda one: one.key), margin=config.promotion.margin)
    policy = config.promotion
    return record, [
        _conclude(one, plan, registry, policy, run_id=run_id, promote_winners=promote_winners) for one in judged
    ]


def judge(outcomes: Sequence[Compared], *, margin: float) -> list[ComparisonResult]:
    """Give each comparison its verdict, at a share of alpha of false ones among those that are better."""
    ps = [one.comparison.p if one.comparison else None for one in outcomes]
    es = [one.comparison.e if one.comparison else None for one in outcomes]
    # What goes through Benjamini and Hochberg: 1 / e in place of p, where there is an e-value, makes it e-BH.
    q_values = false_discovery([p if e is None or p is None else min(1.0, 1 / e) for p, e in zip(ps, es, strict=True)])
    results = []
    for outcome, q in zip(outcomes, q_values, strict=True):
        if outcome.comparison is None:
            error = outcome.error or {"type": "", "message": f"{outcome.key}: nothing is known of its comparison"}
            result = ComparisonResult(outcome, error=KINDS.get(error["type"], JobError)(error["message"]))
        else:
            result = ComparisonResult(outcome, verdict(outcome.comparison, q, margin=margin), q)
        results.append(result)
    return results


def _conclude(
    one: ComparisonResult,
    plan: ComparisonPlan,
    registry: Storage,
    policy: PromotionSettings,
    *,
    run_id: str,
    promote_winners: bool,
) -> ComparisonResult:
    """Keep a comparison in the registry and act upon it."""
    if one.error is not None:
        return one
    first, last = (datetime.fromisoformat(time) for time in (one.compared.first, one.compared.last))
    one = replace(one, earlier=overlapping(registry, one.key, first=first, last=last), watched=one.key in plan.watched)
    fresher, evidence, decision = one.key in plan.fresher, one.compared.evidence, None
    if promote_winners and one.compared.comparison is not None:
        challenger = read_aliases(registry, one.key).challenger == one.compared.b
        days = evidence.days if evidence is not None else 0.0
        decidable = one.compared.comparison.seed_error is not None
        decision = decide(one.verdict, days, policy, fresher=fresher, challenger=challenger, decidable=decidable)
    about = {
        **one.record(),
        "reason": None if decision is None else decision.reason,
        "evidence": None if evidence is None else asdict(evidence),
    }
    write_comparison(registry, one.key, run_id, about, first=first, last=last)
    if decision is None:
        return one
    a, b = one.compared.a, one.compared.b
    numbers = {**one.numbers(), **policy.model_dump(), "fresher": fresher, "comparison": run_id, "a": a}
    try:
        carry_out(decision, registry, one.key, b, command="compare", numbers=numbers, instead_of=a)
    except RegistryError as error:
        return replace(one, error=error)
    return replace(one, action=decision.action)


def fleets(results: Sequence[ComparisonResult]) -> list[dict[str, Any]]:
    """Return how many models of each kind and timeframe have which verdict, and the test of the mean difference.

    A single model has the test of its own interval. `adjusted_p` is one-sided, that b is better, and allows for all
    kinds.
    """
    kinds = [*by_kind(one for one in results if one.verdict is not None).values()]
    clusters: list[Clusters] = []
    for own in kinds:
        totals: LogLossDelta = {}
        for one in own:
            add_log_loss_delta(totals, one.compared.log_loss_delta)
        clusters.append((own[0].compared.cluster_us, totals))
    rows = []
    for own, adjusted_p in zip(kinds, best_of(clusters).adjusted, strict=True):
        found = fleet_test([one.compared.log_loss_delta for one in own])
        if len(own) == 1 and (only := own[0].compared.comparison) is not None:
            found = fleet_of_one(only.difference, only.p, only.blocks)
        verdicts = [one.verdict for one in own]
        row = {
            "model_type": own[0].key.model_type,
            "timeframe": own[0].key.timeframe,
            "models": len(own),
            **{name.replace(" ", "_"): verdicts.count(name) for name in VERDICTS},
            "difference": found.mean,
            **found.record(),
            "adjusted_p": adjusted_p,
        }
        rows.append(row)
    return rows
