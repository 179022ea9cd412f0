"""The run record: what a run was asked, what became of every task, kept in the registry while it runs."""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Final

from job.config.settings import Config
from job.core.keys import kind_order
from job.learning.fleet import LogLossDelta, add_log_loss_delta, fleet_of_one, fleet_test, p_of_interval
from job.learning.multiplicity import best_of
from job.registry.kept_record import KeptRecord
from job.registry.ledger import Tried
from job.registry.outcome import Outcome, Status
from job.storage.files import Storage

STATUSES: Final[tuple[Status, ...]] = ("trained", "current", "fresh_enough", "failed")


@dataclass
class Fleet:
    """The trained models of one kind and timeframe, added up: what each adds does not grow with their number."""

    model_type: str
    timeframe: str
    models: int = 0
    beat_base: int = 0
    log_loss_delta: LogLossDelta = field(default_factory=dict)
    cluster_us: int = 0
    """Length of the clusters; all models of a kind and timeframe have one label."""
    last: Outcome | None = None
    """The model that was added last: all there is to a fleet of one."""

    def add(self, outcome: Outcome) -> None:
        """Count one trained model."""
        self.models += 1
        self.beat_base += (outcome.scores["skill"] or 0.0) > 0
        self.last, self.cluster_us = outcome, outcome.cluster_us
        add_log_loss_delta(self.log_loss_delta, outcome.log_loss_delta)

    def scores(self) -> dict[str, Any]:
        """Return how many models beat their base rate, and the clustered test.

        Symbols move together, so a count of winners alone overstates the evidence. A single model has the test of its
        own interval, which it never contradicts.
        """
        found = fleet_test([self.log_loss_delta])
        if self.models == 1 and self.last is not None and self.last.blocks:
            saved, low, high = (self.last.scores[f"skill{end}"] for end in ("", "_low", "_high"))
            p = p_of_interval(saved or 0.0, low, high, self.last.blocks)
            found = fleet_of_one(found.mean, p, self.last.blocks)
        return {
            "model_type": self.model_type,
            "timeframe": self.timeframe,
            "models": self.models,
            "beat_base": self.beat_base,
            "change": None if math.isnan(found.mean) else found.mean,
            **found.record(),
        }


class TrainingRecord(KeptRecord[Outcome]):
    """The record of one training run."""

    def __init__(self, run_id: str, config: Config, registry: Storage, *, planned: int) -> None:
        super().__init__(run_id, config, registry, operation="train", planned=planned, statuses=STATUSES, kind=Outcome)
        self._hidden = 0
        self._fleets: dict[tuple[str, str], Fleet] = {}
        self.tried = Tried()
        """What was tried on the bars by which the trained models are judged, known at the end."""

    def add(self, outcome: Outcome) -> Outcome:
        """Take an outcome and return it as it is kept.

        Its `log_loss_delta` is added to its fleet's and dropped, since it has an entry for every hour of the holdout.
        """
        with self._lock:
            if outcome.status == "trained":
                kind = (outcome.model_type, outcome.timeframe)
                self._fleets.setdefault(kind, Fleet(*kind)).add(outcome)
            self._hidden += outcome.status == "current" and bool(outcome.warnings)
            return super().add(replace(outcome, log_loss_delta={}) if outcome.log_loss_delta else outcome)

    @property
    def counts(self) -> dict[str, int]:
        """Outcomes by status; `current_not_latest` are current ones that a later version hides."""
        return {**super().counts, "current_not_latest": self._hidden}

    def as_dict(self, *, first: int = 0) -> dict[str, Any]:
        """Return the record as JSON values, with what the fleet of each kind scores, and the best of them all.

        `adjusted_p` of a fleet and `best` say whether it is better than its base rates, allowing for the others; they
        are there once the run is over, as is what was `tried` on these bars. `best` is null where there is no fleet.
        """
        with self._lock:
            fleets = sorted(self._fleets.values(), key=kind_order)
            rows, found = [fleet.scores() for fleet in fleets], {}
            if self.status != "running":
                best = best_of([(one.cluster_us, one.log_loss_delta if one.cluster_us else {}) for one in fleets])
                rows = [{**row, "adjusted_p": p} for row, p in zip(rows, best.adjusted, strict=True)]
                top = best.best
                named = {name: None if top is None else rows[top][name] for name in ("model_type", "timeframe")}
                found = {"best": {**named, **best.record()} if rows else None, "tried": self.tried.record()}
        return {**super().as_dict(first=first), "fleet": rows, **found}
