"""Bars that come in day by day, one file each, as a collector of live bars leaves them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from job.config.settings import Config, load_config
from job.core.synth import EPOCH, World, make_bars

QUICK: dict[str, Any] = {
    "analyst_models": {"timeframes": ["5m"], "algorithm": "logistic_regression"},
    "enable_tactician_models": False,
    "cv_folds": 2,
}
"""One kind of model that is trained in no time."""


@dataclass(frozen=True)
class Feed:
    """Minutes of some symbols, of which a folder holds those up to some time."""

    folder: Path
    bars: Sequence[pl.DataFrame]

    @classmethod
    def of(cls, folder: Path, *, days: int, symbols: int = 1, seed: int = 5, world: World = "signal") -> "Feed":
        """Return a feed of synthetic bars, none of which has come in yet."""
        return cls(folder, [make_bars(seed=seed, symbol=one, days=days, world=world) for one in range(symbols)])

    def until(self, days: float) -> None:
        """Let all bars of so many days come in; files of whole days that are there stay as they are."""
        end = EPOCH + timedelta(days=days)
        for number, bars in enumerate(self.bars):
            there = bars.filter(pl.col("timestamp") < end)
            for (day,), part in there.group_by(pl.col("timestamp").dt.date(), maintain_order=True):
                self.write(number, day, part)

    def write(self, number: int, day: Any, part: pl.DataFrame) -> None:
        """Write the file of a day, unless it holds just that."""
        path = self.path(number, day)
        if not path.exists() or pl.read_parquet(path).height != part.height:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_parquet(path)

    def path(self, number: int, day: Any) -> Path:
        """Return the file of a day."""
        symbol = f"SYN{number:02d}USDT"
        return self.folder / "bars" / "exchange=synthetic" / f"symbol={symbol}" / f"{symbol}-1m-{day}.parquet"

    def config(self, **sections: Any) -> Config:
        """Return settings that read the folder, and keep models and predictions beside it."""
        trainer = {**QUICK, "model_directory": str(self.folder / "models")} | sections.pop("model_trainer", {})
        watch = {"score_every": "1h"} | sections.pop("watch", {})
        return load_config(
            {"data": {"input": str(self.folder / "bars")}, "model_trainer": trainer, "watch": watch, **sections}
        )


def day(number: int) -> Any:
    """Return the date of a day of a feed, from 0 on."""
    return (datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=number)).date()
