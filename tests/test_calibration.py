"""Calibration on the holdout, against statsmodels, and its intervals against overlapping labels."""

import json

import numpy as np
import numpy.typing as npt
import pytest
import statsmodels.api as sm
from scipy.special import expit, logit
from scipy.stats import binom
from scipy.stats import t as student_t

from job.learning.calibration import calibration
from job.learning.metrics import block_length

Floats = npt.NDArray[np.float64]
HORIZON = 10


def drawn(
    seed: int, rows: int = 2_000, *, slope: float = 1.0
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8], Floats]:
    """Return times, labels that overlap, and probabilities whose log-odds are `slope` times too small."""
    random = np.random.default_rng(seed)
    odds = 0.5 * random.standard_normal(rows // 20 + 1).repeat(20)[:rows]
    uniform = random.uniform(size=rows // HORIZON + 1).repeat(HORIZON)[:rows]
    up = (uniform < expit(odds)).astype(np.int8)
    return np.arange(rows), up, expit(odds / slope)


def test_intercept_and_slope_are_those_of_statsmodels_clustered_by_block() -> None:
    times, up, p = drawn(0)
    found = calibration(times, up, p, horizon_bars=HORIZON)
    blocks = 2_000 // block_length(2_000, HORIZON)
    assert found["blocks"] == blocks
    groups = np.minimum(times // block_length(2_000, HORIZON), blocks - 1)
    expected = sm.Logit(up, sm.add_constant(logit(p))).fit(
        disp=0, cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}
    )
    assert (found["intercept"], found["slope"]) == pytest.approx(tuple(expected.params))
    scale = student_t.ppf(0.975, blocks - 1) * np.sqrt(blocks / (blocks - 1))
    widths = [found[f"{name}_high"] - found[name] for name in ("intercept", "slope")]
    assert widths == pytest.approx((scale * expected.bse).tolist())


def test_intervals_hold_what_is_true_as_often_as_they_say() -> None:
    found = [calibration(*drawn(seed), horizon_bars=HORIZON) for seed in range(300)]
    for name, truth in (("intercept", 0.0), ("slope", 1.0)):
        missed = sum(not one[f"{name}_low"] <= truth <= one[f"{name}_high"] for one in found)
        assert missed <= binom.ppf(0.999, 300, 0.07)


def test_what_is_too_sure_of_itself_has_a_slope_below_one() -> None:
    found = calibration(*drawn(1, 20_000, slope=0.5), horizon_bars=HORIZON)
    assert found["slope_high"] < 1
    assert found["slope"] == pytest.approx(0.5, abs=0.1)
    deciles = found["reliability"]
    assert len(deciles) == 10
    assert sum(one["rows"] for one in deciles) == 20_000
    assert deciles[0]["up"] > deciles[0]["p"]
    assert deciles[-1]["up"] < deciles[-1]["p"]


@pytest.mark.parametrize(
    ("p", "bins"), [(np.full(200, 0.4), 1), (np.tile([0.2, 0.8], 100), 2)], ids=["constant", "separated"]
)
def test_what_has_no_slope_is_null(p: Floats, bins: int) -> None:
    found = calibration(np.arange(200), (p > 0.5).astype(np.int8), p, horizon_bars=1)
    assert found["slope"] is found["intercept_low"] is None
    assert len(found["reliability"]) == bins


def test_one_block_has_no_interval() -> None:
    times, up, p = drawn(0, 200)
    found = calibration(np.zeros_like(times), up, p, horizon_bars=HORIZON)
    assert found["slope"] is not None
    assert (found["blocks"], found["slope_low"]) == (1, None)


def test_it_takes_little_room() -> None:
    assert len(json.dumps(calibration(*drawn(2), horizon_bars=HORIZON))) < 1_000
