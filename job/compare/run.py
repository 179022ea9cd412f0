"""Comparing versions from their plan to the verdicts: kept in the registry, and acted upon where that is asked for."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from job.cluster.operation import Operation
from job.compare.plan import ComparisonPlan
from job.compare.task import Compared, ComparisonTask
from job.config.settings import Config, PromotionSettings
from job.core.environment import versions
from job.core.errors import ConfigError, DataError, JobError, RegistryError
from job.core.keys import Key, kind_order
from job.learning.comparison import Comparison, Verdict, false_discovery, verdict
from job.learning.fleet import fleet_z
from job.registry.comparisons import overlapping, write_comparison
from job.registry.promote import promote
from job.registry.record import RunRecord
from job.registry.versions import new_run_id
from job.storage.files import Storage
from job.worker.messages import Job

KINDS: Final = {kind.__name__: kind for kind in (ConfigError, DataError, RegistryError)}
"""Errors whose status survives the way from a worker."""
NORMAL_95: Final = 1.96


@dataclass(frozen=True)
class ComparisonResult:
    """A comparison with its verdict among all that were made with it.

    `q` is the Diebold-Mariano test's p after false-discovery control, `earlier` how many comparisons of the model's
    versions had used rows of the same stretch. `error` says why there is no verdict, or why it was not acted upon.
    """

    compared: Compared
    verdict: Verdict | None = None
    q: float | None = None
    earlier: int = 0
    promoted: bool = False
    error: JobError | None = None

    @property
    def key(self) -> Key:
        """The model."""
        return self.compared.key

    def numbers(self) -> dict[str, Any]:
        """Return what the decision rests on, as JSON values."""
        comparison = self.compared.comparison
        return {
            **(comparison.record() if comparison else {}),
            "q": self.q,
            "seed_error": self.compared.seed_error,
            "verdict": self.verdict,
            "first": self.compared.first,
            "last": self.compared.last,
            "only_a": self.compared.only_a,
            "only_b": self.compared.only_b,
            "earlier_comparisons": self.earlier,
            **({"trading": self.compared.trading} if self.compared.trading else {}),
        }

    def record(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        versions = {"a": self.compared.a, "b": self.compared.b}
        error = str(self.error) if self.error else None
        return {
            **asdict(self.key), **versions, **self.numbers(), "promoted": self.promoted, "error": error,
            "warnings": list(self.compared.warnings),
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
        promote_winners: let the champion be version b where `promotion.policy` allows it.
        watch: sees each comparison as it arrives.

    Raises:
        ConfigError: Ray cannot be started or joined, or a node cannot be used; nothing was compared.
        RegistryError: the registry cannot be written.
    """
    run_id = new_run_id(datetime.now(UTC))
    record = RunRecord[Compared](
        run_id, config, planned=len(plan.tasks), statuses=("compared", "failed"), about={"models": registry.url}
    )
    if plan.tasks:
        from job.cluster.session import run_tasks  # noqa: PLC0415 - Ray takes seconds to import

        job = Job(run_id=run_id, config=config, output=registry.url, versions=versions())
        run_tasks(plan.tasks, job, COMPARING, record, watch=watch)
        if record.status != "running":
            return record, []
    record.finish("finished")
    judged = judge(sorted(record.outcomes, key=lambda one: one.key), alpha=config.promotion.alpha)
    policy = config.promotion
    return record, [
        _conclude(one, plan, registry, policy, run_id=run_id, promote_winners=promote_winners) for one in judged
    ]


def judge(outcomes: Sequence[Compared], *, alpha: float) -> list[ComparisonResult]:
    """Give each comparison its verdict, at a share of `alpha` of false ones among those that find a difference."""
    q_values = false_discovery([one.comparison.dm_p if one.comparison else None for one in outcomes])
    results = []
    for outcome, q in zip(outcomes, q_values, strict=True):
        if outcome.comparison is None:
            error = outcome.error or {"type": "", "message": f"{outcome.key}: nothing is known of its comparison"}
            result = ComparisonResult(outcome, error=KINDS.get(error["type"], JobError)(error["message"]))
        else:
            widened = widen_for_seed_variance(outcome.comparison, outcome.seed_error)
            result = ComparisonResult(outcome, verdict(widened, q, alpha=alpha), q)
        results.append(result)
    return results


def widen_for_seed_variance(comparison: Comparison, seed_error: float) -> Comparison:
    """Return a comparison with its interval widened by what another seed of the same forests would change.

    Two forests that differ by seed only are two models, and enough rows tell which of them is better. That is luck of
    the draw and no reason to promote, so its variance is added to that of the rows.
    """
    if comparison.low is None or comparison.high is None:
        return comparison
    half = math.hypot((comparison.high - comparison.low) / 2, NORMAL_95 * seed_error)
    return replace(comparison, low=comparison.difference - half, high=comparison.difference + half)


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
    one = replace(one, earlier=overlapping(registry, one.key, first=first, last=last))
    fresher = one.key in plan.fresher
    reason = reason_to_promote(one.verdict, policy, fresher=fresher) if promote_winners else None
    write_comparison(registry, one.key, run_id, {**one.record(), "reason": reason}, first=first, last=last)
    if reason is None:
        return one
    numbers = {**one.numbers(), **policy.model_dump(), "fresher": fresher, "comparison": run_id, "a": one.compared.a}
    try:
        promote(
            registry,
            one.key,
            one.compared.b,
            command="compare",
            reason=reason,
            numbers=numbers,
            instead_of=one.compared.a,
        )
    except RegistryError as error:
        return replace(one, error=error)
    return replace(one, promoted=True)


def reason_to_promote(found: Verdict | None, policy: PromotionSettings, *, fresher: bool) -> str | None:
    """Return why version b becomes the champion, None where it does not."""
    if found == "better":
        return f"significantly better than the champion (alpha {policy.alpha:g})"
    if policy.policy == "fresher" and found == "no difference" and fresher:
        return f"trained on later bars and not significantly worse (alpha {policy.alpha:g})"
    return None


def fleets(results: Sequence[ComparisonResult]) -> list[dict[str, Any]]:
    """Return how many models of each kind and timeframe have which verdict, and the clustered z of the difference."""
    kinds: dict[tuple[str, str], list[ComparisonResult]] = {}
    for one in results:
        if one.verdict is not None:
            kinds.setdefault((one.key.model_type, one.key.timeframe), []).append(one)
    rows = []
    for own in sorted(kinds.values(), key=lambda own: kind_order(own[0].key)):
        found = fleet_z([one.compared.log_loss_delta for one in own])
        verdicts = [one.verdict for one in own]
        row = {
            "model_type": own[0].key.model_type,
            "timeframe": own[0].key.timeframe,
            "models": len(own),
            **{name.replace(" ", "_"): verdicts.count(name) for name in ("better", "worse", "no difference")},
            "difference": found.mean,
            "z": None if math.isnan(found.z) else found.z,
            "clusters": found.clusters,
        }
        rows.append(row)
    return rows
