"""Tests, and the slow obvious versions that they compare with."""
