"""Gradient boosting by libraries of its own: thin estimators around native models, and checks of their artifacts."""
