"""Tuning: settings of each kind of model, tried on the purged folds of a sample of series."""
