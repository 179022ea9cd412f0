"""Tables of versions, of fleets and of decisions on versions, and how every table of the command line is made."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from job.cli.logs import log
from job.cli.selection import shell_name
from job.core.keys import Key
from job.learning.comparison import VERDICTS
from job.learning.metrics import scores_shown

SKILL_SCORES: Final = ("log_loss", "base_log_loss", "skill", "skill_low", "skill_high")
"""Scores that a version's details show first; the others that are marked as details follow."""
WIDE: Final = 200
"""Width of tables where stdout is no terminal."""
NUMERIC_COLUMNS: Final = {
    "#", "versions", "skill", "rows", "log-loss a", "log-loss b", "q", "models", *VERDICTS, "mean difference",
    "t", "p", "clusters", "adjusted p", "lookback", "warm-up", "measured", "ns a value",
}  # fmt: skip
DOUBTS: Final = {
    "*": "* underpowered: too few independent blocks to find a difference",
    "†": "† nothing is known of what another seed would change: train the version again",
    "‡": "‡ looked at before, and the fixed test is right at one look",
}
FEW_CLUSTERS: Final = "* underpowered: too few clusters of time to rely on t and p"
FLEET_IN_WORDS: Final = (
    "fleet {0}: {2} of {1} beat their base rate, change of log-loss {3}, t {4}, p {5}, clusters {6}, adjusted p {7}"
)
RUN_DIGITS: Final = 22
"""Length of a run's id, which is what tables show of a version."""

Columns = Sequence[tuple[str, Callable[[Any], str | Text]]]
"""Columns of a table: the name of each, and what it shows of a row."""


def console() -> Console:
    """Return a console on stdout: as wide as the terminal, or wide enough for all columns."""
    found = Console()
    return found if found.is_terminal else Console(width=WIDE)


def show_table(table: Table, row_in_words: str) -> None:
    """Print a table if stdout is a terminal; elsewhere log each of its rows as a line."""
    screen = console()
    if screen.is_terminal:
        screen.print(table)
        return
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        log.info("%s", row_in_words.format(*cells))


def number(value: float | None, digits: int) -> str:
    """Return a number as a table shows it."""
    return "n/a" if value is None else f"{value:.{digits}f}"


def probability(p: float | None) -> str:
    """Return the p of a test as a table shows it."""
    return "<0.001" if p is not None and p < 0.001 else number(p, 3)


def percent(share: float | None, *, absent: str = "n/a") -> str:
    """Return a share as a table shows it."""
    return absent if share is None else f"{share:+.2%}"


def clusters_in_words(row: Mapping[str, Any]) -> str:
    """Return over how many clusters a fleet was tested, marked if they are too few."""
    return f"{row['clusters']}{'*' if row['underpowered'] else ''}"


def tried_in_words(tried: Mapping[str, int]) -> str:
    """Return what was tried on some bars, from `ledger.Tried.record`; empty if nothing was."""
    names = {"settings": "tuned settings"}
    counted = [(count, names.get(name, name)) for name, count in tried.items() if count]
    counts = [f"{count:,} {name.removesuffix('s') if count == 1 else name}" for count, name in counted]
    return f"tried on these bars: {', '.join(counts)}" if tried["versions"] else ""


def best_in_words(best: Mapping[str, Any] | None) -> str:
    """Return which of several kinds is the best, and its p; empty where there are not several or nothing is known."""
    if best is None or best["models"] < 2 or best["p"] is None:
        return ""
    doubt = " (underpowered)" if best["underpowered"] else ""
    name = f"{best['model_type']} {best['timeframe']}"
    return f"the best of {best['models']} kinds is {name}: p {probability(best['p'])} allowing for all of them{doubt}"


def shared_in_words(shared: Mapping[str, Any]) -> str:
    """Return what is known of versions that share a holdout, from `Shared.record`."""
    told = [f"{len(shared['versions'])} versions on one holdout"]
    if shared["p"] is not None:
        doubt = " (underpowered)" if shared["underpowered"] else ""
        told.append(f"{shared['best']} beats its base rate with p {probability(shared['p'])}{doubt}")
    if shared["pbo"] is not None:
        told.append(f"the best on half of it is below the median on the other half in {shared['pbo']:.0%} (PBO)")
    return "; ".join(told)


def totals_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Table:
    """Return a table of text, in the first column, and numbers."""
    table = Table(title=title, title_justify="left")
    for position, name in enumerate(columns):
        table.add_column(name, justify="right" if position else "left")
    for cells in rows:
        table.add_row(*cells)
    return table


def text_table(columns: Columns, rows: Iterable[Any], *, caption: str = "") -> Table:
    """Return a table of text without a frame, in which numbers stand on the right, above a caption."""
    table = Table(box=box.SIMPLE_HEAD, caption=caption or None)
    for name, _ in columns:
        table.add_column(name, justify="right" if name in NUMERIC_COLUMNS else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell(row) for _, cell in columns))
    return table


def counted(name: str) -> Callable[[Any], str]:
    """Return the cell of a number that a row holds by this name."""
    return lambda row: str(row[name])


VERSIONS: Final[Columns] = (
    ("model", lambda row: Text(shell_name(key_in(row)))),
    ("versions", counted("versions")),
    ("latest", lambda row: run_id(row["latest"])),
    ("skill", lambda row: percent(row["latest"].get("skill"), absent="")),
    ("champion", lambda row: run_id(row["champion"] or {})),
    ("skill", lambda row: percent((row["champion"] or {}).get("skill"), absent="")),
    ("challenger", lambda row: run_id(row["challenger"] or {})),
)
"""Of a row of `models list`."""
DECISIONS: Final[Columns] = (
    ("#", lambda one: str(one["aliases"]["seq"])),
    ("at", lambda one: one["at"][:19]),
    ("by", lambda one: one["command"]),
    ("alias", lambda one: one["alias"]),
    ("from", lambda one: run_id({"version": one["before"] or ""})),
    ("to", lambda one: run_id({"version": one["after"] or ""})),
    ("reason", lambda one: Text(one["reason"])),
)
"""Of a decision on a model's aliases."""
COMPARISONS: Final[Columns] = (
    ("model", lambda row: Text(shell_name(key_in(row)))),
    ("rows", lambda row: f"{row['rows']:,}"),
    ("log-loss a", lambda row: f"{row['log_loss_a']:.5f}"),
    ("log-loss b", lambda row: f"{row['log_loss_b']:.5f}"),
    ("difference [{level:.4g}%]", lambda row: _interval("{:+.5f}".format, row["difference"], row["low"], row["high"])),
    ("q", lambda row: "" if row["q"] is None else f"{row['q']:.3f}"),
    ("verdict", lambda row: row["verdict"] + (f", {row['action']}" if row["action"] else "") + doubt(row)),
)
"""Of a comparison, from `ComparisonResult.record`; a difference below 0 says that b is better."""
FLEETS: Final[Columns] = (
    ("all models of a kind", lambda row: f"{row['model_type']} {row['timeframe']}"),
    ("models", counted("models")),
    *((verdict, counted(verdict.replace(" ", "_"))) for verdict in VERDICTS),
    ("mean difference", lambda row: f"{row['difference']:+.5f}"),
    ("t", lambda row: "" if row["t"] is None else f"{row['t']:+.1f}"),
    ("p", lambda row: probability(row["p"])),
    ("clusters", clusters_in_words),
    ("adjusted p", lambda row: probability(row["adjusted_p"])),
)
"""Of all comparisons of a kind and timeframe, from `compare.run.fleets`."""
FLEET: Final[Columns] = (
    ("model", lambda row: f"{row['model_type']} {row['timeframe']}"),
    ("models", counted("models")),
    ("beat base", counted("beat_base")),
    ("change", lambda row: number(row["change"], 5)),
    ("t", lambda row: number(row["t"], 1)),
    ("p", lambda row: probability(row["p"])),
    ("clusters", clusters_in_words),
    ("adjusted p", lambda row: probability(row["adjusted_p"])),
)
"""Of all models of a kind and timeframe, from the `fleet` of a training record."""


def fleet_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return one row per kind and timeframe, from the `fleet` of a training record."""
    title = "log-loss of all models of a kind less their base rates'; below 0 is skill"
    table = totals_table(title, [name for name, _ in FLEET], ([cell(row) for _, cell in FLEET] for row in rows))
    if any(row["underpowered"] for row in rows):
        table.caption, table.caption_justify = FEW_CLUSTERS, "left"
    return table


def doubt(row: Mapping[str, Any]) -> str:
    """Return the mark in `DOUBTS` of a comparison whose interval must not be relied on, empty for others."""
    if row["underpowered"] or row["seed_error"] is None:
        return "*" if row["underpowered"] else "†"
    return "‡" if row["test"] == "fixed" and row["looks"] > 1 else ""


def version_facts(described: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield name and text of what is most worth knowing about a version, from a row of `models show`."""
    metadata = described["metadata"]
    data, split, scores = metadata.get("data", {}), metadata.get("split", {}), metadata.get("scores", {})
    names = [alias for alias, version in described["aliases"].items() if version == described["version"]]
    yield "model", str(key_in(described))
    yield "version", described["version"] + (f" ({', '.join(names)})" if names else "")
    yield "created", f"{metadata.get('created_at')} by run {metadata.get('run_id')}"
    yield "bars", f"{data.get('first_bar')} to {data.get('last_bar')}, {data.get('samples', {}).get('used')} samples"
    if holdout := split.get("holdout"):
        yield "holdout", f"{holdout['test_from']} to {holdout['test_to']}, {holdout['test_rows']} samples"
    yield "label", str(metadata.get("label", {}).get("definition"))
    yield "algorithm", f"{metadata.get('algorithm', {}).get('name')}, by {metadata.get('engine', {}).get('name')}"
    if members := metadata.get("blend", {}).get("members"):
        told = [
            f"{name} {one['weight']:.2f} (log_loss {one['scores']['log_loss']:.4g})" for name, one in members.items()
        ]
        yield "blend of", ", ".join(told)
    if weights := metadata.get("weights"):
        counted = {name: weights[name] for name in ("uniqueness", "half_life_days")}
        yield "weights", f"{counted}, worth {weights['effective_rows']:,.0f} equal training rows"
    yield "features", ", ".join(feature["name"] for feature in metadata.get("features", []))
    ordered = dict.fromkeys([*SKILL_SCORES, *(score.name for score in scores_shown("details"))])
    yield "scores", ", ".join(f"{name} {scores[name]:.4g}" for name in ordered if scores.get(name) is not None)
    if counts := tried_in_words(described["tried"]):
        yield "tried", counts
    if shared := described["shared_holdout"]:
        yield "best of", shared_in_words(shared)
    if folds := metadata.get("stability", {}).get("folds"):
        yield "skill by fold", ", ".join(_interval(percent, one["value"], one["low"], one["high"]) for one in folds)
    calibration = metadata.get("calibration", {})
    if calibration.get("slope") is not None:
        found = {
            name: [calibration[f"{name}{end}"] for end in ("", "_low", "_high")] for name in ("slope", "intercept")
        }
        yield "calibration", ", ".join(f"{name} {_interval('{:+.2f}'.format, *of)}" for name, of in found.items())
    artifacts = [metadata["artefacts"][role] for role in ("model", "scaler")]
    yield "artifacts", ", ".join(f"{one['file']} ({one['bytes']:,} bytes)" for one in artifacts)
    yield from (("warning", warning) for warning in metadata.get("warnings", []))


def _interval(text: Callable[[float], str], value: float, low: float | None, high: float | None) -> str:
    """Return a number with the ends of its interval, where it has one."""
    return text(value) + ("" if low is None or high is None else f" [{text(low)}, {text(high)}]")


def key_in(row: Mapping[str, Any]) -> Key:
    """Return the key whose fields a record holds beside others."""
    return Key(row["exchange"], row["symbol"], row["timeframe"], row["model_type"])


def run_id(summary: Mapping[str, Any]) -> str:
    """Return the run that made a version, as tables show it, marked `gone` if the registry does not hold it anymore."""
    name: str = summary.get("version", "")[-RUN_DIGITS:]
    return f"{name} (gone)" if summary.get("missing") else name
