"""The documented module of a user's network trains, stops in time, and is stored and loaded as any other model."""

import sys
from pathlib import Path

import polars as pl
import pytest

from job.worker.scorer import load_scorer
from tests.documents import python_blocks
from tests.test_scoring import KEY, commit, config, small_bars
from transforms.bars import clean


def test_the_documented_network_is_an_algorithm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, code = python_blocks("job/README.md")
    assert len(code.splitlines()) <= 40
    (tmp_path / "mynetwork.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mynetwork", raising=False)
    registry, trained, _ = commit(tmp_path / "models", config(algorithm="mynetwork:ALGORITHM"))
    assert 0 < trained.metadata["fit"]["epochs"] <= 20
    scorer = load_scorer(registry, KEY, allow_pickle=True)
    frame = scorer.definition.features_of(small_bars(), clean(small_bars())).frame
    scored = frame.select("available_at", p=pl.Series(scorer.score(frame)))
    both = trained.holdout.join(scored, on="available_at", how="left", suffix="_here")
    assert both["p_here"].to_list() == pytest.approx(trained.holdout["p"].to_list(), abs=1e-6)
