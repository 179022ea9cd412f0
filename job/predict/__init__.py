"""Predictions: one Parquet file per task, by stored versions."""
