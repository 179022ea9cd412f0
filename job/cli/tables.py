"""What a person sees of stored versions, and of the decisions on them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from job.core.keys import Key
from job.learning.metrics import scores_shown

SKILL_SCORES: Final = ("log_loss", "base_log_loss", "skill", "skill_low", "skill_high")
"""Scores that are told first of a version; others that say so follow."""
WIDE: Final = 200
"""Width of tables where no terminal tells its own."""
RIGHT: Final = {
    "#", "versions", "skill", "rows", "log-loss a", "log-loss b", "q", "models", "better", "worse", "no difference",
    "mean difference", "z",
}  # fmt: skip
"""Columns of numbers."""
RUN_DIGITS: Final = 22
"""Length of a run's id, which is how tables tell versions of one model apart."""


def versions_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """Return one row a model, from `describe_model`."""
    table = _table("model", "versions", "latest", "skill", "champion", "skill", "challenger")
    for row in rows:
        key = Key(row["exchange"], row["symbol"], row["timeframe"], row["model_type"])
        latest, champion, challenger = row["latest"], row["champion"] or {}, row["challenger"] or {}
        table.add_row(
            Text(f"{key.folder}/{key.stem}"),
            str(row["versions"]),
            run_id(latest),
            percent(latest.get("skill")),
            run_id(champion),
            percent(champion.get("skill")),
            run_id(challenger),
        )
    return table


def history_table(decisions: Sequence[Mapping[str, Any]]) -> Table:
    """Return one row a decision on a model's aliases, the last one last."""
    table = _table("#", "at", "by", "alias", "from", "to", "reason")
    for one in decisions:
        before, after = ({"version": one[name] or ""} for name in ("before", "after"))
        table.add_row(
            str(one["aliases"]["seq"]), one["at"][:19], one["command"], one["alias"], run_id(before), run_id(after),
            Text(one["reason"]),
        )  # fmt: skip
    return table


def comparison_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return one row a comparison, from `ComparisonResult.record`; a difference below 0 says that b is better."""
    table = _table("model", "rows", "log-loss a", "log-loss b", "difference [95%]", "q", "verdict")
    for row in rows:
        key = Key(row["exchange"], row["symbol"], row["timeframe"], row["model_type"])
        interval = "" if row["low"] is None else f" [{row['low']:+.5f}, {row['high']:+.5f}]"
        table.add_row(
            Text(f"{key.folder}/{key.stem}"),
            f"{row['rows']:,}",
            f"{row['log_loss_a']:.5f}",
            f"{row['log_loss_b']:.5f}",
            f"{row['difference']:+.5f}{interval}",
            "" if row["q"] is None else f"{row['q']:.3f}",
            row["verdict"] + (", promoted" if row["promoted"] else "") + ("*" if row["underpowered"] else ""),
        )
    if any(row["underpowered"] for row in rows):
        table.caption = "* underpowered: too few independent blocks to find a difference"
    return table


def fleets_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """Return one row a kind and timeframe, from `comparison_run.fleets`."""
    table = _table("all models of a kind", "models", "better", "worse", "no difference", "mean difference", "z")
    for row in rows:
        table.add_row(
            f"{row['model_type']} {row['timeframe']}",
            *(str(row[name]) for name in ("models", "better", "worse", "no_difference")),
            f"{row['difference']:+.5f}",
            "" if row["z"] is None else f"{row['z']:+.1f}",
        )
    return table


def console() -> Console:
    """Return what prints to stdout: as wide as the terminal, or wide enough for all columns."""
    redact_url = Console()
    return redact_url if redact_url.is_terminal else Console(width=WIDE)


def version_facts(redact_url: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is most worth knowing of a version, by name; the JSON has all of it."""
    metadata = redact_url["metadata"]
    data, split, scores = metadata.get("data", {}), metadata.get("split", {}), metadata.get("scores", {})
    names = [alias for alias, version in redact_url["aliases"].items() if version == redact_url["version"]]
    key = Key(redact_url["exchange"], redact_url["symbol"], redact_url["timeframe"], redact_url["model_type"])
    yield "model", str(key)
    yield "version", redact_url["version"] + (f" ({', '.join(names)})" if names else "")
    yield "created", f"{metadata.get('created_at')} by run {metadata.get('run_id')}"
    yield "bars", f"{data.get('first_bar')} to {data.get('last_bar')}, {data.get('samples', {}).get('used')} samples"
    if holdout := split.get("holdout"):
        yield "holdout", f"{holdout['test_from']} to {holdout['test_to']}, {holdout['test_rows']} samples"
    yield "label", str(metadata.get("label", {}).get("definition"))
    yield "algorithm", f"{metadata.get('algorithm', {}).get('name')}, by {metadata.get('engine', {}).get('name')}"
    yield "features", ", ".join(feature["name"] for feature in metadata.get("features", []))
    ordered = dict.fromkeys([*SKILL_SCORES, *(score.name for score in scores_shown("details"))])
    yield "scores", ", ".join(f"{name} {scores[name]:.4g}" for name in ordered if scores.get(name) is not None)
    artifacts = [metadata["artefacts"][role] for role in ("model", "scaler")]
    yield "artefacts", ", ".join(f"{one['file']} ({one['bytes']:,} bytes)" for one in artifacts)
    yield from (("warning", warning) for warning in metadata.get("warnings", []))


def run_id(summary: Mapping[str, Any]) -> str:
    """Return the run of a version, by which a table tells it; `gone` where the registry holds it no more."""
    name: str = summary.get("version", "")[-RUN_DIGITS:]
    return f"{name} (gone)" if summary.get("missing") else name


def percent(share: float | None) -> str:
    """Return a share as a table shows it."""
    return "" if share is None else f"{share:+.2%}"


def _table(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for name in names:
        table.add_column(name, justify="right" if name in RIGHT else "left", overflow="fold")
    return table
