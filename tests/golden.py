"""Golden outputs: what every versioned definition gives on one stored series, kept beside its version.

A rerun skips models whose fingerprint it knows, and a fingerprint holds versions, not code. So a definition that gives
other numbers must have another version, which `tests/test_golden.py` sees to. `python -m tests.golden` writes the
numbers of what is new or has another version, and refuses where numbers changed and the version did not.

Definitions are looked at one by one: samples and training use features, a label and algorithms that are made up here,
so that another version of one definition leaves the numbers of the others as they were.
"""

import json
import math
import pickle
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Final
from unittest.mock import patch

import numpy as np
import polars as pl
from sklearn import metrics
from threadpoolctl import threadpool_limits

from job.config.settings import DataSettings
from job.config.trainer import TrainerSettings
from job.core.environment import NUMERIC_LIBRARIES
from job.core.keys import Key
from job.core.synth import make_bars
from job.learning.algorithms import Algorithm, Window
from job.learning.estimators import ALGORITHMS
from job.learning.fitting import fit_scaled, probability_of_up
from job.learning.labels import parse_label
from job.learning.metrics import SCORES, Score
from job.learning.rows import Rows, read_rows, weights_of
from job.learning.spec import BLEND, ModelSpec
from job.learning.splits import walk_forward
from job.learning.trading import trading_scores
from job.learning.training import Trained, predict_proba, train
from job.learning.weights import DEFINITION as WEIGHTS
from job.learning.weights import Weights, describe_weights
from job.registry.fingerprints import CONTEXT, DEFINITIONS, TRADING
from job.train.pooled import downsample, sampling_caps
from job.train.steps import samples_of
from job.train.task import Task
from job.worker.messages import SeriesInfo
from tests.oracles_training import weighted_draws
from transforms.bars import PRICES, clean
from transforms.clock import CLOCK, add_clock
from transforms.context import MARKET_FEATURES, Beside, known_features, longer_bars, market, market_sums, moves
from transforms.features import DEFAULT_FEATURES, FEATURES
from transforms.features.compute import add_features
from transforms.features.feature import WARM, Feature
from transforms.labels import LABELS, NOTES, Direction, Entry, Label, TripleBarrier
from transforms.preparing import Preparation, closed
from transforms.resampling import resample
from transforms.samples import Samples, make_samples
from transforms.segments import segment
from transforms.sessions import Sessions

Leaf = float | str | None
Values = dict[str, list[Leaf]]
"""Numbers, by what they are of."""

FOLDER: Final = Path(__file__).with_name("golden")
SERIES: Final = FOLDER / "bars.parquet"
GOLDEN: Final = FOLDER / "golden.json"
COMMAND: Final = "python -m tests.golden"

EXACT_RTOL: Final = 1e-9
TRAINED_RTOL: Final = 1e-6
NETWORK_RTOL: Final = 1e-3
"""Thousands of steps in float32 carry the rounding of a CPU further."""
DIGITS: Final = 12
"""Significant digits of a stored number."""
MINUTE_US: Final = 60_000_000
START_US: Final = 1_704_067_200_000_000
"""First time of the stored series."""
KEY: Final = Key("made-up", "X", "1m", "analyst")
"""Its text seeds importances, so it stays as it was when the goldens were written."""
LEARNT: Final = ("change_1", "change_2", "change_5", "change_10", "change_20", "range", "volume")
"""Columns of `learnable`."""


@dataclass(frozen=True)
class Definition:
    """Anything whose version stands in fingerprints, with what computes the numbers that it gives."""

    name: str
    version: int
    values: Callable[[], Values]
    rtol: float = EXACT_RTOL


@dataclass(frozen=True)
class Golden:
    """Stored numbers: by definition, its version and values; and the libraries that they were computed with."""

    libraries: dict[str, str]
    entries: dict[str, tuple[int, Values]]


@dataclass(frozen=True)
class Problem:
    """What is wrong with a definition's golden; `writable` says whether its `values` may take the golden's place."""

    message: str
    values: Values
    writable: bool = True


def definitions() -> dict[str, Definition]:
    """Return everything that has a version: what fingerprints know by it, and scores, by name."""
    found = (
        *(Definition(f"feature {name}", each.version, partial(of_feature, name)) for name, each in FEATURES.items()),
        *(Definition(f"label {kind}", each.version, partial(of_label, kind)) for kind, each in LABELS.items()),
        *(
            Definition(
                f"algorithm {name}",
                each.version,
                partial(of_algorithm, name),
                NETWORK_RTOL if each.extra == "torch" else TRAINED_RTOL,
            )
            for name, each in ALGORITHMS.items()
        ),
        *(Definition(f"score {name}", each.version, partial(of_score, name)) for name, each in SCORES.items()),
        *(Definition(name, number, *PARTS[name]) for name, number in DEFINITIONS.items() if name in PARTS),
        Definition("weights", WEIGHTS, of_weights),
        Definition("trading", TRADING, of_trading),
        Definition("context", CONTEXT, of_context),
    )
    return {each.name: each for each in found}


def find_problem(definition: Definition, golden: Golden) -> Problem | None:
    """Return what is wrong with the golden of a definition, with the remedy."""
    name, values = definition.name, definition.values()
    if name not in golden.entries:
        return Problem(f"{name} has no golden: write it by `{COMMAND}`", values)
    number, stored = golden.entries[name]
    if number != definition.version:
        versions = f"version {definition.version}, its golden {number}"
        return Problem(f"{name} has {versions}: write the goldens again: `{COMMAND}`", values)
    difference = first_difference(stored, values, rtol=definition.rtol)
    if difference is None:
        return None
    if others := other_libraries(golden):
        return Problem(f"{name} gives other numbers with {others}: {difference}; {COMMAND} takes them over", values)
    remedy = f"raise its version, then `{COMMAND}`"
    message = f"{name} gives other numbers under the same version {number}: {difference}; {remedy}"
    return Problem(message, values, writable=False)


def first_difference(stored: Values, values: Values, *, rtol: float) -> str | None:
    """Return the first place in which values differ from stored ones by more than `rtol`, with both."""
    for part in stored | values:
        old, new = stored.get(part, []), values.get(part, [])
        if len(old) != len(new):
            return f"{part}: expected {len(old)} values, got {len(new)}"
        for place, (expected, got) in enumerate(zip(old, new, strict=True)):
            if not same(expected, got, rtol=rtol):
                return f"{part}[{place}]: expected {expected!r}, got {got!r}"
    return None


def same(expected: Leaf, got: Leaf, *, rtol: float) -> bool:
    """Whether two values are equal, or floats and close; differences below rtol / 1000 count for nothing."""
    if isinstance(expected, float) and isinstance(got, float):
        return math.isclose(expected, got, rel_tol=rtol, abs_tol=rtol / 1000)
    return expected == got


def libraries() -> dict[str, str]:
    """Return the versions of what may change numbers beside the definitions; they are part of fingerprints too."""
    return {name: version(name) for name in NUMERIC_LIBRARIES}


def other_libraries(golden: Golden) -> str:
    """Return which libraries are not those that the goldens were written with, an empty text if all are."""
    pairs = {name: (number, golden.libraries.get(name)) for name, number in libraries().items()}
    return ", ".join(f"{name} {here}, not {there}" for name, (here, there) in pairs.items() if here != there)


def read_golden(path: Path = GOLDEN) -> Golden:
    """Return the stored numbers, none where there is no file."""
    if not path.exists():
        return Golden(libraries(), {})
    read = json.loads(path.read_text(encoding="utf-8"))
    entries = {name: (entry["version"], entry["values"]) for name, entry in read["definitions"].items()}
    return Golden(read["libraries"], entries)


def write_golden(golden: Golden, path: Path = GOLDEN) -> None:
    """Write the numbers as JSON, one list a line."""
    entries = {
        name: {"version": number, "values": {part: [*map(rounded, old)] for part, old in values.items()}}
        for name, (number, values) in golden.entries.items()
    }
    text = json.dumps({"libraries": golden.libraries, "definitions": entries}, indent=1, allow_nan=False)
    path.write_text(re.sub(r"\[[^]]*]", lambda found: " ".join(found[0].split()), text) + "\n", encoding="utf-8")


def rounded(leaf: Leaf) -> Leaf:
    """Return a float to `DIGITS` significant digits, anything else as it is."""
    return float(f"{leaf:.{DIGITS}g}") if isinstance(leaf, float) else leaf


def renew(golden: Golden, known: Mapping[str, Definition]) -> tuple[Golden, list[Problem]]:
    """Return the goldens of the `known` definitions, with new values in place of problems, and the problems."""
    found = {name: problem for name, each in known.items() if (problem := find_problem(each, golden))}
    entries = {
        name: (each.version, found[name].values) if name in found else golden.entries[name]
        for name, each in known.items()
    }
    return Golden(libraries(), entries), [*found.values()]


def main(known: Mapping[str, Definition], path: Path = GOLDEN) -> int:
    """Write the goldens; write nothing, name the culprits and return 1 where numbers changed under one version."""
    golden, problems = renew(read_golden(path), known)
    if refused := [problem for problem in problems if not problem.writable]:
        sys.stderr.write("".join(f"{problem.message}\n" for problem in refused))
        return 1
    write_golden(golden, path)
    sys.stdout.write("".join(f"{problem.message}: done\n" for problem in problems) or "all as before\n")
    return 0


def made_series() -> pl.DataFrame:
    """Return three days of minutes in segments, with what real bars have: gaps, a split, a bad tick, silence.

    How the stored series was made. It stays as it is: bars made by another generator would change every number.
    """
    drawn = make_bars(seed=1, days=3, world="signal", dropout=0.005)
    minute = (pl.col("timestamp").to_physical() - START_US) // MINUTE_US
    gaps = [(300, 304), (700, 705), (1400, 1459), (2993, 2999), (3500, 3501)]
    bars = drawn.filter(~pl.any_horizontal(minute.is_between(*gap) for gap in gaps))
    factor = pl.when(minute >= 2300).then(2.0).when(minute == 2000).then(3.0).otherwise(1.0)
    wide = pl.when(minute % 500 == 250).then(1.02).otherwise(1.0)
    slipped = pl.when(minute % 3 == 0).then((pl.col("open") + pl.col("close")) / 2).otherwise("open")
    bars = bars.with_columns(open=slipped, high=pl.col("high") * wide, low=pl.col("low") / wide)
    bars = bars.with_columns(pl.col(PRICES) * factor)
    still, steady, silent = (minute.is_between(*span) for span in ((3000, 3139), (3200, 3259), (3100, 3169)))
    last, growth = pl.col("close").filter(still).first(), 1.0002 ** (minute - 3200)
    paths = pl.when(still).then(last).when(steady).then(pl.col("close").filter(steady).first() * growth)
    flat = [paths.otherwise(name).alias(name) for name in PRICES]
    quirky = bars.with_columns(*flat, volume=pl.when(silent).then(0.0).otherwise("volume"))
    return segment(quirky, timeframe="1m")


@cache
def segmented_bars() -> pl.DataFrame:
    """Return the stored bars, segmented as they were when they were made, whatever `segment` does today."""
    return pl.read_parquet(SERIES).rename({"stretch": "contiguous_run"})


@cache
def bars_with_flow_and_clock() -> pl.DataFrame:
    """Return the stored bars with made-up flow and the clock, which the stored ones have not."""
    number = pl.int_range(pl.len())
    flow = segmented_bars().with_columns(
        quote_volume=pl.col("volume") * (pl.col("high") + pl.col("low") + pl.col("close")) / 3,
        trades=pl.when(pl.col("volume") > 0).then(1.0 + number * 7919 % 23).otherwise(0.0),
        taker_buy_volume=pl.col("volume") * (number * 31 % 17) / 16,
    )
    return add_clock(flow, CLOCK, zone="UTC", gaps=Sessions("UTC", ((60, 750), (800, 1435))))


def stored_bars() -> pl.DataFrame:
    """Return the stored bars as they came."""
    return segmented_bars().filter(~pl.col("filled")).select("timestamp", *PRICES, "volume")


def numbers_of(values: pl.Series, *, kept: int = 30) -> list[Leaf]:
    """Return what sums up a column: counts of all, null, and infinite or NaN values, three sums, `kept` values.

    Times become minutes since the start. The sums are of values below zero, of those above, and of sizes times row
    numbers: none of them cancels. The values shown are evenly spread.
    """
    if values.dtype == pl.Datetime:
        values = (values.to_physical() - START_US) // MINUTE_US
    is_integer = values.dtype.is_integer()
    every = values.cast(pl.Int64 if is_integer else pl.Float64).to_list()
    finite = {row: value for row, value in enumerate(every) if value is not None and math.isfinite(value)}
    add: Callable[[Iterator[float]], float] = sum if is_integer else math.fsum
    nulls = values.null_count()
    return [
        len(every),
        nulls,
        len(every) - nulls - len(finite),
        add(min(value, 0) for value in finite.values()),
        add(max(value, 0) for value in finite.values()),
        add(row * abs(value) for row, value in finite.items()),
        *(finite.get(row) for row in range(0, len(every), max(1, len(every) // kept))),
    ]


def columns_of(frame: pl.DataFrame, *, kept: int = 30) -> Values:
    """Return what sums up each column."""
    return {column.name: numbers_of(column, kept=kept) for column in frame}


def leaves(value: Any) -> Iterator[Leaf]:
    """Yield the keys and values of nested mappings and lists, mappings in the order of their keys."""
    if isinstance(value, Mapping):
        for key in sorted(value):
            yield key
            yield from leaves(value[key])
    elif isinstance(value, list | tuple):
        for each in value:
            yield from leaves(each)
    else:
        yield value


def under(case: str, values: Values) -> Values:
    """Return the values of one of several cases."""
    return {f"{case}: {part}": each for part, each in values.items()}


def of_feature(name: str) -> Values:
    """Return a feature of the stored bars, and the columns without which it is left out.

    The three sums see every value; packs are large, so only the default one keeps many values beside them.
    """
    values = add_features(bars_with_flow_and_clock(), [FEATURES[name]])[name]
    return {
        "inputs": [*FEATURES[name].inputs],
        "values": numbers_of(values, kept=60 if name in DEFAULT_FEATURES else 8),
    }


LABEL_CASES: Final = {
    "direction": (
        "horizon=10, threshold=0.0, flat='drop', entry='close'",
        "horizon=3, threshold=5e-4, flat='drop', entry='next_open'",
        "horizon=3, threshold=5e-4, flat='down', entry='close'",
    ),
    "triple_barrier": (
        "k=1.5, window=20, horizon=15, entry='close'",
        "k=0.8, window=5, horizon=6, entry='next_open'",
        "k=3.0, window=40, horizon=30, entry='close'",
    ),
}
"""All parameters of each case, since defaults may change under one version; a kind without cases is tried with them."""


def of_label(kind: str) -> Values:
    """Return the labels of the stored bars in each case, when they are known, and where each note stands."""
    found: Values = {}
    for case in LABEL_CASES.get(kind, ("",)):
        labeled = parse_label(f"{kind}({case})").apply(segmented_bars(), "1m")
        noted = {note: labeled["label_note"].eq(note).arg_true() for note in NOTES.categories}
        notes: Values = {note: [rows.len(), rows.sum()] for note, rows in noted.items() if rows.len()}
        steps = (pl.col("label_end") - pl.col("timestamp")).dt.total_minutes()
        found |= under(case, columns_of(labeled.select("label", "barrier", steps=steps)) | notes)
    return found


@dataclass(frozen=True)
class Rise(Label):
    """Whether the close is higher `horizon` bars on, which every third row is said to know sooner."""

    kind: ClassVar[str] = "rise"
    version: ClassVar[int] = 1
    horizon: int = 4
    entry: Entry = "close"

    def resolve(self, bars: pl.DataFrame) -> pl.DataFrame:
        rise, early = pl.col("close").shift(-self.horizon) - pl.col("close"), pl.int_range(pl.len()) % 3 == 0
        tie, timeout = (pl.lit(note, dtype=NOTES) for note in ("tie", "timeout"))
        return bars.select(
            label=pl.when(rise != 0).then((rise > 0).cast(pl.Int8)),
            steps=pl.when(early).then(2).otherwise(self.horizon),
            note=pl.when(rise == 0).then(tie).when(~early).then(timeout),
            barrier=pl.col("high") / pl.col("low") - 1,
        )


MADE_UP_FEATURES: Final = {
    "last_change": Feature("last_change", ("close",), 7, pl.col("close") / pl.col("close").shift(2) - 1),
    "volume_ratio": Feature("volume_ratio", ("volume",), 1, pl.col("volume") / pl.col("volume").shift(1)),
}
SAMPLE_CASES: Final = {
    "1m": Preparation(source="1m", timeframe="1m"),
    "1m, no filling": Preparation(source="1m", timeframe="1m", max_fill=0),
    "1m, gaps ignored": Preparation(source="1m", timeframe="1m", gaps="ignore"),
    "5m": Preparation(source="1m", timeframe="5m"),
    "5m, gaps ignored": Preparation(source="1m", timeframe="5m", gaps="ignore"),
    "5m, all minutes there": Preparation(source="1m", timeframe="5m", min_coverage=1.0),
    "15m, off the hour": Preparation(source="1m", timeframe="15m", offset_us=2 * MINUTE_US),
    "1h, few minutes there": Preparation(source="1m", timeframe="1h", min_coverage=0.3),
}
RANGES: Final = {
    "from a start": DataSettings(start=datetime.fromisoformat("2024-01-02T06:00Z")),
    "last day": DataSettings(lookback_days=1),
    "last day, gaps ignored": DataSettings(lookback_days=1, gaps="ignore"),
}


def of_samples() -> Values:
    """Return what cleaning, joining, filling, segments and warm-up make of the stored bars."""
    bars, label, features = stored_bars(), Rise(), (*MADE_UP_FEATURES.values(),)
    first, last = (datetime.fromisoformat(time) for time in ("2024-01-01T00:00Z", "2024-01-03T23:59Z"))
    info = SeriesInfo(timeframe="1m", offset_us=0, first=first, last=last, counts={}, digest="", files=())
    task = Task(
        key=KEY,
        spec=spec("logistic_regression", label=label, features=(*MADE_UP_FEATURES,)),
        series=(),
        rows=0,
        seconds=0,
        memory=0,
    )
    with patch.dict(FEATURES, MADE_UP_FEATURES):
        made = {case: make_samples(bars, how, features=features, label=label) for case, how in SAMPLE_CASES.items()}
        made |= {case: samples_of(task, bars, info, data, name="X")[0] for case, data in RANGES.items()}
    sampled = (under(case, sample_values(samples)) for case, samples in made.items())
    return {part: each for values in (cleaned(), joined(), *sampled) for part, each in values.items()}


def cleaned() -> Values:
    """Return what `clean` makes of rows among which every rule but `absurd_price` finds some to reject."""
    good = stored_bars().head(200)
    time, high, low = pl.col("timestamp"), pl.col("high"), pl.col("low")
    broken: dict[int, dict[str, pl.Expr]] = {
        10: {"timestamp": pl.lit(None, good.schema["timestamp"])},
        20: {"timestamp": time + timedelta(minutes=1)},
        30: {"close": pl.lit(math.nan)},
        40: {"open": -pl.col("open")},
        50: {"volume": -pl.col("volume")},
        60: {"high": low, "low": high},
        70: {"close": high * 2},
        80: {"timestamp": time + timedelta(seconds=7)},
    }
    odd = [good[row].with_columns(**changed) for row, changed in broken.items()]
    rest = good.filter(~pl.int_range(pl.len()).is_in([*broken]))
    result = clean(pl.concat([rest[100:].reverse(), *odd, rest[:120]]))
    rules = result.rejected.sort("timestamp", "rule")["rule"].to_list()
    info: list[Leaf] = [
        result.timeframe,
        result.offset_us,
        *leaves({what: n for what, n in result.counts.items() if n}),
        *rules,
    ]
    return under("cleaned", {"facts": info, **columns_of(result.bars, kept=5)})


def joined() -> Values:
    """Return the bars of longer timeframes, filled and segmented."""
    found: Values = {}
    for timeframe in ("1m", "5m", "15m", "1h"):
        longer = resample(stored_bars(), source="1m", timeframe=timeframe, min_coverage=0.5)
        frame = segment(longer.bars, timeframe=timeframe).with_columns(pl.col("filled").cast(pl.Int8))
        found |= under(f"bars {timeframe}", {"counts": [*leaves(longer.counts)], **columns_of(frame, kept=8)})
    return found


ONLY_TOLD: Final = {"before_jump"}
"""Statistics that came later than the version of samples: they tell of the same samples, and change no model."""


def sample_values(samples: Samples) -> Values:
    """Return the counts and statistics of samples, and what sums up their columns."""
    told = {name: value for name, value in samples.label_stats.items() if name not in ONLY_TOLD}
    info = {"counts": [*leaves(samples.counts)], "statistics": [*leaves(told)]}
    return {**info, **columns_of(samples.frame, kept=8)}


def spec(algorithm: str, **changed: Any) -> ModelSpec:
    """Return settings of a model, each of them given here."""
    usual = {
        "n_estimators": 15, "max_depth": 6, "params": {}, "engine": "histogram", "label": Rise(), "features": LEARNT,
        "test_size": 0.25, "cv_folds": 3, "embargo": 0, "random_state": 7, "calibrate": "shrink", "refit": False,
    }  # fmt: skip
    return ModelSpec(algorithm=algorithm, **(usual | changed))


def learnable(*, every: int = 2) -> pl.DataFrame:
    """Return samples of every second stored bar, or fewer; made of ratios, they have the same bits on any CPU."""
    close = pl.col("close")
    inputs = {f"change_{lag}": 500 * (close / close.shift(lag) - 1) for lag in (1, 2, 5, 10, 20)}
    inputs |= {"range": 500 * (pl.col("high") / pl.col("low") - 1), "volume": pl.col("volume") / 20}
    frame = stored_bars().select(
        available_at=pl.col("timestamp") + timedelta(minutes=1),
        label_end=pl.col("timestamp").shift(-6) + timedelta(minutes=1),
        label=(close.shift(-6) > close).cast(pl.Int8),
        **{name: each.clip(-3, 3).cast(pl.Float32) for name, each in inputs.items()},
    )
    return frame.drop_nulls().gather_every(every)


def both_ways(frame: pl.DataFrame) -> pl.DataFrame:
    """Return samples of two series, one the other's mirror image."""
    mirrored = frame.with_columns(-pl.col(LEARNT[:5]), label=1 - pl.col("label"))
    return pl.concat([frame.with_columns(series=pl.lit("a")), mirrored.with_columns(series=pl.lit("b"))])


def of_split() -> Values:
    """Return the rows of every window, and those that a cap on the number of rows keeps."""
    frame = learnable()
    one, two = (read_rows(each.sort("available_at"), LEARNT) for each in (frame, both_ways(frame)))
    late = int(one.available_at[1_500])
    asked = TrainerSettings(max_samples=1_200, test_size=0.25)
    times = {"key": pickle.dumps(KEY), "times": one.available_at.tobytes()}
    (cap,) = sampling_caps([times], asked, expected=1).values()
    return {
        **windows("plain", one, test_size=0.2, folds=5),
        **windows("embargo", one, test_size=0.3, folds=1, embargo_us=90 * MINUTE_US),
        **windows("pooled", two, test_size=0.2, folds=5),
        **windows("late", one, test_size=0.2, folds=2, holdout_from=late),
        "cap": [cap.holdout_from, cap.share],
        "thinned": numbers_of(downsample(frame, cap, name="made-up/X 7")["available_at"]),
    }


def windows(case: str, rows: Rows, **settings: Any) -> Values:
    """Return how many row numbers each window has, the first, the last, and their sum."""
    splits = walk_forward(rows.available_at, rows.label_end, **settings)
    found: Values = {}
    for number, fold in enumerate((*splits.folds, splits.holdout)):
        for name, each in (("train", fold.train), ("test", fold.test)):
            found[f"{case}: {number} {name}"] = [len(each), int(each[0]), int(each[-1]), int(each.sum())]
    return found


SMALL_LEAVES: Final = {"max_depth": None, "params": {"min_samples_leaf": 5}}
FEW_STEPS: Final = {"epochs": 2, "learning_rate": 0.01}
"""Parameters of networks: fewer steps carry less rounding; their defaults stand beside the numbers."""
ALGORITHM_CASES: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "random_forest": {"small leaves": SMALL_LEAVES, "more columns": {"params": {"max_features": 4}}},
    "extra_trees": {"small leaves": SMALL_LEAVES},
}
"""Settings beside those which every algorithm is tried with."""


def of_algorithm(name: str) -> Values:
    """Return an algorithm's kind of importance, its defaults, and its models' probabilities on rows not seen before."""
    rows = read_rows(learnable(), LEARNT)
    cases = {"usual": {}, "stumps": {"max_depth": 1}, **ALGORITHM_CASES.get(name, {})}
    fits = [*((case, 1_500, False) for case in cases), ("usual", 300, False), ("usual", 1_500, True)]
    found: Values = {"importance": [ALGORITHMS[name].importance]}
    for case, known, pooled in fits:
        asked = spec(name, **cases[case] | ({"params": FEW_STEPS} if ALGORITHMS[name].extra == "torch" else {}))
        with threadpool_limits(limits=1):
            matrix, label = rows.matrix[:known], rows.label[:known]
            model = fit_scaled(matrix, label, asked, pooled=pooled, n_jobs=1)
            up = probability_of_up(model, rows.matrix[1_500:])
        defaults = ALGORITHMS[name].defaults(asked, Window(known, pooled=pooled))
        found[f"{case}, {known} rows{', pooled' * pooled}"] = [*leaves(defaults), *numbers_of(pl.Series(up))]
    if name == BLEND:  # weights are fitted where a model is trained
        found |= trained("trained", train(learnable(), spec(name), key=KEY), learnable())
    return found


LINES: Final = Algorithm(
    "lines",
    "sklearn.linear_model:LogisticRegression",
    lambda _spec, _window: {"C": 1.0, "solver": "newton-cholesky"},
    "absolute_coefficient",
    version=1,
    seconds_per_row=1e-6,
    precision=np.float64,
)
TREE: Final = Algorithm(
    "tree",
    "sklearn.tree:DecisionTreeClassifier",
    lambda _spec, _window: {"max_depth": 4, "min_samples_leaf": 50, "random_state": 0},
    "impurity",
    version=1,
    seconds_per_row=1e-6,
)
FLAT_LINES: Final = replace(
    LINES, name="flat_lines", defaults=lambda _spec, _window: {"C": 0.01}, importance="permutation"
)


MADE_UP_SCORES: Final = (
    Score("accuracy", lambda label, p: metrics.accuracy_score(label, p > 0.5)),
    Score("precision", lambda label, p: metrics.precision_score(label, p > 0.5, zero_division=0)),
    Score("recall", lambda label, p: metrics.recall_score(label, p > 0.5, zero_division=0)),
    Score("f1", lambda label, p: metrics.f1_score(label, p > 0.5, zero_division=0)),
    Score("log_loss", lambda label, p: metrics.log_loss(label, np.column_stack([1 - p, p]), labels=[0, 1])),
    # What is equal but for a CPU's rounding is equal: one pair of rows moves this by more than any other difference.
    Score("roc_auc", lambda label, p: metrics.roc_auc_score(label, p.round(DIGITS)), of_raw=True),
    Score("brier", metrics.brier_score_loss),
)


def of_score(name: str) -> Values:
    """Return a score of many rows, of few, and of rows of one class."""
    frame = learnable()
    label, change = frame["label"].to_numpy(), frame["change_5"].to_numpy().astype(np.float64)
    p, score = (1 + np.clip(change, -1, 1) / 3) / 2, SCORES[name].function
    rows = {"all rows": slice(None), "50 rows": slice(100, 150), "ups": label == 1, "downs": label == 0}
    return {case: [score(label[chosen], p[chosen])] for case, chosen in rows.items()}


def of_training() -> Values:
    """Return scores, metadata and predictions of models of algorithms that are made up for it."""
    one, two = learnable(), both_ways(learnable(every=4))
    late = int(one["available_at"].to_physical()[1_500])
    scores = {each.name: each for each in MADE_UP_SCORES}
    with (
        patch.dict(ALGORITHMS, {each.name: each for each in (LINES, TREE, FLAT_LINES)}),
        patch.dict(SCORES, scores, clear=True),
    ):
        return {
            **trained("lines", train(one, spec("lines"), key=KEY), one),
            **trained("tree", train(one, spec("tree", calibrate="none", embargo=30), key=KEY), one),
            **trained("pooled", train(two, spec("flat_lines", refit=True), key=KEY), two),
            **trained("late", train(one, spec("lines", cv_folds=1), key=KEY, holdout_from=late), one),
        }


NO_NUMBERS: Final = {
    *("algorithm", "engine", "parameters", "score_versions", "calibration", "seeds", "stability", "drift"),
    "loss_by_block",
}
"""Metadata that says what was done, not what came of it, or what else is known of the same rows and predictions."""


def trained(case: str, model: Trained, samples: pl.DataFrame) -> Values:
    """Return everything about a trained model that is a number."""
    info = {name: value for name, value in model.metadata.items() if name not in NO_NUMBERS}
    everywhere = pl.Series(predict_proba(model.model, model.scaler, samples, model.features))
    info |= {"scaler": [model.scaler.get_params(), model.scaler.mean_.tolist(), model.scaler.scale_.tolist()]}
    found: Values = {name: [*leaves(value)] for name, value in info.items()}
    found |= {"scores": [*leaves(model.scores)], "predicted": numbers_of(everywhere, kept=20)}
    return under(case, found | columns_of(model.holdout.drop("available_at", "series", strict=False), kept=10))


def of_trading() -> Values:
    """Return what trading on made-up probabilities earns on the stored minutes, taken for hours to have enough days."""
    found: Values = {}
    minutes = stored_bars()
    since = pl.col("timestamp").to_physical() - START_US
    hours = minutes.with_columns(timestamp=(START_US + 60 * since).cast(minutes.schema["timestamp"]))
    labels = {
        "direction": Direction(horizon=3),
        "held over midnight": Direction(horizon=24),
        "barriers": TripleBarrier(horizon=5),
        "barriers from the open": TripleBarrier(k=0.5, entry="next_open"),
    }
    for name, label in labels.items():
        how = Preparation(source="1h", timeframe="1h")
        made = make_samples(hours, how, features=(), label=label, market=True)
        p = pl.when("complete").then((7 * pl.int_range(pl.len()) + pl.int_range(pl.len()) // 50) % 11 / 10)
        market = made.frame.with_columns(p=p, p_base=pl.lit(0.45))
        others = (-1.5, 0.25, 0.5, 2.0) if label.horizon == 24 else (1.0,)
        scores = trading_scores(
            market, label=label, timeframe="1h", cost_bps=0.5, versions_scored=4, other_sharpes=others
        )
        found[name] = [*leaves(scores)]
    return found


def of_weights() -> Values:
    """Return weights of every second stored bar, and how often a tree draws each."""
    rows = read_rows(learnable(), LEARNT)
    rows, known = replace(rows, uniqueness=0.1 + np.arange(len(rows.label)) % 7 / 8), np.arange(1_500)
    found: Values = {}
    for case, weights in {"unique": Weights(True), "aged": Weights(False, 0.5), "both": Weights(True, 2.0)}.items():
        weight = weights_of(rows, known, spec("random_forest", weights=weights))
        assert weight is not None
        drawn = weighted_draws(weight, np.random.default_rng(7))
        found[case] = numbers_of(pl.Series(weight))
        found[f"{case}: drawn"] = numbers_of(pl.Series(drawn))
        found[f"{case}: metadata"] = [*leaves(describe_weights(weights, weight, rows=1_500))]
    return found


def of_context() -> Values:
    """Return what the stored bars know of longer ones, of others and of a market that is made of their parts."""
    bars = segmented_bars().filter(~pl.col("filled")).select("timestamp", *PRICES, "volume")
    how = Preparation(source="1m", timeframe="1m")
    seen = [FEATURES[name] for name in ("change_1", "close_ma_5", "volatility_10")]
    others = [bars.with_columns(pl.col(PRICES) ** power) for power in (0.5, 1.5, -1.0)]
    parts = [moves(one, how) for one in (bars, *others)]
    columns = (
        longer_bars(bars, how, "15m", seen, tolerance=WARM),
        Beside(known_features(others[0], how, seen, tolerance=WARM)),
        market(parts[0], market_sums(parts), len(parts), MARKET_FEATURES),
    )
    times = closed(bars, "1m")["available_at"]
    return {name: numbers_of(one.at(times)[name], kept=8) for one in columns for name in one.names}


PARTS: Final[Mapping[str, tuple[Callable[[], Values], float]]] = {
    "samples": (of_samples, EXACT_RTOL),
    "split": (of_split, EXACT_RTOL),
    "training": (of_training, TRAINED_RTOL),
}
"""Entries of `DEFINITIONS`: what computes their numbers, and how near these come on another CPU."""

if __name__ == "__main__":
    sys.exit(main(definitions()))
