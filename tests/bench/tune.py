"""[tune] A study of 20 trials over 16 real symbols at 15m, beside the same fits as train makes them.

CPU seconds of the command with all its processes, so with Python, Ray and its workers. The other side reads and makes
samples once, too, and then fits and predicts what the study did by `fitting.evaluate`, as training does for each fold:
one fit after the other, on one thread of this process. Target: the study takes at most 1.15 times as much.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from threadpoolctl import threadpool_limits

from job.config.settings import Config, load_config
from job.core.keys import Key
from job.learning.choice import Trial, first_folds
from job.learning.fitting import evaluate
from job.learning.tuning import TuningRows, without_holdout
from job.registry.studies import FOLDER
from job.storage.files import Storage
from job.train.plan import make_plan
from job.train.steps import load_bars, prepare_samples
from job.worker.messages import Bundle, Job, pack, unpack
from tests.bench.bars import REAL, real_files
from tests.bench.processes import ROOT, shell
from tests.bench.table import Table, line

SYMBOLS: Final = 16
MOST: Final = 1.15


def measure(*, quick: bool) -> Table:
    """Tune, then fit the same again."""
    trials = 3 if quick else 20
    real_files(SYMBOLS)
    with tempfile.TemporaryDirectory() as folder:
        values: dict[str, Any] = {
            "data": {"input": str(REAL)},
            "model_trainer": {
                "model_directory": folder,
                "enable_tactician_models": False,
                "analyst_models": {"timeframes": ["15m"]},
            },
            "tune": {"trials": trials, "series": 2 if quick else SYMBOLS},
        }
        file = Path(folder, "settings.yaml")
        file.write_text(json.dumps(values), encoding="utf-8")
        tuned = shell(sys.executable, str(ROOT / "job" / "main.py"), "tune", "--config", str(file), "--json")
        study = json.loads(tuned.stdout.splitlines()[-1])
        fits = Fits(load_config(values), folder)
        seconds = fits.seconds()
    rows = [one for one in study["outcomes"] if one["rows"]]
    worker_cpu = sum(one["cpu_seconds"] for one in rows)
    return Table(
        "tune",
        f"{trials} trials x {fits.series} real symbols at 15m, {fits.count:,} fits",
        (
            line("study, from a shell", tuned.wall, "s"),
            line("study, CPU of all processes", tuned.cpu, "s"),
            line("of its steps in workers", worker_cpu, "s"),
            line("the same fits by train", seconds, "s"),
            line("steps / fits", worker_cpu / seconds, "x", digits=2),
            line("study / fits", tuned.cpu / seconds, "x", digits=2, at_most=MOST),
            line("worker's peak", max(one["peak_rss_mb"] for one in rows), "MB", digits=0),
        ),
    )


class Fits:
    """The fits of a finished study, made by `evaluate` as training makes them, in this process."""

    def __init__(self, config: Config, registry: str) -> None:
        self.config = config
        storage = Storage(registry)
        paths = [path for path in storage.list(FOLDER) if "/trials/" in path]
        self.trials = [Trial(**json.loads(storage.read(path))) for path in paths]
        self.series = len(self.trials[0].losses)
        self.count = 0

    def seconds(self) -> float:
        """Return the CPU seconds of reading, making samples and fitting."""
        job = Job(run_id="bench", config=self.config, output="memory://bench", versions={})
        wanted = self.trials[0].losses
        spent = 0.0
        for task in make_plan(self.config).tasks:
            if name_of(task.key) not in wanted:
                continue
            started = time.process_time()
            for bars in load_bars(pack(Bundle(task.series[0], (task,))), job=job):
                for batch in prepare_samples(bars, job=job):
                    for _, samples in unpack(batch):
                        early, start = without_holdout(samples, task.spec)
                        tuned = TuningRows.of(early, task.spec, timeframe=task.key.timeframe, holdout_from=start)
                        self.fit(tuned, task.key)
            spent += time.process_time() - started
        return spent

    def fit(self, tuned: TuningRows, key: Key) -> None:
        """Fit every trial on the folds that the study fitted it on."""
        folds = len(tuned.folds)
        for trial in self.trials:
            spec = self.config.spec_of(key.model_type, trial.params)
            for fold in tuned.folds[: folds if trial.state == "complete" else first_folds(folds)]:
                with threadpool_limits(limits={"blas": 1, "openmp": 1}):
                    evaluate(tuned.rows, fold, spec, n_jobs=1)
                self.count += 1


def name_of(key: Key) -> str:
    """Return the name of a series in a study."""
    return f"{key.exchange}/{key.symbol}"
