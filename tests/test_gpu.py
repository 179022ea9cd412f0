"""Pooled models whose fits use a GPU ask for one where the cluster has any; nothing else does, and CPUs do as well."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from job.cluster.bundles import Capacity
from job.cluster.datasets import remote_options
from job.config.settings import load_config
from job.train import pipeline
from job.train.plan import plan_tasks
from job.train.task import Task
from job.worker.messages import Job
from tests.test_planning import series

ROOT = Path(__file__).parents[1]
MODULE = '''
"""An algorithm that notes which GPUs its process was given."""
import os

from sklearn.naive_bayes import GaussianNB

from job.learning.algorithms import Algorithm


class Noting(GaussianNB):
    def fit(self, matrix, label):
        self.fit_ = {"devices": os.environ.get("CUDA_VISIBLE_DEVICES", "")}
        return super().fit(matrix, label)


ALGORITHM = Algorithm(
    "noting", "noting:Noting", lambda spec, window: {}, "permutation", version=1, seconds_per_row=1e-6, artifact="pkl",
    fit_record="fit_", gpu=True,
)
'''


def capacity(gpus: int) -> Capacity:
    return Capacity(cpus=2, node_cpus=2, memory_per_cpu=2**30, gpus=gpus)


def kinds(**algorithms: str) -> Any:
    named = {
        name: {"timeframes": ["1h"], "algorithm": one, "label": "direction(3)"} for name, one in algorithms.items()
    }
    return {
        "model_trainer": {
            "enable_analyst_models": False,
            "enable_tactician_models": False,
            "group_by": "timeframe",
            "cv_folds": 2,
            "models": named,
        }
    }


def test_a_step_asks_for_a_gpu_where_there_is_one() -> None:
    job = Job(run_id="", config=load_config({}), output="", versions={})
    asked = {
        (gpu, gpus): remote_options(job, capacity(gpus), gpu=gpu).get("num_gpus", 0)
        for gpu in (True, False)
        for gpus in (0, 2)
    }
    assert asked == {(True, 2): 1, (True, 0): 0, (False, 2): 0, (False, 0): 0}


def test_models_that_use_no_gpu_do_not_wait_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(kinds(ensemble="tabm", forest="random_forest", deep="mlp"))
    tasks = plan_tasks([series("BTC"), series("ETH")], config)
    job = Job(run_id="", config=config, output="", versions={})

    def started(tasks: Sequence[Task], gpus: int, *, number: int = 1) -> Any:
        return [*pipeline.runs(tasks, replace(job, round=number), capacity=capacity(gpus))]

    monkeypatch.setattr(pipeline, "train_pooled", lambda part, *_: [task.key.model_type for task in part])
    assert started(tasks, 0) == [["deep", "ensemble", "forest"]]
    assert started(tasks, 1) == [["deep", "ensemble"], ["forest"]]
    assert started(tasks[:1], 1) == [["deep"]]
    assert started(tasks, 1, number=2) == [["deep"], ["ensemble"], ["forest"]]


@pytest.mark.slow
def test_a_pooled_fit_has_the_gpu_of_a_ray_that_says_it_has_one(tmp_path: Path) -> None:
    (tmp_path / "noting.py").write_text(MODULE)
    settings = kinds(noting="noting:ALGORITHM")
    settings["ray"] = {"num_gpus": 1, "num_cpus": 2}
    (tmp_path / "settings.yaml").write_text(json.dumps(settings))
    command = [sys.executable, str(ROOT / "job/main.py"), "--config", "settings.yaml", "--output", "models", "--json"]
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    (metadata,) = (tmp_path / "models" / "pooled").rglob("noting_1h_*[!r].json")
    assert json.loads(metadata.read_text())["fit"] == {"devices": "0"}
