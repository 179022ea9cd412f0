"""A run as a notebook sees it: its scores as a table, its models to predict with, frames of bars as its input."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Final, TypeVar

import pandas as pd
import polars as pl

from job.api.frames import plain_frame, predict_bars
from job.api.html import run_as_html
from job.config.settings import Config
from job.core.errors import ConfigError, RegistryError
from job.core.keys import Key
from job.core.wording import first_of
from job.registry.catalog import open_registry
from job.registry.outcome import Outcome
from job.worker.scorer import Scorer, load_scorer

Frame = TypeVar("Frame", pl.DataFrame, pd.DataFrame)

REPORT: Final = ("job.report.theme:check_extra", "job.report.write:report_of")
"""What says that the libraries of reports are absent, and what makes one; imported by those who ask for it."""
UNNAMED: Final = "frame"
"""The exchange of a frame that names none."""


class Metadata(dict[str, Any]):
    """The metadata of a version, as its JSON has them; shown, they are a line."""

    def __repr__(self) -> str:
        scores, data = self.get("scores") or {}, self.get("data") or {}
        shown = ", ".join(
            f"{name} {scores[name]:.4f}" for name in ("log_loss", "base_log_loss", "skill") if name in scores
        )
        bars = f"bars {data.get('first_bar')} to {data.get('last_bar')}"
        return f"Metadata({self.get('version')}: {len(self.get('features') or ())} features, {bars}; {shown})"


class TrainedModel:
    """A version in the registry, loaded with all checks when it is first used."""

    def __init__(self, config: Config, key: Key, version: str) -> None:
        self._config = config
        self.key = key
        self.version = version

    def __repr__(self) -> str:
        return f"TrainedModel({self.key}, {self.version})"

    @cached_property
    def _scorer(self) -> Scorer:
        return load_scorer(open_registry(self._config), self.key, self.version, data=self._config.data)

    @property
    def metadata(self) -> Metadata:
        """What the registry knows of the version."""
        return Metadata(self._scorer.metadata)

    def predict(self, bars: Frame) -> Frame:
        """Predict bars of the model's series; see `RayModelTrainer.predict`."""
        return predict_bars(bars, self._scorer, self._config.data)


@dataclass(frozen=True, repr=False)
class Run:
    """A finished run.

    Args:
        config: its settings.
        record: the run record.
        outcomes: one for each model that was planned and not left undone.
    """

    config: Config
    record: Mapping[str, Any]
    outcomes: tuple[Outcome, ...]

    def __repr__(self) -> str:
        counts = ", ".join(f"{number} {status}" for status, number in self.record["counts"].items() if number)
        return f"Run({self.record['run_id']} {self.record['status']}: {counts or 'no models'})"

    def _repr_html_(self) -> str:
        return run_as_html(self.record, self.outcomes)

    def to_polars(self) -> pl.DataFrame:
        """Return a row for each model.

        Columns: exchange, symbol, timeframe, model_type, status, version, rows, seconds, the scores (see the run
        record), and error, which is null where there is none.
        """
        columns = ("exchange", "symbol", "timeframe", "model_type", "status", "version", "rows", "seconds")
        names = dict.fromkeys(name for one in self.outcomes for name in one.scores)
        rows = [
            {
                **{name: getattr(one, name) for name in columns},
                **{name: one.scores.get(name) for name in names},
                "error": one.error_message or None,
            }
            for one in self.outcomes
        ]
        return pl.DataFrame(rows, infer_schema_length=None)

    def model(
        self, symbol: str, timeframe: str, *, model_type: str | None = None, exchange: str | None = None
    ) -> TrainedModel:
        """Return the version that the run trained, or found current; kind and exchange where there are several.

        Raises:
            RegistryError: there is none, or there are several; the message lists them.
        """
        asked = {"symbol": symbol, "timeframe": timeframe, "model_type": model_type, "exchange": exchange}
        wanted = {name: value for name, value in asked.items() if value is not None}
        kept = [one for one in self.outcomes if one.version is not None]
        found = [one for one in kept if all(getattr(one, name) == value for name, value in wanted.items())]
        if len(found) != 1:
            there = first_of(sorted(str(one.key) for one in found or kept)) or "none"
            which = f"{len(found)} models" if found else "no model"
            remedy = "name model_type and exchange, of" if found else "there are"
            raise RegistryError(f"{which} {' '.join(wanted.values())} in run {self.record['run_id']}: {remedy} {there}")
        (one,) = found
        return TrainedModel(self.config, one.key, str(one.version))

    def report(self) -> "Page":
        """Return the report of the run, a page that shows itself in a notebook.

        Raises:
            ConfigError: what makes reports is not installed.
        """
        try:
            check_extra, report_of = map(resolve_name, REPORT)
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"a report needs {error.name}, which is not installed: pip install -c constraints.txt '.[report]'"
            ) from None
        check_extra()
        return Page(report_of(open_registry(self.config), run_id=self.record["run_id"]).html)


@dataclass(frozen=True, repr=False)
class Page:
    """An HTML page by itself; a notebook shows it in a frame, where it sees nothing of the notebook."""

    html: str

    def __repr__(self) -> str:
        return f"Page({len(self.html):,} characters of HTML)"

    def _repr_html_(self) -> str:
        frame = "style='width:100%;height:80vh;border:0' sandbox='allow-scripts'"
        return f'<iframe {frame} srcdoc="{escape(self.html)}"></iframe>'


@contextmanager
def written(frame: object, config: Config, *, symbol: str | None, exchange: str | None) -> Iterator[str]:
    """Write a frame of bars to a file for the time of a run, and yield its path.

    Raises:
        ConfigError: nothing says which series the bars are of; or Ray runs elsewhere, where no file of this machine is.
        DataError: it is no frame.
    """
    if config.ray.address not in {None, "", "local"}:
        raise ConfigError(
            f"a frame stays on this machine, and Ray is at {config.ray.address}: write it to where every node sees it, "
            "and give its URL"
        )
    plain = plain_frame(frame)
    names = {str(name).lower(): name for name in plain.columns}
    if symbol is None and config.data.columns.get("symbol", "symbol") not in names:
        raise ConfigError("name the series of the bars: train(bars, symbol='BTCUSDT'), or a column `symbol`")
    added = {"symbol": symbol, "exchange": exchange or config.data.exchange or UNNAMED}
    missing = {name: pl.lit(value) for name, value in added.items() if value is not None and name not in names}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bars.parquet"
        plain.with_columns(**missing).write_parquet(path)
        yield str(path)
