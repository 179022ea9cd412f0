"""One registry with models of every algorithm: one run trains, one predicts, one compares them; reruns do nothing."""

from pathlib import Path

import polars as pl
import pytest

from job.cli import main
from job.config.settings import load_config
from job.core.synth import write_world
from job.learning.estimators import ALGORITHMS
from job.registry.names import listed_versions
from job.storage.files import Storage
from job.train.run import run
from tests.algorithms import MISSING
from tests.test_boosters import config_of

pytestmark = [
    pytest.mark.torch,
    pytest.mark.slow,
    *(pytest.mark.skip(reason=reason) for reason in MISSING.values()),
]


def test_models_of_every_algorithm_live_in_one_registry(tmp_path: Path, local_ray: None) -> None:
    write_world(tmp_path / "bars", symbols=1, days=20, seed=3, world="signal")
    settings = config_of(tmp_path, *ALGORITHMS)
    for end in ("2024-01-14", "2024-01-16"):
        until = settings.data.model_copy(update={"end": load_config({"data": {"end": end}}).data.end})
        early = settings.model_copy(update={"data": until})
        assert run(early).counts["trained"] == len(ALGORITHMS)
    assert run(early).counts["current"] == len(ALGORITHMS)
    everywhere = ("--models", str(tmp_path / "models"), "--input", str(tmp_path / "bars"))
    assert main(["predict", *everywhere, "--output", str(tmp_path / "all")]) == 0
    found = {path.parent.name: pl.read_parquet(path) for path in (tmp_path / "all").rglob("*.parquet")}
    assert found.keys() == ALGORITHMS.keys()
    assert all(0 < one["probability_up"].min() <= one["probability_up"].max() < 1 for one in found.values())  # type: ignore[operator]
    runs = sorted({one.run_id for one in listed_versions(Storage(str(tmp_path / "models")).list())})
    assert main(["compare", *everywhere, "--a", runs[0], "--b", runs[1]]) == 0
