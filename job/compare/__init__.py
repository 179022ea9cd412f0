"""Comparisons of two versions of a model on bars that neither has seen."""
