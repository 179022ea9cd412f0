"""The pictures of a report, in order: adding one is adding an entry to `PICTURES`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import polars as pl

from job.learning.drift import LARGE
from job.report import heat_map, history, holdout, skill, timeline, trading, work
from job.report.contents import Contents
from job.report.shapes import spread_chart
from job.report.theme import BLUE, GREEN, PURPLE, VERMILLION

if TYPE_CHECKING:
    import altair as alt


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture: the numbers that it shows, and how they are drawn.

    Args:
        name: of its place on the page.
        title: what it is about.
        sentence: what it shows, and what would be suspicious.
        absent: what stands there when `data` has no rows: what is missing, and what would bring it.
        unit: of its numbers.
        data: a small frame from what the registry holds.
        draw: a chart of that frame, of so many pixels' width; or HTML, which fits any width.
        chart: whether it is drawn as a chart, for each width.
        sampled: whether it rests on metadata, which is read of a sample where there are very many models.
    """

    name: str
    title: str
    sentence: str
    absent: str
    unit: str = ""
    data: Callable[[Contents], pl.DataFrame]
    draw: Callable[[pl.DataFrame, int], "alt.TopLevelMixin | str"]
    chart: bool = True
    sampled: bool = True


TRAINED_BEFORE: Final = "The models were trained before it was kept: train them again."
NO_TRADING: Final = (
    "No returns of trading are kept: train with `--set model_trainer.trading.cost_bps=5`, or whatever a trade "
    "costs you."
)

RELIABILITY: Final = Picture(
    name="reliability",
    title="Do probabilities mean what they say?",
    sentence=(
        "Points compare the predicted probability of up with how often bars went up, with 95% intervals that "
        "count overlapping labels once (and take series as independent, so that they are rather too short). "
        "Points off the diagonal by more than their interval are suspicious: below it on the right, models "
        "are too sure."
    ),
    absent=TRAINED_BEFORE,
    unit="probabilities",
    data=holdout.reliability,
    draw=holdout.draw_reliability,
)
PICTURES: Final = (
    Picture(
        name="fleet",
        title="Skill of every model",
        sentence=(
            "Each cell is the share of the base rate's log-loss that a model saves on its holdout, blue above "
            "zero and orange below; hatched cells rest on too few independent blocks. A few tenths of a percent "
            "are good on real bars: many percent, or one series far above its neighbours, hint at bars that leak "
            "the future."
        ),
        absent="The registry tells no skill of any model.",
        unit="%",
        data=heat_map.fleet,
        draw=heat_map.draw_fleet,
        chart=False,
        sampled=False,
    ),
    Picture(
        name="gain",
        title="What was gained over time",
        sentence=(
            "The line is the log-loss saved against the base rate so far, all models of a kind together, in "
            "thousandths of a nat per bar of the whole holdout; the band is its 95% interval by clusters of time. "
            "Suspicious are a band that holds zero at the end, a single step that makes all of the gain, and a "
            "line that bends down."
        ),
        absent=TRAINED_BEFORE,
        unit="thousandths of a nat per bar",
        data=skill.gain,
        draw=skill.draw_gain,
    ),
    Picture(
        name="learners",
        title="The models, the logistic benchmark, and the base rate",
        sentence=(
            "Points are medians over models, bars their quartiles, and the dashed line is the base rate. Where "
            "the logistic regression is level, the cheaper model will do; where everything is left of the line, "
            "there is nothing to be had."
        ),
        absent="The models have no scores of a benchmark.",
        unit="% of log-loss saved",
        data=skill.learners,
        draw=partial(
            spread_chart,
            by="who",
            colors={"model": BLUE, "logistic regression": VERMILLION},
            title="log-loss saved against the base rate, %",
            mark=0.0,
        ),
    ),
    RELIABILITY,
    Picture(
        name="importances",
        title="What models look at",
        sentence=(
            "Numbers are the percentage of all importance that a feature has, the median over the models of a "
            "kind. One feature that outweighs all others everywhere is suspicious: it may know the label."
        ),
        absent="The models have no importances.",
        unit="% of all importance",
        data=holdout.importances,
        draw=holdout.draw_importances,
    ),
    Picture(
        name="equity",
        title="Equity and drawdown after costs",
        sentence=(
            "The line adds up daily returns on a constant capital after costs, all models of a kind with equal "
            "shares; the red area is how far it is below its peak, and the dashed line trades on the base rate "
            "alone. A few days that earn everything, or no drawdown at all, are suspicious."
        ),
        absent=NO_TRADING,
        unit="% of the capital",
        data=trading.equity,
        draw=trading.draw_equity,
    ),
    Picture(
        name="odds",
        title="How sure is it that trading earns?",
        sentence=(
            "Points are medians over models of the probability that the Sharpe ratio is above zero, bars are "
            "quartiles; deflated means that it allows for all versions that were tried. Left of the dashed line, "
            "95%, nothing is proven; a deflated value far below the probabilistic one says that much was tried."
        ),
        absent=(
            "No Sharpe ratio is known: it needs trading, `train --set model_trainer.trading.cost_bps=5`, and a holdout "
            "of more days."
        ),
        unit="probabilities",
        data=trading.odds,
        draw=partial(
            spread_chart,
            by="score",
            colors={"probabilistic Sharpe": BLUE, "deflated Sharpe": GREEN},
            title="probability that the Sharpe ratio is above 0",
            mark=trading.WORTH,
        ),
    ),
    Picture(
        name="champions",
        title="Changes of champions and challengers",
        sentence=(
            "Bars count promotions, rollbacks and challengers by the day, week or month. Champions that change "
            "all the time are chosen by chance; rollbacks deserve a look at their reasons, which `models show` "
            "prints."
        ),
        absent="No alias was ever set: `compare --promote` or `models promote` set them.",
        data=history.champions,
        draw=history.draw_champions,
        sampled=False,
    ),
    Picture(
        name="quality",
        title="Bars that were lost",
        sentence=(
            "Numbers are percentages: rows that broke a rule, minutes without a row, bars filled flat, bars with "
            "too few source bars, and bars that only warm up. The worst series come first. One series unlike its "
            "neighbours, or rejected rows at all, point to a damaged file; missing rows are normal where a market "
            "closes."
        ),
        absent="The models tell no counts of their bars.",
        unit="% of bars",
        data=work.quality,
        draw=work.draw_quality,
    ),
    Picture(
        name="workers",
        title="When workers were busy",
        sentence=(
            "Each row is a process of the run, darkest where it was at tasks all the time, those that failed or were "
            "begun again included; below are the CPUs that they took and the memory that they held, all together. Long "
            "gaps, or one worker that is busy long after all others, say that the work was badly spread or waited for "
            "bars."
        ),
        absent="The run left no log of events, and its models tell no times: it was one of an early release.",
        unit="busy: share of the time; memory: MiB",
        data=timeline.workers,
        draw=timeline.draw_workers,
    ),
    Picture(
        name="cost",
        title="What a model costs",
        sentence=(
            "Points are medians over the models of a kind, bars are quartiles, of the seconds that a task took by "
            "the clock and of a CPU. More seconds by the clock than of CPU were spent waiting for bars or for a "
            "place on a CPU."
        ),
        absent="The run trained no model.",
        unit="seconds",
        data=work.cost,
        draw=partial(spread_chart, by="what", colors=work.COSTS, title="seconds per model", mark=0.0),
        sampled=False,
    ),
    Picture(
        name="memory",
        title="Memory of workers",
        sentence=(
            "Points are medians of the peak memory of the worker that trained a model, bars are quartiles. A kind "
            "that needs far more than others decides how many models fit on a machine at a time."
        ),
        absent="The run trained no model.",
        unit="MB",
        data=work.memory,
        draw=partial(spread_chart, by="what", colors={"worker": BLUE}, title="peak memory of the worker, MB", mark=0.0),
        sampled=False,
    ),
    Picture(
        name="trials",
        title="Trials of studies",
        sentence=(
            "Each point is a setting that `tune` tried, and what it saved out of fold against the default at "
            "zero; the ringed one was chosen. A winner that stands alone among losers is rather luck than skill."
        ),
        absent="Nothing was tuned: `tune` tries settings on the purged folds.",
        unit="thousandths of a nat per bar",
        data=history.trials,
        draw=history.draw_trials,
        sampled=False,
    ),
    Picture(
        name="drift",
        title="Are the labels still the same?",
        sentence=(
            "Points are medians over models of how the share of up differs between the holdout and the training "
            "rows before it, bars are quartiles. Some percentage points are a trend of the market; many say that "
            "the models were trained in other times."
        ),
        absent="The models do not tell the shares of their labels.",
        unit="percentage points",
        data=history.drift,
        draw=partial(
            spread_chart,
            by="change",
            colors={"holdout less training": PURPLE},
            title="change of the share of up, percentage points",
            mark=0.0,
        ),
    ),
    Picture(
        name="newest",
        title="Are new bars like those of training?",
        sentence=(
            "Points are medians over series of the stability index (PSI) between the newest bars that were predicted, "
            "or scored by `watch`, and the training rows: of the feature furthest off, and of the middle one; bars are "
            "quartiles. Right of the dashed line, .25, is the usual alarm, but features of bars move slowly: "
            "suspicious are series that count as drifted, since these are beyond what their own training rows do."
        ),
        absent="Nothing was predicted or scored since logs of events are kept: `predict` or `watch`.",
        unit="stability index",
        data=history.newest,
        draw=partial(spread_chart, by="feature", colors=history.FEATURES, title="stability index (PSI)", mark=LARGE),
        sampled=False,
    ),
)
