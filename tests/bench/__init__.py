"""Benchmarks: `python -m tests.bench [case …]`, side by side with what they are compared to."""
