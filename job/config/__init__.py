"""Validated settings: a nested dict or YAML file in, one frozen `Config` out."""
