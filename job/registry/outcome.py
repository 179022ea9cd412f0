"""What became of a task: the record that travels from the workers to the run record and the terminal."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Final, Literal, Self

from job.core.keys import Key
from job.learning.fleet import cluster_us
from job.registry.catalog import summarize
from transforms.bars import duration_us

Status = Literal["trained", "predicted", "compared", "scored", "tuned", "current", "fresh_enough", "failed"]

NOT_KEPT: Final = frozenset({"cluster_us", "log_loss_delta", "summary"})
"""Fields that are no part of the run record."""


@dataclass(frozen=True)
class Outcome:
    """One task's result. `seconds` are wall, `peak_rss_mb` is the worker's so far, `error` is None on success.

    The worker `pid` on `node` was at it from `started_at` to `finished_at` (UTC, ISO 8601 to the ms; empty where that
    is not known, as of a task that nobody began), and wrote `bytes`: artifacts, or a file of predictions.
    `log_loss_delta` holds log-loss minus base-rate log-loss summed over clusters of the clock: {cluster: [rows, sum]}.
    A fleet's test rests on it; it is not part of the run record, nor is the length `cluster_us`, 0 where that is not
    known. `counts` are those of `transforms.samples`, and `gaps`
    is how gaps were understood, see `definition.describe_sampling`; both empty where that is not known. `blocks` counts
    the blocks of time that the interval of the skill rests on, 0 where that is not known. Under a retrain policy `why`
    says why a model was trained or not, and `until` until when it need not be: `bars`, the close of the bar with which
    there are enough new ones, and `time`, when its version is too old.
    """

    exchange: str
    symbol: str
    timeframe: str
    model_type: str
    status: Status
    version: str | None = None
    rows: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_rss_mb: float = 0.0
    attempts: int = 1
    node: str = ""
    pid: int = 0
    started_at: str = ""
    finished_at: str = ""
    bytes: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    gaps: str = ""
    scores: dict[str, float | bool | None] = field(default_factory=dict)
    blocks: int = 0
    error: dict[str, str] | None = None
    warnings: tuple[str, ...] = ()
    why: str = ""
    until: dict[str, str] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    log_loss_delta: dict[str, list[float]] = field(default_factory=dict)
    cluster_us: int = 0
    logged: ClassVar[tuple[str, ...]] = ()
    """Fields that the event log keeps, where they are known, beside those of any outcome."""

    @property
    def key(self) -> Key:
        """The model's identity."""
        return Key(self.exchange, self.symbol, self.timeframe, self.model_type)

    @property
    def error_message(self) -> str:
        """What went wrong, empty if nothing did."""
        return (self.error or {}).get("message", "")

    def record(self) -> dict[str, Any]:
        """Return what the run record keeps."""
        return {name: value for name, value in vars(self).items() if name not in NOT_KEPT}

    def to_json(self) -> str:
        """Return the whole outcome as JSON; `from_json` gives it back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Inverse of `to_json`."""
        fields = json.loads(text)
        return cls(**{**fields, "warnings": tuple(fields["warnings"])})


def failed(key: Key, error: BaseException | Mapping[str, str], *, where: str = "", attempts: int = 1) -> Outcome:
    """Return the outcome of a task that failed with `error`; `where` names the step."""
    described = (
        dict(error)
        if isinstance(error, Mapping)
        else {"type": type(error).__name__, "message": " ".join(str(error).split()), "where": where}
    )
    return replace(of(key, "failed"), error=described, attempts=attempts)


def of_version(key: Key, metadata: Mapping[str, Any]) -> Outcome:
    """Return the outcome of a committed version, from its metadata."""
    return replace(
        of(key, "trained"),
        version=metadata["version"],
        rows=metadata["data"]["samples"]["used"],
        bytes=sum(one["bytes"] for one in metadata.get("artefacts", {}).values() if isinstance(one, Mapping)),
        counts=metadata["data"]["samples"],
        gaps=metadata["data"].get("sampling", {}).get("gaps", ""),
        scores=metadata["scores"],
        blocks=metadata.get("stability", {}).get("holdout", {}).get("blocks", 0),
        warnings=tuple(metadata["warnings"]),
        summary=summarize(metadata),
        log_loss_delta=metadata["excess_log_loss"],
        cluster_us=version_cluster_us(key, metadata),
    )


def version_cluster_us(key: Key, metadata: Mapping[str, Any]) -> int:
    """Return the length of the clusters of a version's `excess_log_loss`, 0 where its label does not tell."""
    definition = metadata.get("label", {}).get("definition")
    horizon = definition.get("horizon") if isinstance(definition, Mapping) else None
    if not isinstance(horizon, int):
        return 0
    return cluster_us(horizon_bars=horizon, timeframe_us=duration_us(key.timeframe))


def current(stored: Outcome, *, latest: str) -> Outcome:
    """Return the outcome of a model that the registry already holds; says so if a later version hides it."""
    warnings = hidden_by(latest, stored.key, str(stored.version))
    return replace(stored, status="current", bytes=0, warnings=warnings, summary={}, log_loss_delta={})


def hidden_by(latest: str, key: Key, version: str) -> tuple[str, ...]:
    """Return what to warn of where a version is current, and another one is later."""
    if version == latest:
        return ()
    return (f"{key}: {version} is current, but {latest} is later: --force makes it the latest",)


def fresh_enough(stored: Outcome, *, latest: str, why: str, until: Mapping[str, str]) -> Outcome:
    """Return the outcome of a model whose version the retrain policy leaves as it is; why and until when."""
    hidden = (f"{stored.key}: {stored.version} is fresh enough, but {latest}, made otherwise, is later",)
    warnings = () if stored.version == latest else hidden
    return replace(
        stored,
        status="fresh_enough",
        bytes=0,
        warnings=warnings,
        why=why,
        until=dict(until),
        summary={},
        log_loss_delta={},
    )


def of(key: Key, status: Status) -> Outcome:
    """Return a bare outcome of `key`."""
    return Outcome(key.exchange, key.symbol, key.timeframe, key.model_type, status)
