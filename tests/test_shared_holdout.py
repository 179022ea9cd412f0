"""Versions that were scored on the same bars: found, judged together, and shown by `models show`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from job.cli import main
from job.core.keys import Key
from job.learning.fleet import HOUR_US, log_loss_delta_by_cluster
from job.learning.overfitting import loss_by_block
from job.learning.times import time_of
from job.registry import shared
from job.registry.catalog import list_summaries, rebuild
from job.registry.ledger import scored_versions
from job.registry.names import version_name
from job.registry.shared import Shared, shared_holdout
from job.registry.versions import commit, read_metadata
from job.storage.files import Storage
from tests.registries import fitted

KEY = Key("binance", "BTCUSDT", "1h", "analyst")
LABEL = {"kind": "direction", "horizon": 10, "threshold": 0.0, "flat": "drop", "entry": "close"}
RUNS = [f"2023120{day}_120000_a1b2c3" for day in range(1, 8)]
FIRST = 450_000


def commit_version(
    registry: Storage, number: int, *, first: int = FIRST, edge: float = 0.0, label: dict[str, Any] | None = None
) -> str:
    """Commit a version that was scored on 1,500 hours from `first` on, and saves `edge`; return its name."""
    hours, version = np.arange(first, first + 1_500), version_name(KEY, RUNS[number])
    rng = np.random.default_rng(number)
    level = np.random.default_rng(99).normal(0.69, 0.02, 10_000)[hours - FIRST + 5_000]
    change = rng.normal(0, 0.004, 1_500) - edge
    lengths = {"horizon_bars": 10, "timeframe_us": HOUR_US}
    metadata = {
        "run_id": RUNS[number],
        "label_end": time_of((first + 1_510) * HOUR_US),
        "split": {
            "holdout": {
                "test_from": time_of(first * HOUR_US),
                "test_to": time_of((first + 1_499) * HOUR_US),
                "test_rows": 1_500,
            }
        },
        "label": {"definition": LABEL if label is None else label},
        "algorithm": {"name": "logistic_regression"},
        "scores": {"skill": edge},
        "excess_log_loss": log_loss_delta_by_cluster(hours * HOUR_US, change, **lengths),
        "loss_by_block": loss_by_block(hours * HOUR_US, level + change, **lengths),
    }
    estimators = {"model": fitted("logistic_regression"), "scaler": fitted("scaler")}
    commit(registry, KEY, version, metadata=metadata, **estimators)
    return version


def judged(registry: Storage, version: str) -> Shared | None:
    scored = scored_versions(registry, [KEY], list_summaries(registry))[KEY]
    return shared_holdout(registry, KEY, read_metadata(registry, KEY, version), scored)


@pytest.fixture
def registry(tmp_path: Path) -> Storage:
    """Five versions on one holdout, the third of which is better than its base rate; two on none of theirs."""
    registry = Storage(str(tmp_path / "models"))
    for number in range(5):
        commit_version(registry, number, first=FIRST + number, edge=0.002 * (number == 2))
    commit_version(registry, 5, first=FIRST - 1_200)
    commit_version(registry, 6, label={**LABEL, "horizon": 5})
    rebuild(registry)
    return registry


def test_versions_of_one_label_are_judged_on_the_time_that_they_share(registry: Storage) -> None:
    names = [version_name(KEY, run) for run in RUNS]
    found = judged(registry, names[4])
    assert found is not None
    assert sorted(found.versions) == names[:5]
    assert found.best == names[2]
    record = found.record()
    assert record["p"] < 0.01
    assert (record["pbo_versions"], record["underpowered"]) == (5, False)
    assert record["pbo"] < 0.2
    assert json.loads(json.dumps(record)) == record
    assert judged(registry, names[5]) is None, "others share a fifth of its holdout"
    assert judged(registry, names[6]) is None, "no other version has its label"


def test_of_many_versions_the_latest_count(registry: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "MOST_VERSIONS", 3)
    found = judged(registry, version_name(KEY, RUNS[0]))
    assert found is not None
    assert [*found.versions] == [version_name(KEY, RUNS[number]) for number in (0, 4)], "another label was among them"


def test_damaged_metadata_and_those_of_early_releases_are_left_out(registry: Storage, tmp_path: Path) -> None:
    names = [version_name(KEY, run) for run in RUNS]
    (tmp_path / "models" / KEY.folder / f"{names[0]}.json").write_text("{")
    path = tmp_path / "models" / KEY.folder / f"{names[1]}.json"
    early = json.loads(path.read_text())
    del early["loss_by_block"]
    path.write_text(json.dumps(early))
    found = judged(registry, names[4])
    assert found is not None
    assert len(found.versions) == 4
    assert (found.overfitting.versions, found.overfitting.pbo) == (3, None)


def test_show_says_what_was_tried_and_how_good_the_best_is(
    registry: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "show", "--models", registry.url, "--version", RUNS[4], "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out.splitlines()[-1])["keys"]
    assert row["tried"] == {
        "models": 1, "versions": 7, "labels": 2, "algorithms": 1, "settings": 0, "comparisons": 0
    }  # fmt: skip
    assert row["shared_holdout"]["best"] == version_name(KEY, RUNS[2])
    assert main(["models", "show", "--models", registry.url, "--version", RUNS[4]]) == 0
    printed = capsys.readouterr().out
    assert "tried on these bars: 1 model, 7 versions, 2 labels, 1 algorithm\n" in printed
    assert (
        f"5 versions on one holdout; {version_name(KEY, RUNS[2])} beats its base rate with p <0.001; the best"
        in printed
    )
    assert "(PBO)" in printed
    assert main(["models", "show", "--models", registry.url, "--version", RUNS[5]]) == 0
    assert "on one holdout" not in capsys.readouterr().out
