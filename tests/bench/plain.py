"""The plain approach, as a baseline: one Ray task a model, pandas features, scikit-learn models at default leaves.

python tests/bench/plain.py --input FILE --output DIR [--days 30] [--cpus 2]

FILE holds the 1-minute bars of one symbol (Parquet, feather or CSV; `timestamp` or `date`, open, high, low, close,
volume). Five models are cross-validated, fitted on the first 80% of their samples, scored on the rest and dumped.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "disabled")

import joblib
import numpy as np
import pandas as pd
import ray
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import TimeSeriesSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

MODELS = (("analyst", "1h"), ("analyst", "15m"), ("analyst", "5m"), ("analyst", "1m"), ("tactician", "1m"))
OFFSETS = {"1m": "1min", "5m": "5min", "15m": "15min", "1h": "1h"}
READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".parquet": pd.read_parquet,
    ".feather": pd.read_feather,
    ".csv": pd.read_csv,
}


def read_bars(path: Path, days: int) -> pd.DataFrame:
    """Read the last `days` days of bars, indexed by open time, UTC."""
    bars = READERS[path.suffix](path).rename(columns={"date": "timestamp"})
    bars["timestamp"] = pd.to_datetime(bars["timestamp"], utc=True)
    bars = bars.set_index("timestamp").sort_index()[["open", "high", "low", "close", "volume"]]
    first = pd.Timestamp(bars.index[-1]) - pd.Timedelta(days=days)
    return bars[bars.index > first]


def resample(bars: pd.DataFrame, timeframe: str) -> pd.DataFrame:
    """Join 1-minute bars into bars of `timeframe`, labeled by their open time."""
    rules: dict[Any, Any] = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    return bars.resample(OFFSETS[timeframe]).agg(rules).dropna()


def rsi(close: pd.Series, length: int = 14) -> pd.Series:
    """Relative strength index with Wilder's smoothing."""
    change = close.diff()
    gain = change.clip(lower=0).ewm(alpha=1 / length, adjust=False).mean()
    loss = (-change.clip(upper=0)).ewm(alpha=1 / length, adjust=False).mean()
    return 100 - 100 / (1 + gain / loss)


def make_features(bars: pd.DataFrame) -> pd.DataFrame:
    """Make the twenty features, one column each."""
    close, volume = bars["close"], bars["volume"]
    returns = np.log(close).diff()
    features = {f"price_change_{n}": close.pct_change(n) for n in (1, 2, 3, 5, 10)}
    features["high_low_ratio"] = bars["high"] / bars["low"] - 1
    features["open_close_ratio"] = bars["open"] / close - 1
    for n in (5, 10, 20):
        features[f"close_ma_{n}"] = close / close.rolling(n).mean() - 1
        features[f"volatility_{n}"] = returns.rolling(n).std()
        features[f"volume_ma_{n}"] = volume / volume.rolling(n).mean() - 1
    features["rsi_14"] = rsi(close)
    macd = close.ewm(span=12, adjust=False).mean() - close.ewm(span=26, adjust=False).mean()
    signal = macd.ewm(span=9, adjust=False).mean()
    features |= {"macd": macd / close, "macd_signal": signal / close, "macd_histogram": (macd - signal) / close}
    return pd.DataFrame(features)


def direction(bars: pd.DataFrame, horizon: int = 10) -> pd.Series:
    """1 where the close is higher `horizon` bars later, 0 where it is lower, missing where it is equal or unknown."""
    change = bars["close"].shift(-horizon) - bars["close"]
    return (change > 0).astype(float).where(change.notna() & (change != 0))


def triple_barrier(bars: pd.DataFrame, k: float = 1.5, window: int = 20, horizon: int = 15) -> pd.Series:
    """1 where the upper barrier is touched first, 0 where the lower one is; at the timeout, the sign of the return."""
    log_close = np.log(bars["close"])
    width = k * log_close.diff().rolling(window).std()
    label = pd.Series(np.nan, index=bars.index)
    undecided = width > 0
    for ahead in range(1, horizon + 1):
        up = np.log(bars["high"].shift(-ahead)) >= log_close + width
        down = np.log(bars["low"].shift(-ahead)) <= log_close - width
        label[undecided & up & ~down] = 1.0
        label[undecided & down & ~up] = 0.0
        undecided &= ~(up | down)
    final = log_close.shift(-horizon) - log_close
    label[undecided & (final > 0)] = 1.0
    label[undecided & (final < 0)] = 0.0
    return label.where(final.notna())


def make_samples(bars: pd.DataFrame, model_type: str) -> tuple[pd.DataFrame, pd.Series]:
    """Return the features and labels of all bars that have both."""
    features = make_features(bars).replace([np.inf, -np.inf], np.nan)
    label = direction(bars) if model_type == "analyst" else triple_barrier(bars)
    read_all = features.notna().all(axis=1) & label.notna()
    return features[read_all], label[read_all].astype(int)


@ray.remote(num_cpus=1)
def train(bars: pd.DataFrame, model_type: str, timeframe: str, output: str) -> dict[str, Any]:
    """Cross-validate, fit, score and dump one model."""
    started = time.perf_counter()
    features, label = make_samples(resample(bars, timeframe), model_type)
    kind = RandomForestClassifier if model_type == "analyst" else GradientBoostingClassifier
    model = make_pipeline(StandardScaler(), kind(n_estimators=100, max_depth=10, random_state=42))
    cut = int(len(features) * 0.8)
    cv = cross_val_score(model, features[:cut], label[:cut], cv=TimeSeriesSplit(n_splits=5))
    model.fit(features[:cut], label[:cut])
    probability = model.predict_proba(features[cut:])[:, 1]
    joblib.dump(model, Path(output) / f"{model_type}_{timeframe}.joblib")
    return {
        "model": f"{model_type}_{timeframe}",
        "rows": len(features),
        "cv_accuracy": float(cv.mean()),
        "accuracy": float(accuracy_score(label[cut:], probability > 0.5)),
        "log_loss": float(log_loss(label[cut:], probability)),
        "seconds": round(time.perf_counter() - started, 1),
    }


def main() -> None:
    """Train the five models of one file of bars and print one JSON line each, then the seconds in all."""
    parser = argparse.ArgumentParser(description="Train five models the plain way.")
    parser.add_argument("--input", type=Path, required=True, help="1-minute bars of one symbol")
    parser.add_argument("--output", type=Path, required=True, help="folder for the models")
    parser.add_argument("--days", type=int, default=30, help="how many days, counted back from the last bar")
    parser.add_argument("--cpus", type=int, default=2)
    arguments = parser.parse_args()
    started = time.perf_counter()
    output = arguments.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    ray.init(address="local", num_cpus=arguments.cpus, include_dashboard=False, log_to_driver=False)
    bars = ray.put(read_bars(arguments.input, arguments.days))
    results = ray.get([train.remote(bars, model_type, timeframe, str(output)) for model_type, timeframe in MODELS])
    for result in results:
        sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.write(json.dumps({"seconds": round(time.perf_counter() - started, 1)}) + "\n")
    ray.shutdown()


if __name__ == "__main__":
    main()
